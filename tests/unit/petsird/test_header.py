"""The scanner in a PETSIRD header: the package's own demo read as the package reads it, or refused
for its reason.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

petsird = pytest.importorskip("petsird")

from petsird.helpers import expand_detection_bin as expand
from petsird.helpers import (
    generator,
    get_detection_efficiency,
    get_num_detection_bins,
)
from petsird.helpers.geometry import get_detecting_box

from petsird_files import GRID, block, header, read_all, replicated, write
from tgdpet.petsird import scanner, stream
from tgdpet.petsird.read import import_study
from tgdpet.scanner import cylinder

# the demo's two kinds of module (three energy windows and one), fewer of them, as the package is
# slow
FIRST = replace(generator.mtype0_def, num_crystals_per_module=(2, 2, 3), num_modules_along_ring=8)
SECOND = replace(generator.mtype1_def, num_crystals_per_module=(1, 2, 4), num_modules_along_ring=6)


def demo(*definitions):
    """Header of the package's demo generator for these module types, with uneven efficiencies."""
    info = generator.get_scanner_info(definitions)
    rng = np.random.default_rng(1)
    for t in range(len(definitions)):
        n = get_num_detection_bins(info, t)
        info.detection_efficiencies.detection_bin_efficiencies[t] = (
            rng.uniform(0.5, 1.5, n).astype(np.float32).tolist()
        )
    return petsird.Header(scanner=info)


def same_tof(head):
    """Give all pairs of module types the TOF bins of the first."""
    n = len(head.scanner.scanner_geometry.replicated_modules)
    head.scanner.tof_bin_edges = [[head.scanner.tof_bin_edges[0][0]] * n] * n
    head.scanner.tof_resolution = [[head.scanner.tof_resolution[0][0]] * n] * n
    return head


def test_demo_is_refused_as_its_tof_bins_differ_between_types(tmp_path):
    path = write(tmp_path / "x.petsird", demo(FIRST, SECOND), [])
    with pytest.raises(
        ValueError, match=r"tof_bin_edges\[1\]\[0\]: only TOF bins that are the same for all pairs"
    ):
        read_all(path)


@pytest.mark.parametrize("types", [1, 2])
def test_demo_has_the_packages_positions_and_efficiencies(tmp_path, types):
    head = same_tof(demo(*(FIRST, SECOND)[:types]))
    path = write(tmp_path / "x.petsird", head, [])
    device, limits = scanner.scanner_of(path, head.scanner), scanner.limits_of(path, head.scanner)
    rng = np.random.default_rng(types)
    coincident = 0
    for a, b in [(0, 0), (1, 0), (1, 1)][: 3 if types == 2 else 1]:
        for _ in range(60):
            i, j = (int(rng.integers(limits.sizes[t])) for t in (a, b))
            if a == b and i < j:
                i, j = j, i
            box = get_detecting_box(head.scanner, a, expand(head.scanner, a, i))
            centre = np.mean([c.c for c in box.corners], axis=0) - [0, 0, device.axial_shift_mm]
            first, second = limits.offsets[a] + i, limits.offsets[b] + j
            np.testing.assert_allclose(device.detector_mm()[first], centre, atol=1e-3)
            expected = get_detection_efficiency(head.scanner, [a, b], i, j)
            np.testing.assert_allclose(
                device.lor_weights([first, second], [second, first]), expected, rtol=1e-6
            )
            coincident += expected > 0
    assert coincident > 30
    assert device.ring_ids() is None  # three energy windows


def test_demo_with_one_module_type_is_read(tmp_path, monkeypatch):
    head = same_tof(demo(FIRST))
    events = [
        (e.detection_bins[0], e.detection_bins[1], e.tof_idx)
        for e in generator.get_events(head, [0, 0], 100)
    ]
    path = write(tmp_path / "x.petsird", head, [block(0, 1000, *events)])
    meta = import_study(path, tmp_path / "i", "s", GRID, attenuation=False)
    assert (meta["events"], meta["not_used"]) == (100, {})
    assert meta["petsird"]["energy_windows_kev"] == [
        pytest.approx([450, 516.67, 583.33, 650], abs=0.01)
    ]
    found = read_all(path)[0]
    np.testing.assert_array_equal(found, np.array(events) - [0, 0, 5])


def test_events_of_two_module_types_are_numbered_one_after_the_other(tmp_path):
    head = header()
    head.scanner.scanner_geometry.replicated_modules.append(replicated(150.0, 2, 4))
    head.scanner.event_energy_bin_edges *= 2
    path = tmp_path / "x.petsird"
    one = [petsird.CoincidenceEvent(detection_bins=[7, 3], tof_idx=1)]
    other = [petsird.CoincidenceEvent(detection_bins=[1, 20], tof_idx=4)]
    blocks = petsird.EventTimeBlock(
        time_interval=petsird.TimeInterval(start=0, stop=9), prompt_events=[[one], [other, one]]
    )
    write(path, same_tof(head), [petsird.TimeBlock.EventTimeBlock(blocks)])
    events, seen = read_all(path)
    assert events.tolist() == [[7, 3, -1], [25, 20, 2], [31, 27, -1]]
    assert seen.unordered == 0


@pytest.mark.parametrize(("bins", "step", "half"), [(1, 100.0, 0), (4, 12.5, 3), (5, 20.0, 2)])
def test_tof_bins_even_or_odd_in_number_lie_where_the_file_says(tmp_path, bins, step, half):
    head = header(tof_bins=bins)
    path = write(tmp_path / "x.petsird", head, [block(0, 1, *[(12, 0, k) for k in range(bins)])])
    import_study(path, tmp_path / "i", "s", GRID, attenuation=False)
    device = cylinder.read_scanner(tmp_path / "i/scanner.json")
    assert (device.tof_step_mm, device.tof_half_bins) == (step, half)
    assert device.tof_sigma_mm == pytest.approx(0 if bins == 1 else 40 / 2.3548, rel=1e-4)
    edges = head.scanner.tof_bin_edges[0][0].edges
    tof = np.load(tmp_path / "i/events.npy")["tof"]
    np.testing.assert_allclose(tof * step, (edges[1:] + edges[:-1]) / 2, atol=1e-4)


def test_rings_are_found_and_the_axial_middle_is_0(tmp_path):
    path = write(tmp_path / "x.petsird", header(elements=3, modules=8), [])
    device = scanner.scanner_of(path, header().scanner)
    at = device.detector_mm()[device.ring_ids()]
    np.testing.assert_allclose(at[:, :, 2], np.repeat([[-5], [0], [5]], 8, axis=1), atol=1e-4)
    np.testing.assert_allclose(at[0, :, :2], at[2, :, :2], atol=1e-4)
    assert device.axial_shift_mm == 7.0


def test_a_file_without_efficiencies_weighs_all_pairs_alike(tmp_path):
    device = scanner.scanner_of(tmp_path, header(windows=2).scanner)
    assert device.lor_weights([6, 6, 6], [0, 6, 7]).tolist() == [
        1,
        0,
        0,
    ]  # 6 and 7 are windows of one crystal


def edges(*values):
    return [[petsird.BinEdges(edges=np.array(values, np.float32))]]


def efficiencies(**more):
    return petsird.DetectionEfficiencies(**{"calibration_factor": 1.0, **more})


LUT = [[[[0] * (i + 1) for i in range(8)]]]
PAIR = petsird.ModulePairEfficiencies


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tof_bin_edges", edges(-3, -1, 2, 3), "only equal widths are read, got 1 to 3 mm"),
        (
            "tof_bin_edges",
            edges(-2, 0, 2, 4),
            "only bins symmetric about 0 are read, got -2 to 4 mm",
        ),
        ("tof_bin_edges", edges(1), "at least two rising edges"),
        ("tof_bin_edges", edges(1, -1), "at least two rising edges"),
        ("tof_bin_edges", [], "expected an entry for module type 0, got 0"),
        ("tof_resolution", [[0.0]], "one FWHM above 0 mm"),
        ("event_energy_bin_edges", [petsird.BinEdges()], "expected rising keV"),
        (
            "scanner_geometry",
            petsird.ScannerGeometry(),
            "at least one module type, got none|1 to 16777216",
        ),
        (
            "detection_efficiencies",
            efficiencies(calibration_factor=np.nan),
            "calibration_factor: expected above 0",
        ),
        (
            "detection_efficiencies",
            efficiencies(calibration_factor=0.0, detection_bin_efficiencies=[[1.0] * 24]),
            "calibration_factor: expected above 0",
        ),
        (
            "detection_efficiencies",
            efficiencies(detection_bin_efficiencies=[[1.0]]),
            r"expected \[24\].*got \[1\]",
        ),
        (
            "detection_efficiencies",
            efficiencies(detection_bin_efficiencies=[[-1.0] * 24]),
            "at least 0, got -1",
        ),
        (
            "detection_efficiencies",
            efficiencies(module_pair_sgidlut=[[[[0]]]]),
            "expected 8 rows, one a module, got 1",
        ),
        (
            "detection_efficiencies",
            efficiencies(
                module_pair_sgidlut=LUT, module_pair_efficiencies_vectors=[[[PAIR(values=[[1.0]])]]]
            ),
            "sgid 0 and 3 rows of 3 values, got sgid 0 and 1 rows",
        ),
        (
            "detection_efficiencies",
            efficiencies(
                module_pair_sgidlut=LUT,
                module_pair_efficiencies_vectors=[[[PAIR(values=[[1.0] * 3] * 3, sgid=1)]]],
            ),
            "expected sgid 0",
        ),
        (
            "detection_efficiencies",
            efficiencies(
                module_pair_sgidlut=[[[[5] * (i + 1) for i in range(8)]]],
                module_pair_efficiencies_vectors=[[[PAIR(values=[[1.0] * 3] * 3)]]],
            ),
            "expected groups below 1, got 5",
        ),
        (
            "detection_efficiencies",
            efficiencies(module_pair_efficiencies_vectors=[[[PAIR(values=[[1.0] * 3] * 3)]]]),
            "module_pair_sgidlut: expected a table",
        ),
    ],
)
def test_headers_that_cannot_be_read_are_refused_by_field(tmp_path, field, value, message):
    head = header()
    setattr(head.scanner, field, value)
    path = write(tmp_path / "x.petsird", head, [])
    with pytest.raises(ValueError, match=rf"x\.petsird: .*({message})"):
        read_all(path)


def test_a_transform_that_is_no_motion_is_refused(tmp_path):
    head = header()
    head.scanner.scanner_geometry.replicated_modules[0].transforms[3] = (
        petsird.RigidTransformation()
    )
    with pytest.raises(
        ValueError,
        match=r"replicated_modules\[0\]\.transforms\[3\]: expected a rotation and a shift",
    ):
        read_all(write(tmp_path / "x.petsird", head, []))


def test_a_missing_or_other_package_is_named(monkeypatch):
    monkeypatch.setattr(stream.metadata, "version", lambda name: "0.13.1")
    with pytest.raises(ValueError, match=r"with petsird 0\.12, found 0\.13\.1"):
        stream.package()
    monkeypatch.setitem(sys.modules, "petsird.binary", None)
    with pytest.raises(ValueError, match=r"pip install 'petsird==0\.12\.\*'"):
        stream.package()
