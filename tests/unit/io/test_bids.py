"""Images on disk are data sets that the official validator of BIDS accepts and pybids finds."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tgdpet.config.paths import image_path
from tgdpet.config.roles import Sample
from tgdpet.config.sections import ReconProtocol
from tgdpet.io import bids, nifti
from tgdpet.listmode import study_folder
from tgdpet.networks.denoise import write_denoised
from tgdpet.networks.dncnn import DnCNN
from tgdpet.networks.weights import Card

HALF_LIFE_S = 6586.2
SCAN_START_S = 3600.0
META = {
    "study": "a",
    "source": "analytic",
    "scan_s": 600.0,
    "half_life_s": HALF_LIFE_S,
    "injected_mbq": 250.0,
    "weight_kg": 70.0,
    "scan_start_s": SCAN_START_S,
    "background": {"scatter_bq": 1.0, "randoms_per_s": 1.0},
}
PETSIRD = {**META, "study": "b", "source": "petsird", "petsird": {"model": ""}}
GALLIUM = {**PETSIRD, "study": "c", "half_life_s": 4062.6, "tracer": "PSMA11", "nuclide": "Ga68"}
SHAPE = (8, 8, 6)


def reconstructed(root: Path) -> Path:
    """A folder as results/recon is."""
    affine = nifti.grid_affine(SHAPE, (4.0, 4.0, 5.0))

    for meta in (META, PETSIRD, GALLIUM):
        for sample in (Sample("60s", 0.1), Sample("600s", 1.0)):
            sidecar = study_folder.recon_sidecar(meta, sample, "v1", ReconProtocol(), (0, 5))
            sidecar["provenance"] = {"inputs": {}}
            name = study_folder.recon_name(meta, "v1", sample)
            path = root / f"sub-{meta['study']}" / "pet" / name
            nifti.write_image(path, np.ones(SHAPE, np.float32), affine, sidecar)

    nifti.write_plain(root / "sub-a" / "sub-a_sensitivity.nii.gz", np.ones(SHAPE), affine)
    return root


def errors(root: Path, kind: str) -> list[Any]:
    """What the official validator reports of a data set, warnings left out."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = shutil.which("bids-validator-deno") or (str(beside) if beside.exists() else None)
    if program is None:
        pytest.skip("no bids-validator-deno: pip install '.[standards]'")

    command = [program, "--format", "json", "--ignoreWarnings", "--datasetTypes", kind, root]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)

    assert report["summary"]["totalFiles"] > 2
    return [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]


def test_reconstructed_images_are_a_data_set(tmp_path: Path):
    root = reconstructed(tmp_path / "recon")
    assert errors(root, "derivative") == []


def test_the_validator_is_asked(tmp_path: Path):
    root = reconstructed(tmp_path / "recon")
    (root / ".bidsignore").unlink()
    assert {issue["code"] for issue in errors(root, "derivative")} == {"NOT_INCLUDED"}


def test_denoised_images_are_a_derivative(tmp_path: Path):
    recon = reconstructed(tmp_path / "recon")
    root = tmp_path / "denoised" / "v1-net"
    network = (DnCNN(0.0625).eval(), Card("v1-net", 0.0625, 5000.0))
    for study in "abc":
        noisy = image_path(recon, study, "v1", "60s")
        out = root / noisy.relative_to(recon)
        write_denoised(out, nifti.read_image(noisy), network, torch.device("cpu"), [noisy], {})

    assert errors(root, "derivative") == []
    assert json.loads((root / bids.DESCRIPTION).read_text())["DatasetType"] == "derivative"


def test_a_whole_scan_has_all_that_raw_images_need(tmp_path: Path):
    """Raw images have no `desc-`, and more keys are required of them."""
    root = tmp_path / "raw"
    for path in reconstructed(tmp_path / "recon").rglob("*desc-600s*"):
        copy = root / path.relative_to(tmp_path / "recon")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy.with_name(copy.name.replace("_desc-600s", "")))

    description = {"Name": "raw", "BIDSVersion": bids.VERSION, "DatasetType": "raw"}
    (root / bids.DESCRIPTION).write_text(json.dumps(description))
    assert errors(root, "raw") == []


def test_pybids_finds_images_by_their_entities(tmp_path: Path):
    pybids = pytest.importorskip("bids", reason="pip install '.[standards]'")
    root = reconstructed(tmp_path / "recon")
    layout = pybids.BIDSLayout(root, is_derivative=True)

    (found,) = layout.get(subject="c", suffix="pet", desc="60s", extension=".nii.gz")
    assert found.path == str(image_path(root, "c", "v1", "60s", "PSMA11"))
    entities = found.get_entities()
    assert (entities["reconstruction"], entities["tracer"]) == ("v1", "PSMA11")
    assert found.get_metadata()["TracerRadionuclide"] == "Ga68"


def test_decay_by_the_frames_times_is_the_images():
    """Whoever corrects by BIDS-PET's times has the activity of this scan's start."""
    sample = Sample("60s", 0.1)
    sidecar = study_folder.recon_sidecar(META, sample, "v1", ReconProtocol(), (0, 5))

    assert (sidecar["TimeZero"], sidecar["InjectionStart"]) == ("00:00:00", 0)
    since_injection_s = sidecar["FrameTimesStart"][0] - sidecar["InjectionStart"]
    decay = math.exp(-math.log(2) * since_injection_s / sidecar["TracerHalfLife"])
    dose_at_frame_bq = sidecar["InjectedRadioactivity"] * 1e6 * decay

    assert sidecar["ImageDecayCorrectionTime"] == sidecar["ScanStart"] == SCAN_START_S
    assert decay == pytest.approx(0.5 ** (3600 / 6586.2))
    assert nifti.suv_factor(sidecar) == pytest.approx(dose_at_frame_bq / 70e3)


@pytest.mark.parametrize("path", ["out.nii.gz", "pet/x_pet.nii.gz", "sub-a/pet/mask.nii.gz"])
def test_images_elsewhere_are_no_data_set(tmp_path: Path, path: str):
    image = tmp_path / path
    nifti.write_image(image, np.ones(SHAPE), np.eye(4), {})
    assert not list(tmp_path.rglob(bids.DESCRIPTION))
