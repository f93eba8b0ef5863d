"""Sets that tell any number from any other."""

from __future__ import annotations

import pytest
import torch

from tgdpet.tgd.codes import code_sets, decode


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 20, 21, 64, 300])
def test_any_number_is_in_a_set_without_any_other(n):
    sets = code_sets(n)
    holds_first_only = sets[:, :, None] & ~sets[:, None, :]
    pairs = holds_first_only.any(dim=0)
    assert bool((pairs | torch.eye(n, dtype=torch.bool)).all())
    assert bool(sets.any(dim=0).all())
    assert len(code_sets(512)) == 12


@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_what_was_seen_of_one_number_spells_it(n):
    sets = code_sets(n)
    assert torch.equal(decode(sets, sets), torch.arange(n))
    assert decode(sets, torch.zeros(len(sets), 3, dtype=torch.bool)).tolist() == [-1] * 3


def test_what_was_seen_of_several_numbers_spells_none():
    sets = code_sets(20)
    for i in range(20):
        both = sets | sets[:, i, None]
        found = decode(sets, both)
        assert found[i] == i
        assert set(found[torch.arange(20) != i].tolist()) == {-2}
