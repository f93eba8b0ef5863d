"""Studies written as PETSIRD: the package reads what we wrote, byte for byte as it would write it,
and so do we.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest

petsird = pytest.importorskip("petsird")

from petsird_files import GIVEN, GRID, TINY, block, header, read_all, study, write
from tgdpet.io import nifti
from tgdpet.io.files import write_json
from tgdpet.listmode import study_folder
from tgdpet.petsird import tiling
from tgdpet.petsird.read import import_study
from tgdpet.petsird.write import export_study
from tgdpet.scanner import cylinder


def as_stored(events, device=TINY):
    """(first bin, second bin, TOF) as PETSIRD wants them: the larger bin first, TOF turned with
    it.
    """
    ids = tiling.tile(device).ids().astype(np.int64)
    a, b = ids[events["det0"]], ids[events["det1"]]
    swap = a < b
    return np.stack(
        [np.where(swap, b, a), np.where(swap, a, b), np.where(swap, -1, 1) * events["tof"]], axis=1
    )


@pytest.fixture
def exported(tmp_path):
    """(events, PETSIRD file) of a small study in five blocks."""
    events = study(tmp_path / "s")
    export_study(tmp_path / "s", tmp_path / "x.petsird")
    return events, tmp_path / "x.petsird"


def package_blocks(path):
    with petsird.BinaryPETSIRDReader(str(path)) as reader:
        head = reader.read_header()
        return head, list(reader.read_time_blocks())


def test_package_reads_exactly_our_events(exported):
    events, path = exported
    _, blocks = package_blocks(path)
    found = [
        (*e.detection_bins, e.tof_idx - TINY.tof_half_bins)
        for b in blocks
        for e in b.value.prompt_events[0][0]
    ]
    np.testing.assert_array_equal(found, as_stored(events))
    assert [(b.value.time_interval.start, b.value.time_interval.stop) for b in blocks] == [
        (1000 * i, 1000 * (i + 1)) for i in range(5)
    ]


def test_bytes_are_those_of_the_package(exported):
    _, path = exported
    head, blocks = package_blocks(path)
    buffer = io.BytesIO()
    with petsird.BinaryPETSIRDWriter(buffer) as writer:
        writer.write_header(head)
        writer.write_time_blocks(iter(blocks))
    assert buffer.getvalue() == path.read_bytes()


def test_blocks_longer_than_a_piece_give_the_same_bytes(exported, tmp_path, monkeypatch):
    _, path = exported
    monkeypatch.setattr("tgdpet.petsird.write.CHUNK", 17)
    export_study(tmp_path / "s", tmp_path / "y.petsird")
    assert (tmp_path / "y.petsird").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [1, 7, 300])
def test_events_do_not_depend_on_the_size_of_pieces(exported, size):
    events, path = exported
    np.testing.assert_array_equal(read_all(path, size)[0], as_stored(events))


def test_import_gives_the_study_back(exported, tmp_path):
    events, path = exported
    meta = import_study(path, tmp_path / "i", "s", GRID)
    write_json(tmp_path / "i/listmode.json", meta)
    before, after = study_folder.read_study(tmp_path / "s"), study_folder.read_study(tmp_path / "i")
    stored = as_stored(events)
    for column, name in enumerate(("det0", "det1", "tof")):
        np.testing.assert_array_equal(after.events[name], stored[:, column])
    assert {k: meta[k] for k in GIVEN} == GIVEN
    assert meta["background"] == before.meta["background"]
    assert (meta["scan_s"], meta["bmi"], meta["source"], meta["not_used"]) == (
        5.0,
        25.0,
        "petsird",
        {},
    )
    np.testing.assert_array_equal(after.mu_per_cm, before.mu_per_cm)
    organs = [nifti.read_labels(tmp_path / folder / "organs.nii.gz")[0] for folder in ("s", "i")]
    np.testing.assert_array_equal(*organs)


def test_scanner_comes_back(exported, tmp_path):
    _, path = exported
    import_study(path, tmp_path / "i", "s", GRID)
    device = cylinder.read_scanner(tmp_path / "i/scanner.json")
    ids = tiling.tile(TINY).ids()
    np.testing.assert_allclose(device.detector_mm()[ids], TINY.detector_mm(), atol=1e-3)
    i, j = (v.ravel() for v in np.meshgrid(*[np.arange(TINY.n_detectors)] * 2))
    np.testing.assert_allclose(
        device.lor_weights(ids[i], ids[j]), TINY.lor_weights(i, j), rtol=1e-6
    )
    assert device.tof_sigma_mm == pytest.approx(TINY.tof_sigma_mm, rel=1e-6)
    assert device.tof_step_mm == device.tof_bin_mm == pytest.approx(TINY.tof_bin_mm, rel=1e-6)
    assert device.tof_half_bins == TINY.tof_half_bins
    rings = device.detector_mm()[device.ring_ids()]
    assert rings.shape == (TINY.rings, TINY.crystals_per_ring, 3)
    assert device.random_cells(None) == TINY.n_lors * (2 * TINY.tof_half_bins + 1)


@pytest.mark.parametrize("preset", ["demo", "clinical"])
def test_tilings_hold_every_crystal_once(preset):
    device = cylinder.PRESETS[preset]
    tiled = tiling.tile(device)
    assert 16 <= tiled.across * tiled.along <= 64
    assert tiled.across * tiled.around == device.crystals_per_ring
    np.testing.assert_array_equal(np.sort(tiled.ids()), np.arange(device.n_detectors))


def test_more_events_fall_in_early_blocks_as_the_activity_decays(tmp_path):
    study(tmp_path / "s", 20_000, scan_s=6586.2)
    export_study(tmp_path / "s", tmp_path / "x.petsird", block_s=3293.1)
    _, blocks = package_blocks(tmp_path / "x.petsird")
    first, second = (len(b.value.prompt_events[0][0]) for b in blocks)
    assert first / second == pytest.approx(2**0.5, rel=1e-3)


def test_imported_study_is_not_exported(tmp_path):
    path = write(tmp_path / "x.petsird", header(), [block(0, 1000, (12, 0, 2))])
    write_json(
        tmp_path / "i/listmode.json",
        import_study(path, tmp_path / "i", "s", GRID, attenuation=False),
    )
    with pytest.raises(ValueError, match=r"i/scanner\.json: only studies on a cylindrical scanner"):
        export_study(tmp_path / "i", tmp_path / "y.petsird")


@pytest.mark.parametrize(
    ("scan_s", "name", "message"), [(5e6, "x.petsird", "2\\^32 ms"), (5.0, "x.bin", r"\.petsird")]
)
def test_export_refuses(tmp_path, scan_s, name, message):
    study(tmp_path / "s", scan_s=scan_s)
    with pytest.raises(ValueError, match=message):
        export_study(tmp_path / "s", tmp_path / name)


@pytest.mark.parametrize("block_s", [0.0, -1.0, float("nan")])
def test_time_blocks_need_a_length(tmp_path, block_s):
    study(tmp_path / "s")
    with pytest.raises(ValueError, match="time blocks: expected a length above 0 s"):
        export_study(tmp_path / "s", tmp_path / "x.petsird", block_s)


def test_scripts_take_a_study_out_and_in(root, tmp_path):
    study(tmp_path / "s")
    grid = ["--shape", *map(str, GRID.shape), "--voxel-mm", *map(str, GRID.voxel_mm)]
    run(root, "02_export.py", "--listmode", tmp_path / "s", "--out", tmp_path / "x.petsird")
    run(
        root,
        "02_import.py",
        "--petsird",
        tmp_path / "x.petsird",
        "--study",
        "s",
        "--out-dir",
        tmp_path / "i",
        *grid,
    )
    meta = json.loads((tmp_path / "i/listmode.json").read_text())
    assert meta["events"] == 300
    assert sorted(p.rsplit("/", 1)[1] for p in meta["provenance"]["inputs"]) == [
        "x.json",
        "x.mu.nii.gz",
        "x.organs.nii.gz",
        "x.petsird",
    ]
    bad = run(
        root,
        "02_import.py",
        "--petsird",
        tmp_path / "no",
        "--study",
        "s",
        "--out-dir",
        tmp_path / "j",
        code=1,
    )
    assert bad == f"error: {tmp_path}/no: no such PETSIRD file\n"


def run(root, script, *args, code=0):
    done = subprocess.run(
        [sys.executable, root / "scripts" / script, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr
