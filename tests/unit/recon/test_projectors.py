"""Where images are reconstructed."""

from __future__ import annotations

import shutil

import numba.cuda
import pytest

from tgdpet.recon import projectors


@pytest.mark.parametrize(
    ("driver", "found", "device"),
    [(None, True, "cpu"), ("/usr/bin/nvidia-smi", True, "cuda"), ("/usr/bin/x", False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, capsys, driver, found, device):
    monkeypatch.setattr(shutil, "which", lambda name: driver)
    monkeypatch.setattr(numba.cuda, "is_available", lambda: found)
    assert projectors.pick("auto") == device
    assert ("tgdpet[cuda]" in capsys.readouterr().err) is (driver is not None and not found)


def test_what_is_asked_for_is_taken(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert projectors.pick("cuda") == "cuda"
    assert projectors.pick("cpu") == "cpu"
    with pytest.raises(ValueError, match="expected auto, cpu or cuda, got 'gpu'"):
        projectors.pick("gpu")
