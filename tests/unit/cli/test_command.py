"""The command by hand: what it writes, and one line and exit code 1 for everything that it
refuses.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.cli import command
from tgdpet.io import nifti
from tgdpet.io.orientation import to_ras
from tgdpet.networks import weights
from tgdpet.networks.denoise import denoise

pytestmark = pytest.mark.usefixtures("one_thread")
# axes swapped, two of them backwards, oblique, three voxel sizes
AFFINE = np.array([[0, -2.0, 0.3, 5], [3, 0, 0, -7], [0, 0.2, -4, 9], [0, 0, 0, 1]])
MODEL = "net.safetensors"


def noisy() -> np.ndarray:
    return np.random.default_rng(0).gamma(2, 2000, (11, 9, 7)).astype(np.float32)


def save(name: str, data: np.ndarray, affine: np.ndarray | None = AFFINE) -> None:
    nib.save(nib.Nifti1Image(data, affine), name)


@pytest.fixture(autouse=True)
def folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A folder with an image, its sidecar and a network, as a user has them; the signal handler as
    before.
    """
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    shutil.copy(root / "tests/data/network-0.1.safetensors", MODEL)
    save("in.nii.gz", noisy())
    Path("in.json").write_text(
        json.dumps({"Units": "Bq/mL", "Tracer": "FDG", "provenance": "earlier"})
    )
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def run(*words: str) -> None:
    command.main(["denoise", "--model", MODEL, "--device", "cpu", "--threads", "1", *words])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    before = {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    with pytest.raises(SystemExit) as exit_:
        run(*words)
    assert exit_.value.code == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    assert before == {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()}, (
        "something was written"
    )
    return err


def test_grid_and_sidecar_are_carried_over(capsys: pytest.CaptureFixture[str]) -> None:
    run("in.nii.gz", "out.nii.gz")
    out = nifti.read_image("out.nii.gz")
    model, card = weights.load(MODEL)
    axial, _ = to_ras(noisy(), AFFINE)
    assert np.array_equal(out.data, denoise(model, axial, card.intensity_scale_bqml))
    assert np.array_equal(nib.load("out.nii.gz").affine, nib.load("in.nii.gz").affine)
    assert nib.load("out.nii.gz").header.get_xyzt_units()[0] == "mm"
    assert (out.sidecar["Tracer"], out.sidecar["Network"], out.sidecar["Units"]) == (
        "FDG",
        "old-net",
        "Bq/mL",
    )
    provenance = out.sidecar["provenance"]
    assert (
        set(provenance["inputs"]) == {"in.nii.gz", MODEL}
        and provenance["settings"]["threads"] == "1"
    )
    said = capsys.readouterr().out
    assert (
        said.startswith("out.nii.gz: 11 x 9 x 7 voxels in Bq/mL, by old-net, ")
        and said.count("\n") == 1
    )


def test_kilobecquerel_come_out_as_becquerel() -> None:
    run("in.nii.gz", "bq.nii.gz")
    save("k.nii.gz", noisy() / 1000)
    run("k.nii.gz", "kbq.nii", "--units", "kBq/mL")
    np.testing.assert_allclose(
        nifti.read_image("kbq.nii").data, nifti.read_image("bq.nii.gz").data, rtol=1e-4
    )
    assert nifti.read_image("kbq.nii").sidecar["Units"] == "Bq/mL"
    Path("in.json").write_text(json.dumps({"Units": "kBq/mL"}))
    save("in.nii.gz", noisy() / 1000)
    run("in.nii.gz", "again.nii.gz")
    assert np.array_equal(nifti.read_image("again.nii.gz").data, nifti.read_image("kbq.nii").data)


@pytest.mark.parametrize(
    ("sidecar", "words", "cause"),
    [
        (None, [], "no sidecar in.json says the units; give them: --units Bq/mL or --units kBq/mL"),
        ({"Units": "SUV"}, [], "injected dose, body weight and times"),
        ({}, ["--units", "SUVbw"], "injected dose, body weight and times"),
        ({"Units": "CNTS"}, [], "in.json: Units: expected Bq/mL or kBq/mL, got 'CNTS'"),
        ({"Units": "Bq/mL"}, ["--units", "kBq/mL"], "one of them is wrong"),
    ],
)
def test_units(
    capsys: pytest.CaptureFixture[str], sidecar: object, words: list[str], cause: str
) -> None:
    Path("in.json").unlink()
    if sidecar is not None:
        Path("in.json").write_text(json.dumps(sidecar))
    assert cause in refused(capsys, "in.nii.gz", "out.nii.gz", *words)


def test_images_that_cannot_be_taken(capsys: pytest.CaptureFixture[str]) -> None:
    out = "out.nii.gz"
    assert "gone.nii: no such image" in refused(capsys, "gone.nii", out)
    assert ".: expected a folder with a PET DICOM series, got no DICOM file" in refused(
        capsys, ".", out
    )
    save("in.nii.gz", np.zeros((4, 4, 4, 5), np.float32))
    assert "5 frame(s); take out a single one first" in refused(capsys, "in.nii.gz", out)
    for bad in (np.nan, np.inf):
        save("in.nii.gz", np.full((4, 4, 4), bad, np.float32))
        assert "64 of 64 voxels are NaN or infinite" in refused(capsys, "in.nii.gz", out)
    save("in.nii.gz", noisy(), None)
    assert "no affine" in refused(capsys, "in.nii.gz", out)
    Path("in.nii.gz").write_text("not an image")
    assert "in.nii.gz: not a readable NIfTI file" in refused(capsys, "in.nii.gz", out)


def test_networks_that_cannot_be_taken(capsys: pytest.CaptureFixture[str]) -> None:
    Path(MODEL).write_bytes(Path(MODEL).read_bytes()[:-100])
    assert "net.safetensors: not a readable safetensors file" in refused(
        capsys, "in.nii.gz", "out.nii.gz"
    )
    Path(MODEL).unlink()
    assert "net.safetensors: no such network" in refused(capsys, "in.nii.gz", "out.nii.gz")


def test_what_is_read_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert "in.nii.gz: is the input in.nii.gz" in refused(
        capsys, "in.nii.gz", "in.nii.gz", "--overwrite"
    )
    os.symlink("in.nii.gz", "link.nii.gz")
    assert "link.nii.gz: is the input in.nii.gz" in refused(
        capsys, "in.nii.gz", "link.nii.gz", "--overwrite"
    )
    # in.nii would have the sidecar of in.nii.gz, and net.nii that of the network
    assert "in.json: is the input in.json" in refused(capsys, "in.nii.gz", "in.nii", "--overwrite")
    Path("net.json").write_text("{}")
    assert "net.json: is the input net.json" in refused(
        capsys, "in.nii.gz", "net.nii", "--overwrite"
    )
    shutil.copy(MODEL, "net.onnx")
    with pytest.raises(SystemExit):
        command.main(["export", "--model", "net.onnx", "net.onnx", "--overwrite"])
    assert "net.onnx: is the input net.onnx" in capsys.readouterr().err


@pytest.mark.parametrize("there", ["out.nii.gz", "out.json"])
def test_what_exists_is_replaced_on_request_only(
    capsys: pytest.CaptureFixture[str], there: str
) -> None:
    Path(there).write_text("precious")
    assert f"{there}: exists; give --overwrite" in refused(capsys, "in.nii.gz", "out.nii.gz")
    run("in.nii.gz", "out.nii.gz", "--overwrite")
    assert nifti.read_image("out.nii.gz").sidecar["Network"] == "old-net"


def test_places_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "expected an output named *.nii or *.nii.gz" in refused(capsys, "in.nii.gz", "out.mha")
    assert "the folder nowhere does not exist" in refused(capsys, "in.nii.gz", "nowhere/out.nii.gz")
    Path("out.json").mkdir()
    assert "out.json: is a folder" in refused(capsys, "in.nii.gz", "out.nii.gz", "--overwrite")
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write anywhere
    assert "the folder . cannot be written to" in refused(capsys, "in.nii.gz", "other.nii.gz")


def test_export_writes_the_network_and_refuses_as_denoise_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is in the extra 'dev'")
    words = ["export", "--model", MODEL, "net.onnx"]
    command.main(words)
    props = {p.key: p.value for p in onnx.load("net.onnx").metadata_props}
    assert props["network"] == "old-net"
    assert capsys.readouterr().out == "net.onnx: old-net, intensities divided by 4321 Bq/mL\n"
    for more, cause in (([], "net.onnx: exists"), (["--model", "gone"], "gone: no such network")):
        with pytest.raises(SystemExit) as exit_:
            command.main([*words[:3], *more, "other.onnx" if more else "net.onnx"])
        assert exit_.value.code == 1 and cause in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["denoise", "--help"], ["export", "--help"]])
def test_help_says_what_matters_and_starts_at_once(root: Path, words: list[str]) -> None:
    code = (
        "import sys, tgdpet.cli.command as c\n"
        f"try:\n c.main({words})\n"
        "finally:\n assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root / "scripts"
    )
    assert done.returncode == 0, done.stderr
    assert "not for diagnosis" in done.stdout
    if "denoise" in words:
        for word in ("--units", "--overwrite", "--device", "--threads", "kBq/mL", "OUT.json"):
            assert word in done.stdout


def test_python_m_is_the_same_command(root: Path) -> None:
    program = [sys.executable, "-m", "tgdpet"]
    words = ["denoise", "--model", "gone", Path("in.nii.gz").resolve(), "o.nii"]
    done = subprocess.run(
        [*program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "scripts")},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: gone: no such network; with the package come v1-net, ")
