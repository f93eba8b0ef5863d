"""Where arithmetic runs, and how."""

import pytest
import torch

from tgdpet import device


def test_numbers_that_are_too_small_to_be_normal_count_as_zero():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot")
    tiny = torch.full((64,), 1e-30)
    assert (tiny * 1e-10 > 0).all(), "denormal numbers are at work by themselves"
    device.pick("cpu")
    assert (tiny * 1e-10 == 0).all()


def test_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match="expected auto, cpu or cuda, got 'gpu'"):
        device.pick("gpu")
