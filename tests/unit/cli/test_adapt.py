"""`tgdpet adapt` as a user types it: what it writes, what it refuses, how it goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halves_of_a_study import activity, measured, write_halves
from tgdpet.cli import command
from tgdpet.config.loading import read_config
from tgdpet.io import nifti
from tgdpet.networks import weights
from tgdpet.training.from_images import ONLINE, ONLINE_ENTRY, PROTOCOL, PROTOCOL_ENTRY
from training_cases import network

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("--fraction", "0.4", "--epochs", "2", "--patch", "16", "--threads", "1", "--device", "cpu")
MODEL = "base.safetensors"
HALVES = ("--halves", "half1.nii.gz", "half2.nii.gz")
RESULTS = ("out.nii.gz", "out.json", "out.html")
NETWORK = ("net.safetensors", "net.json", "net.md", "net_log.csv")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a network and two halves, as a user has them."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    weights.save(MODEL, network(), weights.Card("base", 0.0625, 9000.0))
    write_halves(tmp_path)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def adapt(*words: str | Path) -> None:
    command.main(["adapt", "--model", MODEL, *QUICK, *map(str, words)])


def listing() -> dict[str, bytes]:
    """Every file below the current folder."""
    paths = [path for path in Path().rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line of a command that is refused; nothing has changed on the disk."""
    before = listing()
    with pytest.raises(SystemExit) as exit_:
        adapt(*words)

    assert exit_.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], lines
    assert listing() == before, "something was written"
    return lines[-1]


def test_one_patient_by_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    adapt(*HALVES, "--out", "out.nii.gz", "--save-network", "net.safetensors")

    said = capsys.readouterr().out
    assert "base-adapted: " in said and "others have the same bits" in said
    assert {*RESULTS, *NETWORK} <= set(listing())
    assert not Path("out.unfinished").exists()
    assert not list(Path().glob("*.provenance.json"))

    out = nifti.read_image("out.nii.gz")
    first = nifti.read_image("half1.nii.gz")
    np.testing.assert_array_equal(out.affine, first.affine)
    assert out.sidecar["Network"] == "base-adapted"
    assert out.sidecar["FrameDuration"] == [120.0]
    inputs = set(out.sidecar["provenance"]["inputs"])
    assert inputs == {"half1.nii.gz", "half2.nii.gz", MODEL}

    # The network alone gives the same image, and knows what it was adapted to.
    model, card = weights.load("net.safetensors")
    assert card.parents == ["base"]
    assert card.domain["voxel_mm"] == [4.0, 4.0, 5.0]
    mean = (first.data + nifti.read_image("half2.nii.gz").data) / 2
    nifti.write_image("mean.nii.gz", mean, first.affine, first.sidecar)
    command.main(["denoise", "--model", "net.safetensors", "mean.nii.gz", "again.nii.gz"])
    np.testing.assert_array_equal(nifti.read_image("again.nii.gz").data, out.data)


def test_it_is_the_workflows_method(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(*HALVES, "--out", "out.nii.gz", "--save-network", "net.safetensors", "--name", "N2N")

    script = root / "scripts"
    pairs = ["s:half1:half1.nii.gz:half2.nii.gz", "s:half2:half2.nii.gz:half1.nii.gz"]
    job = ["--threads", "1", "--device", "cpu", "--seed", "2021", "--name", "N2N"]
    settings = ["--epochs", "2", "--batch", "8", "--patch", "16"]
    settings += ["--learning-rate", "1e-3", "--fraction", "0.4"]
    settings += ["--fraction-of", "alive", "--batchnorm", "per_channel"]
    for words in (
        ["04_dataset.py", "--pairs", *pairs, "--out", "w/index.tsv"],
        ["06_score.py", "--network", MODEL, "--out", "w/scores.csv"],
        ["07_adapt.py", "--dataset", "w/index.tsv", "--base", MODEL, "--scores", "w/scores.csv",
         "--method", "tgd", *job, *settings, "--out", "w/net.safetensors"],
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(script / words[0]), run_name="__main__")

    ours, _ = weights.load("net.safetensors")
    theirs, _ = weights.load("w/net.safetensors")
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), tensor.numpy(), name)


def test_a_fraction_of_the_living_opens_the_dead_beside_them() -> None:
    net, card = weights.load(MODEL)
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight[0] = 0
    weights.save(Path("dead.safetensors"), net, card)

    words = ["adapt", "--model", "dead.safetensors", *QUICK, *HALVES, "--fraction-of", "alive"]
    command.main([*words, "--out", "out.nii.gz", "--save-network", "net.safetensors"])

    numbers = json.loads(Path("net.json").read_text())
    assert 0 in weights.load("net.safetensors")[1].mask[next(iter(net.scored))]
    dead = numbers["kernels_retrained"] - numbers["kernels_retrained_alive"]
    living = sum(net.scored.values()) - dead
    assert dead >= 1 and numbers["kernels_retrained_alive"] == round(0.4 * living)


def test_a_phi_stands_in_the_place_of_the_default_share() -> None:
    quick = ["--epochs", "2", "--patch", "16", "--threads", "1", "--device", "cpu"]
    words = ["adapt", "--model", MODEL, *quick, *HALVES, "--phi", "0.5", "--out", "out.nii.gz"]
    command.main([*words, "--save-network", "net.safetensors"])

    numbers = json.loads(Path("net.json").read_text())
    assert (numbers["phi"], numbers["fraction"], numbers["fraction_of"]) == (0.5, None, "all")


def test_the_defaults_are_the_workflows(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_config(root / "config/config.yaml")
    for name, entry in (("TGD-N2N", ONLINE_ENTRY), ("TGD-net", PROTOCOL_ENTRY)):
        assert replace(config.networks[name], base=None) == entry
    assert (config.online, config.adapt) == (ONLINE, PROTOCOL)

    with pytest.raises(SystemExit):
        command.main(["adapt", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"({ONLINE.epochs}; pairs: {PROTOCOL.epochs})" in said
    assert f"({ONLINE_ENTRY.fraction} of the living)" in said
    assert "step size (1e-3)" in said and {ONLINE.learning_rate, PROTOCOL.learning_rate} == {1e-3}


def test_a_second_round_starts_from_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    adapt(*HALVES, "--out", "out.nii.gz", "--save-network", "net.safetensors")
    words = ["adapt", "--model", "net.safetensors", *QUICK, *HALVES, "--accumulate"]
    command.main([*words, "--out", "out2.nii.gz", "--save-network", "two.safetensors"])

    first = weights.load("net.safetensors")[1]
    second = weights.load("two.safetensors")[1]
    assert second.parents == ["base", "base-adapted"]
    assert second.network == "base-adapted-2"
    for module, channels in first.mask.items():
        assert set(channels) <= set(second.mask[module])


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = ("--epochs", "240", "--out", "out.nii.gz", "--save-network", "net.safetensors")
    words = ["adapt", "--model", MODEL, *QUICK, *HALVES, *long]
    environment = {**os.environ, "PYTHONPATH": str(root / "scripts")}
    program = [sys.executable, "-m", "tgdpet", *words]
    job = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment)

    # Interrupted once the log has a row.
    log = Path("out.unfinished/net_log.csv")
    limit = time.monotonic() + 120
    while not log.exists() and job.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130, said
    assert "run it again to resume" in said
    assert not Path("out.nii.gz").exists() and not Path("net.safetensors").exists()

    adapt(*HALVES, *long)
    assert "resumes at step" in capsys.readouterr().err
    interrupted = Path("net.safetensors").read_bytes()
    adapt(*HALVES, *long, "--overwrite")
    assert Path("net.safetensors").read_bytes() == interrupted


def test_pairs_of_a_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["study\tnoisy\ttarget"]
    for number in range(3):
        noisy = measured(activity(), seed=number)
        target = measured(activity(), seed=10 + number, counts=200.0)
        for name, image in (("noisy", noisy), ("target", target)):
            nifti.write_image(f"{name}{number}.nii.gz", image.data, image.affine, image.sidecar)
        rows.append(f"s{number}\tnoisy{number}.nii.gz\ttarget{number}.nii.gz")
    Path("pairs.tsv").write_text("\n".join(rows) + "\n")

    adapt("--pairs", "pairs.tsv", "--save-network", "net.safetensors")
    assert set(NETWORK) <= set(listing())
    content = json.loads(Path("net.json").read_text())
    assert content["final_validation_loss"] is not None

    finetune = ["--method", "finetune", "--blocks", "2", "--epochs", "1", "--patch", "16"]
    words = ["adapt", "--model", MODEL, "--threads", "1", "--device", "cpu", *finetune]
    ends = ["--image", "half1.nii.gz", "--out", "out.nii.gz", "--save-network", "ft.safetensors"]
    command.main([*words, "--pairs", "pairs.tsv", *ends])
    assert set(weights.load("ft.safetensors")[1].mask) == {"blocks.6.conv", "blocks.7.conv"}
    assert set(RESULTS) <= set(listing())

    # A target of another place.
    shifted = nifti.read_image("target1.nii.gz")
    moved = np.roll(shifted.data, 14, 1)
    nifti.write_image("target1.nii.gz", moved, shifted.affine, shifted.sidecar)
    words = ("--pairs", "pairs.tsv", "--save-network", "new.safetensors")
    assert "target1.nii.gz: correlation of " in refused(capsys, *words)


def test_dicom_halves_and_a_dicom_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pydicom", reason="pydicom is in the extra 'dicom'")
    from dicom_series import write
    from tgdpet.dicom.read import read_series

    halves = [measured(activity(), seed=number).data for number in (1, 2)]
    names = ("one", "two", "full")
    for name, data in zip(names, [*halves, (halves[0] + halves[1]) / 2], strict=True):
        write(tmp_path / name, data.transpose(2, 1, 0).astype(float))

    words = ("--halves", "one", "two", "--image", "full", "--out", "clean")
    adapt(*words, "--save-network", "net.safetensors")

    clean = read_series(tmp_path / "clean").image
    full = read_series(tmp_path / "full").image
    np.testing.assert_allclose(clean.affine, full.affine, atol=1e-6)
    assert not np.allclose(clean.data, full.data, rtol=1e-3)
    command.main(["denoise", "--model", "net.safetensors", "full", "again.nii.gz"])
    again = nifti.read_image("again.nii.gz")
    assert np.abs(again.data - clean.data).max() < 1e-4 * clean.data.max()

    # By NIfTI in between it is the same.
    for name in names:
        command.main(["import", name, f"{name}.nii.gz"])
    words = ("--halves", "one.nii.gz", "two.nii.gz", "--image", "full.nii.gz")
    adapt(*words, "--out", "by_nifti.nii.gz")
    np.testing.assert_array_equal(nifti.read_image("by_nifti.nii.gz").data, again.data)

    # Nothing that is kept tells whose images they are, or where they lay.
    for path in ("clean.json", "clean.html", "net.json", "net.md"):
        text = Path(path).read_text()
        assert not [word for word in ("Doe^Jane", "19700101", str(tmp_path)) if word in text]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--halves", "half1.nii.gz", "half1.nii.gz"), "error: half1.nii.gz: the same data as"),
        (("--halves", "half1.nii.gz", "gone.nii.gz"), "gone.nii.gz: no such image"),
        ((*HALVES, "--fraction", "2"), "fraction"),
        ((*HALVES, "--method", "finetune"), "belongs to tgd: remove it"),
        ((*HALVES, "--epochs", "0"), "epochs"),
        ((*HALVES, "--image", "half1.nii.gz", "--units", "kBq/mL"), "one of them is wrong"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert message in refused(capsys, *words, "--out", "out.nii.gz")


def test_another_grid_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    second = nifti.read_image("half2.nii.gz")
    moved = second.affine.copy()
    moved[2, 3] += 5
    nifti.write_image("half2.nii.gz", second.data, moved, second.sidecar)
    said = refused(capsys, *HALVES, "--out", "out.nii.gz")
    assert "half2.nii.gz: expected the first voxel at" in said and "as in half1.nii.gz" in said


def test_a_half_of_another_orientation_is_the_same_half() -> None:
    import nibabel as nib

    adapt(*HALVES, "--out", "out.nii.gz")
    expected = nifti.read_image("out.nii.gz").data

    half = nib.load("half2.nii.gz")
    turned = half.as_reoriented(nib.io_orientation(half.affine)[[2, 0, 1]] * [[1, -1]] * 1)
    nib.save(turned, "half2.nii.gz")
    adapt(*HALVES, "--out", "out.nii.gz", "--overwrite")
    np.testing.assert_array_equal(nifti.read_image("out.nii.gz").data, expected)


def test_a_network_for_other_voxels(capsys: pytest.CaptureFixture[str]) -> None:
    model, card = weights.load(MODEL)
    card.domain.update({"voxel_mm": [2.0, 2.0, 2.0]})
    weights.save(MODEL, model, card)
    said = refused(capsys, *HALVES, "--out", "out.nii.gz")
    assert "base: expected voxels of 2 x 2 x 2 mm, got 4 x 4 x 5 mm: resample" in said

    words = ["denoise", "--model", MODEL, "half1.nii.gz", "out.nii.gz"]
    with pytest.raises(SystemExit):
        command.main(words)
    assert "expected voxels of 2 x 2 x 2 mm" in capsys.readouterr().err
    command.main([*words, "--any-voxels"])
    said = capsys.readouterr().err
    assert "warning: half1.nii.gz: voxels of 4 x 4 x 5 mm, trained on 2 x 2 x 2 mm (base)" in said


@pytest.mark.parametrize("there", [*RESULTS, *NETWORK])
def test_what_exists_is_replaced_on_request_only(
    capsys: pytest.CaptureFixture[str], there: str
) -> None:
    Path(there).write_text("precious")
    words = (*HALVES, "--out", "out.nii.gz", "--save-network", "net.safetensors")
    assert f"{there}: exists; give --overwrite" in refused(capsys, *words)


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out: expected" in refused(capsys, *HALVES)
    assert "expected --save-network N" in refused(capsys, "--pairs", "half1.nii.gz")
    assert "expected an output named" in refused(capsys, *HALVES, "--out", "folder")
    words = (*HALVES, "--out", "out.nii.gz", "--save-network", "out.safetensors")
    assert "out.json would belong to the image and to the network" in refused(capsys, *words)
    words = ("--petsird", "x.petsird", "--image", "half1.nii.gz", "--out", "out.nii.gz")
    assert "--image is reconstructed from it" in refused(capsys, *words)
    words = (*HALVES, "--out", "out.nii.gz", "--phi", "0.3")  # beside QUICK's fraction
    with pytest.raises(SystemExit) as exit_:
        adapt(*words)
    assert exit_.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_missing_package_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = refused(capsys, *HALVES, "--out", "out.nii.gz")
    assert said == "error: tgdpet adapt: jinja2 is not installed: pip install 'tgdpet[adapt]'"


def test_a_disk_without_room_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    said = refused(capsys, *HALVES, "--out", "out.nii.gz")
    assert "MB of free disk, got 1 MB" in said


def test_a_disk_that_fills_leaves_nothing_half_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(source: Path, place: Path) -> None:
        if Path(source).suffix == ".md":
            raise OSError(28, "No space left on device")
        shutil.copy(source, place)

    monkeypatch.setattr(shutil, "move", move)
    words = (*HALVES, "--out", "out.nii.gz", "--save-network", "net.safetensors")
    assert "net.md: cannot be written: No space left on device" in refused(capsys, *words)
