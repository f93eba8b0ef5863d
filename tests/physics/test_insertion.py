"""A study with a lesion inserted: its image shows the lesion, nothing else changes, and what cannot
be is refused.
"""

from __future__ import annotations

import math
import runpy
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from small_scanner import axes_mm, cylinder, painted, scan_of
from tgdpet.config.sections import Grid, ReconProtocol, Simulation
from tgdpet.constants import ORGANS
from tgdpet.io import nifti
from tgdpet.io.files import read_json, write_json
from tgdpet.listmode import study_folder
from tgdpet.listmode.background import Background
from tgdpet.listmode.events import write_events
from tgdpet.recon import additive_term, osem, sensitivity
from tgdpet.recon.projector_cpu import Projector
from tgdpet.scanner import cylinder as scanners
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation import lesion, lesion_study, monte_carlo
from tgdpet.simulation.lesion import Sphere

SCANNER = Scanner(200.0, 160, 12, 8.0, 11, 280.0, 140.0, 0.5, 150.0)
GRID = Grid([30, 30, 12], [8.0, 8.0, 8.0])
MU = (0.096 * cylinder(GRID, 90.0)).astype(np.float32)
WARM = Sphere((40.0, -24.0, 4.0), 40.0, 3000.0, 6.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    settings = Simulation(scan_s=60.0, psf_fwhm_mm=5.0, scatter_fraction=0.3, randoms_fraction=0.2)
    warm = 1000.0 * cylinder(GRID, 90.0)
    scan = scan_of(warm, MU, GRID, SCANNER, settings)
    noise = monte_carlo.background(scan, 1)
    count = write_events(folder / "events.npy", monte_carlo.simulate(scan, noise, 2, slices=8))
    meta = {
        "study": "a",
        "events": count,
        "scan_s": 60.0,
        "effective_s": scan.effective_s,
        "grid": asdict(GRID),
        "background": asdict(noise),
        "injected_mbq": 300.0,
        "weight_kg": 75.0,
        "scan_start_s": 3600.0,
        "half_life_s": 6586.2,
    }
    affine = nifti.grid_affine(tuple(GRID.shape), tuple(GRID.voxel_mm))
    write_json(folder / "listmode.json", {**meta, "provenance": {}})
    scanners.write_scanner(folder / "scanner.json", SCANNER)
    nifti.write_plain(folder / "mu.nii.gz", MU, affine)
    nifti.write_labels(folder / "organs.nii.gz", (MU > 0.05).astype(np.int16), affine)
    nifti.write_image(
        folder / "truth.nii.gz", warm, affine, study_folder.image_sidecar(meta, 60.0, {})
    )
    (folder / "additive.npy").write_bytes(b"of the old events")
    return folder


def put_in(study: Path, out: Path, what: Sphere = WARM, seed: int = 1) -> Path:
    write_json(out / "listmode.json", lesion_study.insert(study, out, what, seed))
    return out


def test_the_image_shows_the_lesion_at_its_place_with_its_activity(study, tmp_path):
    projector = Projector(SCANNER, GRID)
    sens = sensitivity.sensitivity(projector, MU)

    def image_of(folder: Path) -> np.ndarray:
        read = study_folder.read_study(folder)
        noise = Background(**read.meta["background"])
        events = np.asarray(read.events)
        additive = additive_term.additive(projector, events, MU, noise)
        protocol = ReconProtocol([6.0] * 3, 3, 4)
        return osem.reconstruct(
            projector, events, additive, sens, read.meta["effective_s"], protocol
        )

    more = image_of(put_in(study, tmp_path / "b")).astype(float) - image_of(study)
    r = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes_mm(GRID), WARM.centre_mm, strict=True)))
    near = r < 36
    assert more[near].sum() * 0.512 == pytest.approx(3000 * 4 / 3 * math.pi * 20**3 / 1000, rel=0.1)
    found = [float((more * a)[near].sum() / more[near].sum()) for a in axes_mm(GRID)]
    assert found == pytest.approx(WARM.centre_mm, abs=2)
    assert more[r < 18].mean() == pytest.approx(3000, rel=0.15)
    assert abs(more[(r > 50) & (MU > 0.05)].mean()) < 30


def test_nothing_else_changes_and_a_seed_repeats_it(study, tmp_path):
    first, again, other = (
        put_in(study, tmp_path / str(i), seed=s) for i, s in enumerate((1, 1, 2))
    )
    assert (first / "events.npy").read_bytes() == (again / "events.npy").read_bytes()
    assert (first / "events.npy").read_bytes() != (other / "events.npy").read_bytes()
    for name in ("scanner.json", "mu.nii.gz"):
        assert (first / name).read_bytes() == (study / name).read_bytes()
    assert not (first / "additive.npy").exists()
    old, new = study_folder.read_study(study), study_folder.read_study(first)
    (entry,) = new.meta["lesions"]
    assert new.meta["events"] - old.meta["events"] == entry["events"] > 1000
    assert entry["expected_events"] == pytest.approx(
        entry["events"], abs=4 * math.sqrt(entry["events"])
    )
    assert {k: v for k, v in new.meta.items() if k not in ("events", "lesions")} == {
        k: v for k, v in old.meta.items() if k != "events"
    }
    labels, before = (nifti.read_labels(f / "organs.nii.gz")[0] for f in (first, study))
    ball = painted(GRID, WARM.centre_mm, (20.0,) * 3) >= 0.5
    np.testing.assert_array_equal(labels, np.where(ball, ORGANS["lesion"], before))
    added = (
        nifti.read_image(first / "truth.nii.gz").data
        - nifti.read_image(study / "truth.nii.gz").data
    )
    np.testing.assert_allclose(added, 3000 * painted(GRID, WARM.centre_mm, (20.0,) * 3), atol=1e-2)


def test_a_second_lesion_however_small_is_recorded_too(study, tmp_path):
    first = put_in(study, tmp_path / "1")
    small = Sphere((-40.0, 4.0, 4.0), 1.0, 1e7, 6.0)
    second = put_in(first, tmp_path / "2", small)
    assert len(study_folder.read_study(second).meta["lesions"]) == 2
    added = (
        nifti.read_image(second / "truth.nii.gz").data
        - nifti.read_image(first / "truth.nii.gz").data
    )
    assert added.sum() * 0.512 == pytest.approx(1e7 * math.pi / 6 * 1e-3, rel=1e-3)
    labels = [
        nifti.read_labels(f / "organs.nii.gz")[0] == ORGANS["lesion"] for f in (first, second)
    ]
    assert labels[1].sum() == labels[0].sum() + 1 and not (labels[0] & ~labels[1]).any()


def test_the_script_takes_suv(study, tmp_path, monkeypatch, root):
    folders = f"--listmode {study} --out-dir {tmp_path / 'c'}"
    sphere = "--centre-mm -8 16 0 --diameter-mm 24 --suv 2 --seed 4"
    monkeypatch.setattr(sys, "argv", ["x", *folders.split(), *sphere.split()])
    runpy.run_path(str(root / "scripts/02_insert_lesion.py"))["main"]()
    (entry,) = study_folder.read_study(tmp_path / "c").meta["lesions"]
    assert entry["bqml"] == pytest.approx(2 * 300e6 / 75e3 * 0.5 ** (3600 / 6586.2))
    assert entry["psf_fwhm_mm"] == pytest.approx(lesion.default_psf_mm(SCANNER))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"centre_mm": (110.0, 0.0, 0.0)}, "x = 110 mm leaves the field of view"),
        (
            {"centre_mm": (0.0, 0.0, 30.0)},
            r"z = 30 mm leaves the field of view, which ends at z = \+-44 mm",
        ),
        ({"centre_mm": (0.0, math.nan, 0.0)}, "leaves the field of view"),
        ({"bqml": 0.0}, "expected the first two above 0"),
        ({"diameter_mm": -1.0}, "expected the first two above 0"),
    ],
)
def test_a_sphere_that_cannot_be_is_refused(study, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        put_in(study, tmp_path / "d", Sphere(**{**asdict(WARM), **changed}))
    assert not (tmp_path / "d").exists()


def test_a_sphere_that_no_lor_crosses_or_that_reaches_the_detectors_is_refused(study, tmp_path):
    with pytest.raises(ValueError, match="reaches the scanner's detectors"):
        put_in(study, tmp_path / "d", Sphere((0.0, 0.0, 0.0), 80.0, 1.0, 120.0))
    flat = put_in(study, tmp_path / "flat")
    scanners.write_scanner(flat / "scanner.json", replace(SCANNER, max_ring_difference=0))
    with pytest.raises(ValueError, match="no LOR"):
        put_in(flat, tmp_path / "d", Sphere((0.0, 0.0, 0.0), 2.0, 1e4, 0.5))  # between two rings


def test_a_study_with_its_own_background_or_without_a_dose_is_refused(study, tmp_path):
    own = put_in(study, tmp_path / "own")
    (own / "background.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="background of each of its events"):
        put_in(own, tmp_path / "d")
    with pytest.raises(ValueError, match="the folder to write is the one to read"):
        put_in(study, study)
    write_json(own / "listmode.json", {**read_json(own / "listmode.json"), "weight_kg": None})
    with pytest.raises(ValueError, match=r"listmode.json: .*BodyWeight"):
        lesion_study.bqml_of_suv(own, 2.0)
