"""Scanners: what projection and corrections need of any of them, and a parametric cylindrical one.

Lengths in mm, times in ps. A line of response (LOR) runs from detector 0 to detector 1; its TOF
coordinate grows from the LOR's middle towards detector 1. On a cylinder, detector id = ring *
crystals_per_ring + crystal.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..config.sections import ScannerChoice
from ..constants import FWHM_PER_SIGMA, MM_PER_PS
from ..io.contents import Number, Object, Text, check
from ..io.files import read_checked_json, write_checked_json

CYLINDER, TABLE = "cylinder", "table"  # kinds in scanner.json


class AnyScanner(Protocol):
    """Detectors, TOF bins and LOR weights of a scanner.

    Detectors are numbered from 0; z is the scanner's axis.
    """

    @property
    def n_detectors(self) -> int:
        """Number of detection bins."""

    @property
    def tof_sigma_mm(self) -> float:
        """Standard deviation of the TOF kernel along the LOR, mm; 0 for one bin without TOF."""

    @property
    def tof_bin_mm(self) -> float:
        """Width of a TOF bin along the LOR, mm."""

    @property
    def tof_step_mm(self) -> float:
        """The centre of TOF bin t lies at t times this from the LOR's middle, mm."""

    @property
    def tof_half_bins(self) -> int:
        """TOF bins run from -n to n."""

    def detector_mm(self) -> np.ndarray:
        """Positions (n_detectors, 3) float32, mm, centred on the scanner."""

    def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
        """Weights (n,) of LORs, mm^2; 0 for pairs not in coincidence.

        Expected trues over scan time, attenuation and the line integral in decays / (s mm^2). The
        same with the detectors exchanged.
        """

    def ring_ids(self) -> np.ndarray | None:
        """Detector ids (rings, crystals): identical rings along z; None for other shapes."""

    def relative_singles(self) -> np.ndarray | None:
        """Singles rates (n_detectors,) of mean 1; None if all are alike.

        Randoms are in proportion to the product of both detectors' rates.
        """


@dataclass(frozen=True)
class Scanner:
    """Figures of a cylindrical scanner; see `PRESETS` for where they come from."""

    radius_mm: float
    crystals_per_ring: int
    rings: int
    ring_pitch_mm: float
    max_ring_difference: int
    tof_fwhm_ps: float
    tof_bin_ps: float
    efficiency: float
    fov_radius_mm: float

    def __post_init__(self) -> None:
        if self.fov_radius_mm >= self.radius_mm:
            raise ValueError(
                f"scanner: fov_radius_mm = {self.fov_radius_mm} must be below "
                f"radius_mm = {self.radius_mm}"
            )

    @property
    def axial_mm(self) -> float:
        """Axial extent of the detectors, mm."""
        return self.rings * self.ring_pitch_mm

    @property
    def n_detectors(self) -> int:
        """Number of detector elements."""
        return self.rings * self.crystals_per_ring

    @property
    def tof_sigma_mm(self) -> float:
        """Standard deviation of the TOF kernel along the LOR, mm."""
        return self.tof_fwhm_ps * MM_PER_PS / FWHM_PER_SIGMA

    @property
    def tof_bin_mm(self) -> float:
        """Width of a TOF bin along the LOR, mm."""
        return self.tof_bin_ps * MM_PER_PS

    @property
    def tof_step_mm(self) -> float:
        """Distance of two TOF bins along the LOR, mm."""
        return self.tof_bin_mm

    @property
    def tof_half_bins(self) -> int:
        """TOF bins run from -n to n; n is chosen so that the field of view and 3 sigma fit."""
        reach_mm = self.fov_radius_mm + 3 * self.tof_sigma_mm

        return math.ceil(reach_mm / self.tof_bin_mm)

    @property
    def min_crystal_difference(self) -> int:
        """Smallest distance of two crystals around the ring with an LOR in the field of view."""
        angle = 2 * math.acos(self.fov_radius_mm / self.radius_mm)

        return math.ceil(angle / (2 * math.pi) * self.crystals_per_ring)

    @property
    def n_lors(self) -> int:
        """Number of accepted LORs: unordered crystal pairs times ordered ring pairs."""
        partners = self.crystals_per_ring - 2 * self.min_crystal_difference + 1

        return self.crystals_per_ring * partners // 2 * self.n_ring_pairs

    @property
    def n_ring_pairs(self) -> int:
        """Number of accepted ordered ring pairs."""
        rings = np.arange(self.rings)
        difference = np.abs(np.subtract.outer(rings, rings))

        return int((difference <= self.max_ring_difference).sum())

    def detector_mm(self) -> np.ndarray:
        """Positions of the crystals' front centres, (n_detectors, 3) float32, mm."""
        crystal = np.arange(self.crystals_per_ring)
        ring = np.arange(self.rings)
        phi = (crystal + 0.5) * 2 * np.pi / self.crystals_per_ring
        z_mm = (ring + 0.5) * self.ring_pitch_mm - self.axial_mm / 2

        position_mm = np.empty((len(ring), len(crystal), 3), np.float32)
        position_mm[..., 0] = self.radius_mm * np.cos(phi)
        position_mm[..., 1] = self.radius_mm * np.sin(phi)
        position_mm[..., 2] = z_mm[:, None]

        return position_mm.reshape(-1, 3)

    def ring_ids(self) -> np.ndarray:
        """Detector ids (rings, crystals_per_ring)."""
        ids = np.arange(self.n_detectors)

        return ids.reshape(self.rings, self.crystals_per_ring)

    def relative_singles(self) -> None:
        """All crystals count alike."""

    def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
        """Geometric weights (n,) of LORs, mm^2; 0 outside the field of view.

        K cos_0 cos_1 / D^2 with the LOR's length D; see `weight_constant_mm4`.
        """
        from .weight_lookup import look_up  # numba, which the Snakefile shall not load

        det0 = np.ascontiguousarray(det0)
        det1 = np.ascontiguousarray(det1)
        table = self._weight_table()
        weights = look_up(det0.ravel(), det1.ravel(), table, self.crystals_per_ring)

        return np.asarray(weights).reshape(det0.shape)

    def _weight_table(self) -> np.ndarray:
        """Weights by the distance around the ring, crystals, and the difference of rings."""
        n_crystals = self.crystals_per_ring
        diameter_mm = 2 * self.radius_mm
        gap = np.arange(n_crystals // 2 + 1)[:, None]
        ring_difference = np.arange(self.rings)

        in_view = gap >= self.min_crystal_difference
        rings_accepted = ring_difference <= self.max_ring_difference

        chord_mm = diameter_mm * np.sin(np.pi * gap / n_crystals)
        chord2 = chord_mm**2
        length2 = chord2 + (ring_difference * self.ring_pitch_mm) ** 2
        length4 = np.maximum(length2, 1e-9) ** 2

        # both ends meet the cylinder at the same angle: cos = (chord / 2R) * (chord / D)
        k_mm4 = self.weight_constant_mm4()
        weight = k_mm4 * (chord2 / diameter_mm) ** 2 / length4

        return np.where(in_view & rings_accepted, weight, 0.0)

    def weight_constant_mm4(self) -> float:
        """K in the geometric weight w = K cos_0 cos_1 / D^2 (mm^2) of an LOR of length D mm.

        The expected counts of an LOR are T * attenuation * w * (line integral of decays / (s
        mm^3)), since the lines through two small areas A at distance D have measure A cos_0 A cos_1
        / D^2 and an emission picks one of 2 pi directions; both photons must be detected
        (efficiency squared).
        """
        crystal_mm = 2 * math.pi * self.radius_mm / self.crystals_per_ring
        area_mm2 = crystal_mm * self.ring_pitch_mm

        return self.efficiency**2 * area_mm2**2 / (2 * math.pi)


# What is published and what assumed is in docs/explanation/physics.md. The clinical efficiency
# gives a line of 700 mm in air (NEMA NU 2-2018, section 4) 13 counts/s per kBq, within what is
# published for whole-body PET/CT.
PRESETS = {
    "demo": Scanner(
        radius_mm=390.0,
        crystals_per_ring=320,
        rings=36,
        ring_pitch_mm=8.0,
        max_ring_difference=35,
        tof_fwhm_ps=280.0,
        tof_bin_ps=140.0,
        efficiency=0.1,
        fov_radius_mm=290.0,
    ),
    "clinical": Scanner(
        radius_mm=390.0,
        crystals_per_ring=592,
        rings=65,
        ring_pitch_mm=4.16,
        max_ring_difference=64,
        tof_fwhm_ps=280.0,
        tof_bin_ps=35.0,
        efficiency=0.45,
        fov_radius_mm=340.0,
    ),
}


def from_choice(choice: ScannerChoice) -> Scanner:
    """The scanner that the configuration names, with its replaced figures."""
    values = dataclasses.asdict(choice)
    preset = PRESETS[values.pop("preset")]
    changed = {key: value for key, value in values.items() if value is not None}

    # all pairs of rings are accepted unless told otherwise
    if "rings" in changed and "max_ring_difference" not in changed:
        changed["max_ring_difference"] = changed["rings"] - 1

    return dataclasses.replace(preset, **changed)


_LENGTH = Number(above=0, high=1e6)
# What `scanner.json` of a cylinder says.
CYLINDER_FILE = Object(
    {
        "kind": Text(choices=(CYLINDER,)),
        "radius_mm": _LENGTH,
        "crystals_per_ring": Number(low=4, high=20_000, whole=True),
        "rings": Number(low=1, high=2000, whole=True),
        "ring_pitch_mm": _LENGTH,
        "max_ring_difference": Number(low=0, high=2000, whole=True),
        "tof_fwhm_ps": _LENGTH,
        "tof_bin_ps": _LENGTH,
        "efficiency": Number(above=0, high=1),
        "fov_radius_mm": _LENGTH,
    }
)


def write_scanner(path: str | Path, scanner: Scanner) -> None:
    """Write `scanner.json`."""
    write_checked_json(path, {"kind": CYLINDER, **dataclasses.asdict(scanner)})


def read_scanner(path: str | Path) -> AnyScanner:
    """Read `scanner.json` of either kind.

    ValueError with the file when a figure is missing or unknown.
    """
    values: dict[str, Any] = read_checked_json(path)

    if values.get("kind") == TABLE:
        from . import tabulated  # compiles kernels, which a cylinder needs none of

        return tabulated.read_tables(Path(path).parent)

    check(values, CYLINDER_FILE, path)
    values.pop("kind")

    try:
        return Scanner(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
