"""The examples run as a stranger would run them, on settings that take seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tgdpet.io.nifti import grid_affine, write_plain


@pytest.fixture
def run(root, tmp_path):
    """Run an example in an empty folder; its standard output."""

    def call(name: str, *options: object, code: int = 0) -> str:
        place = {
            **os.environ,
            "PYTHONPATH": f"{root / 'scripts'}{os.pathsep}{tmp_path}",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-W", "error", str(root / "examples" / name), *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=place)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return call


def kept(out: str) -> tuple[int, int]:
    same, total = map(int, re.search(r"same bits: (\d+) of (\d+)", out).groups())
    return same, total


def test_tgd_on_somebody_elses_network(run):
    out = run("tgd_on_your_network.py", "--steps", 30)
    same, total = kept(out)
    assert same == total > 0
    before, after = (float(x) for x in re.findall(r"([\d.]+) on new", out))
    assert after < before


def test_tgd_on_a_network_given_by_name(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), "
        "nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))\n"
    )
    out = run("tgd_on_your_network.py", "--steps", 2, "--network", "mine:net")
    assert "of 11" in out and kept(out)[0] == kept(out)[1]


def test_the_five_lines_are_five(root):
    lines = re.findall(r"# line (\d)", (root / "examples/tgd_on_your_network.py").read_text())
    assert lines == list("12345")


def test_online_learning_on_a_made_up_study(run, tmp_path):
    out = run("online_learning.py", "--steps", 12, "--out", "x.png")
    assert "have the same bits: True" in out and "RMSE to the truth" in out
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_online_learning_on_two_images(run, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        data = rng.poisson(20, (20, 16, 3)).astype(np.float32)
        write_plain(tmp_path / f"{name}.nii.gz", data, grid_affine(data.shape, (4.0, 4.0, 4.0)))
    out = run("online_learning.py", "a.nii.gz", "b.nii.gz", "--steps", 2)
    assert "RMSE to the other half" in out and (tmp_path / "online_learning.png").exists()
    assert "expected no file or two" in run("online_learning.py", "a.nii.gz", code=2)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("same", "the same data as a.nii.gz"),
        ("shifted", "expected the first voxel at"),
        ("mirrored", "another patient, position, time or orientation"),
        ("damaged suffix", "expected an image named"),
    ],
)
def test_two_images_that_are_no_halves_are_refused(run, tmp_path, change, cause):
    rng = np.random.default_rng(0)
    x, y, _ = np.indices((40, 32, 12))
    inside = ((x - 20) / 17) ** 2 + ((y - 16) / 13) ** 2 <= 1
    clean = 20.0 * inside + 60.0 * ((x - 12) ** 2 + (y - 16) ** 2 <= 36)
    halves = [rng.poisson(clean).astype(np.float32) for _ in "ab"]
    affines = [grid_affine(clean.shape, (4.0, 4.0, 4.0)) for _ in "ab"]

    name = "b.nii.gz"
    if change == "same":
        halves[1] = halves[0]
    elif change == "shifted":
        affines[1][0, 3] += 4
    elif change == "mirrored":
        halves[1] = halves[1][::-1]

    write_plain(tmp_path / "a.nii.gz", halves[0], affines[0])
    write_plain(tmp_path / name, halves[1], affines[1])
    if change == "damaged suffix":
        name = (tmp_path / name).rename(tmp_path / "b.nii.bz2").name

    out = run("online_learning.py", "a.nii.gz", name, "--steps", 2, code=1)
    assert cause in out and not (tmp_path / "online_learning.png").exists()
