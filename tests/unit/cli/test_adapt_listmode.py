"""`tgdpet adapt --petsird`: list mode split, reconstructed and adapted to by one command."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

pytest.importorskip("petsird")

from petsird_files import study
from tgdpet.cli import command
from tgdpet.io import nifti
from tgdpet.networks import weights
from tgdpet.petsird.write import export_study
from training_cases import network

pytestmark = pytest.mark.usefixtures("one_thread")
GRID = ("--shape", "12", "12", "8", "--voxel-mm", "10", "10", "5")
QUICK = ("--fraction", "0.4", "--epochs", "1", "--patch", "8", "--threads", "1", "--device", "cpu")


@pytest.mark.slow
def test_list_mode_in_and_a_denoised_image_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    weights.save("base.safetensors", network(), weights.Card("base", 0.0625, 9000.0))
    study(tmp_path / "study", n_events=40_000)
    export_study("study", "scan.petsird")

    words = ["adapt", "--model", "base.safetensors", "--petsird", "scan.petsird"]
    command.main([*words, *GRID, *QUICK, "--out", "out.nii.gz"])
    signal.signal(signal.SIGTERM, before)

    out = nifti.read_image("out.nii.gz")
    assert out.data.shape == (12, 12, 8)
    assert out.sidecar["Sample"] == "whole"
    assert out.sidecar["FrameDuration"] == [5.0]
    assert out.sidecar["Network"] == "base-adapted"
    inputs = json.loads(Path("out.json").read_text())["provenance"]["inputs"]
    assert {"scan.petsird", "base.safetensors"} <= set(inputs)
    assert Path("out.html").exists() and not Path("out.unfinished").exists()
    assert "others have the same bits" in capsys.readouterr().out


def test_what_is_no_list_mode_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    weights.save("base.safetensors", network(), weights.Card("base", 0.0625, 9000.0))
    Path("scan.petsird").write_bytes(b"nothing")
    words = ["adapt", "--model", "base.safetensors", "--petsird", "scan.petsird"]
    with pytest.raises(SystemExit):
        command.main([*words, *GRID, "--out", "out.nii.gz"])

    assert "error: scan.petsird: " in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"scan.petsird", "base.safetensors"}
