"""Scanner geometry: where detectors are, what the TOF figures mean in mm, and the presets."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from tgdpet.config.sections import ScannerChoice
from tgdpet.scanner import cylinder
from tgdpet.scanner.cylinder import PRESETS, Scanner

DEMO = PRESETS["demo"]


@pytest.mark.parametrize("device", PRESETS.values(), ids=list(PRESETS))
def test_detectors_lie_on_a_centred_cylinder(device: Scanner) -> None:
    at = device.detector_mm()
    assert at.shape == (device.n_detectors, 3) == (device.rings * device.crystals_per_ring, 3)
    np.testing.assert_allclose(np.hypot(at[:, 0], at[:, 1]), device.radius_mm, rtol=1e-6)
    np.testing.assert_allclose(at.mean(axis=0), 0, atol=1e-3)
    assert at[:, 2].max() - at[:, 2].min() == pytest.approx(
        device.axial_mm - device.ring_pitch_mm, rel=1e-6
    )


def test_detector_numbers_count_crystals_then_rings() -> None:
    at = DEMO.detector_mm()
    n = DEMO.crystals_per_ring
    step = 2 * math.pi / n

    assert math.atan2(at[0, 1], at[0, 0]) == pytest.approx(step / 2, rel=1e-5)
    assert math.atan2(at[1, 1], at[1, 0]) == pytest.approx(1.5 * step, rel=1e-5)
    np.testing.assert_allclose(at[n] - at[0], [0, 0, DEMO.ring_pitch_mm], atol=1e-4)


def test_tof_figures_in_mm() -> None:
    # 280 ps between the photons' arrivals are 280 ps * c / 2 = 42 mm along the line
    assert DEMO.tof_sigma_mm * 2.35482 == pytest.approx(280e-12 * 299_792_458e3 / 2, rel=1e-5)
    assert DEMO.tof_bin_mm == pytest.approx(140e-12 * 299_792_458e3 / 2)
    reach = (DEMO.tof_half_bins + 0.5) * DEMO.tof_bin_mm
    assert reach > DEMO.fov_radius_mm + 3 * DEMO.tof_sigma_mm


@pytest.mark.parametrize("device", PRESETS.values(), ids=list(PRESETS))
def test_accepted_lors_are_those_through_the_field_of_view(device: Scanner) -> None:
    def distance_mm(crystals: int) -> float:
        return device.radius_mm * math.cos(math.pi * crystals / device.crystals_per_ring)

    gap = device.min_crystal_difference
    assert distance_mm(gap) <= device.fov_radius_mm < distance_mm(gap - 1)
    assert device.fov_radius_mm * 2 > 500, "an adult fits"


def test_a_field_of_view_wider_than_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="fov_radius_mm = 290.0 must be below radius_mm = 280.0"):
        cylinder.from_choice(ScannerChoice(radius_mm=280.0))


def test_a_choice_replaces_only_what_it_names() -> None:
    assert cylinder.from_choice(ScannerChoice()) == DEMO
    assert cylinder.from_choice(ScannerChoice(preset="clinical")) == PRESETS["clinical"]
    changed = cylinder.from_choice(ScannerChoice(tof_fwhm_ps=214.0))
    assert changed == dataclasses.replace(DEMO, tof_fwhm_ps=214.0)


def test_fewer_or_more_rings_keep_all_their_pairs_unless_told() -> None:
    for rings in (8, 50):
        device = cylinder.from_choice(ScannerChoice(rings=rings))
        assert device.max_ring_difference == rings - 1 and device.n_ring_pairs == rings**2

    told = cylinder.from_choice(ScannerChoice(rings=8, max_ring_difference=2))
    assert told.n_ring_pairs == 8 + 2 * 7 + 2 * 6


def test_round_trip(tmp_path: Path) -> None:
    device = dataclasses.replace(DEMO, tof_fwhm_ps=213.7)
    cylinder.write_scanner(tmp_path / "scanner.json", device)
    assert cylinder.read_scanner(tmp_path / "scanner.json") == device


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"rings": None}, "'rings' is missing; expected kind, radius_mm"),
        ({"colour": 1}, "unknown key 'colour'; allowed are kind, radius_mm"),
        ({"kind": None}, "'kind' is missing"),
        ({"kind": "cube"}, "kind: expected one of cylinder, got 'cube'"),
        ({"rings": 3.5}, "rings: expected a whole number >= 1 and <= 2000, got 3.5"),
        ({"efficiency": "1"}, "efficiency: expected a finite number > 0 and <= 1, got '1'"),
        ({"fov_radius_mm": 400.0}, "scanner: fov_radius_mm = 400.0 must be below"),
    ],
)
def test_a_missing_or_unknown_figure_is_named(
    tmp_path: Path, change: dict[str, object], cause: str
) -> None:
    values = {"kind": "cylinder", **dataclasses.asdict(DEMO), **change}
    (tmp_path / "scanner.json").write_text(
        json.dumps({k: v for k, v in values.items() if v is not None})
    )

    with pytest.raises(ValueError, match=r"scanner\.json: " + re.escape(cause)):
        cylinder.read_scanner(tmp_path / "scanner.json")


def test_the_clinical_scanner_counts_as_published_ones_do() -> None:
    """A line of 700 mm in air (NEMA NU 2-2018): 5 to 20 counts/s per kBq.

    Hsu et al. 2017 (J Nucl Med 58:1511).
    """
    device = PRESETS["clinical"]
    z = np.linspace(-device.axial_mm / 2, device.axial_mm / 2, 2001)
    half = device.axial_mm / 2 - np.abs(z)
    # both photons of a decay on the axis
    seen = device.efficiency**2 * half / np.hypot(half, device.radius_mm)

    assert 1000 * np.trapezoid(seen, z) / 700 == pytest.approx(13, rel=0.05)
