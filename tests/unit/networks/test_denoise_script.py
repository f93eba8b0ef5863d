"""One job denoises all images of a study with all its networks, as one job for each would."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
import torch

from tgdpet.io import nifti
from tgdpet.networks import weights
from tgdpet.networks.denoise import denoise
from tgdpet.networks.dncnn import DnCNN

pytestmark = pytest.mark.usefixtures("one_thread")

SCALE = {"a": 1000.0, "b": 500.0}


@pytest.fixture
def files(tmp_path):
    """Networks a and b, and two noisy images."""
    for seed, (name, scale) in enumerate(SCALE.items()):
        model = DnCNN(0.125, torch.Generator().manual_seed(seed))
        weights.save(tmp_path / f"{name}.safetensors", model, weights.Card(name, 0.125, scale))

    generator = np.random.default_rng(0)
    for name in ("1", "2"):
        data = generator.gamma(2, 500, (10, 9, 4)).astype(np.float32)
        nifti.write_image(tmp_path / f"noisy/{name}.nii.gz", data, np.eye(4), {})

    return tmp_path


@pytest.fixture
def script(root, files, monkeypatch):
    """`script(networks, images, folders)`: run it on the names of files."""
    main = runpy.run_path(str(root / "scripts/08_denoise.py"))["main"]

    def run(networks, images, folders):
        words = ["--network", *(files / f"{name}.safetensors" for name in networks)]
        words += ["--images", *(files / f"noisy/{name}.nii.gz" for name in images)]
        words += ["--out-dir", *(files / name for name in folders), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["08_denoise.py", *map(str, words)])
        main()

    return run


def test_each_network_writes_to_its_own_folder_what_it_makes_alone(script, files):
    script("ab", "12", ["out/a", "out/b"])

    for network, scale in SCALE.items():
        model, _ = weights.load(files / f"{network}.safetensors")
        for name in ("1", "2"):
            noisy = nifti.read_image(files / f"noisy/{name}.nii.gz")
            written = nifti.read_image(files / f"out/{network}/{name}.nii.gz")
            assert np.array_equal(written.data, denoise(model, noisy.data, scale))
            assert written.sidecar["Network"] == network

            inputs = [files / f"noisy/{name}.nii.gz", files / f"{network}.safetensors"]
            assert list(written.sidecar["provenance"]["inputs"]) == [str(path) for path in inputs]


@pytest.mark.parametrize(
    ("networks", "images", "folders", "message"),
    [
        ("ab", "12", ["out"], r"--out-dir: expected 2, one for each --network, got 1"),
        ("ab", "12", ["out", "./out"], r"--out-dir: \S+/out comes twice; one would overwrite"),
        ("a", "11", ["out"], r"--images: 1\.nii\.gz comes twice; one would overwrite"),
        ("a", "12", ["noisy"], r"--out-dir: \S+/noisy is the folder of \d\.nii\.gz, which would"),
    ],
)
def test_what_would_overwrite_is_refused_before_anything_is_written(
    script, files, networks, images, folders, message
):
    before = sorted(files.rglob("*"))
    with pytest.raises(ValueError, match=message):
        script(networks, images, folders)
    assert sorted(files.rglob("*")) == before
