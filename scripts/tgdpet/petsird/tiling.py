"""A cylindrical scanner in PETSIRD's terms: modules that tile the rings, and their efficiencies by
symmetry.

A module is `across` x `along` crystals (around the ring, along the axis); modules are numbered
axial position first. PETSIRD's detection bin = along index + along * (across index + across *
module), one energy window.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import MM_PER_PS
from ..scanner.cylinder import Scanner
from .stream import package

MODULE_CRYSTALS = 32  # a module should have about so many
DEPTH_MM = 20.0  # assumed: the scanner's figures hold no crystal length
WINDOW_KEV = (430.0, 650.0)  # assumed
RESOLUTION_511 = 0.11  # assumed

# corners of a box in PETSIRD's order
CORNER_SIGNS = (
    (-1, -1, -1),
    (-1, -1, 1),
    (-1, 1, 1),
    (-1, 1, -1),
    (1, -1, -1),
    (1, -1, 1),
    (1, 1, 1),
    (1, 1, -1),
)


@dataclass(frozen=True)
class Tiling:
    """How a scanner's crystals are cut into modules."""

    scanner: Scanner
    across: int
    along: int

    @property
    def around(self) -> int:
        """Modules around the ring."""
        return self.scanner.crystals_per_ring // self.across

    @property
    def rows(self) -> int:
        """Modules along the axis."""
        return self.scanner.rings // self.along

    @property
    def modules(self) -> int:
        """Number of modules."""
        return self.around * self.rows

    def ids(self) -> np.ndarray:
        """PETSIRD's detection bin of each of our detectors, (n_detectors,) uint32."""
        detectors = np.arange(self.scanner.n_detectors)
        ring, crystal = np.divmod(detectors, self.scanner.crystals_per_ring)

        module = crystal // self.across * self.rows + ring // self.along
        element = crystal % self.across * self.along + ring % self.along

        return np.asarray((element + module * self.across * self.along).astype(np.uint32))


def tile(scanner: Scanner) -> Tiling:
    """The cut into modules of whole crystals that comes nearest to 32 crystals, and then to a
    square.
    """

    def unlikeness(cut: tuple[int, int]) -> float:
        across, along = cut
        size = abs(math.log(across * along / MODULE_CRYSTALS))
        shape = abs(math.log(across / along))
        return size + 0.1 * shape

    # at least two modules around the ring
    around = [n for n in _divisors(scanner.crystals_per_ring) if n < scanner.crystals_per_ring]
    cuts = itertools.product(around, _divisors(scanner.rings))
    across, along = min(cuts, key=unlikeness)

    return Tiling(scanner, across, along)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def scanner_information(tiling: Tiling, name: str) -> Any:
    """The `petsird.ScannerInformation` of a cylinder; its LOR weights are the detection
    efficiencies, in mm^2.
    """
    wheel = package()
    scanner = tiling.scanner
    n_bins = 2 * scanner.tof_half_bins + 1
    numbers = np.arange(n_bins + 1) - scanner.tof_half_bins - 0.5
    edges_mm = numbers * scanner.tof_bin_mm

    return wheel.ScannerInformation(
        model_name=name,
        scanner_geometry=wheel.ScannerGeometry(replicated_modules=[_modules(tiling)]),
        collimator_type="NONE",
        tof_bin_edges=[[wheel.BinEdges(edges=edges_mm.astype(np.float32))]],
        tof_resolution=[[scanner.tof_fwhm_ps * MM_PER_PS]],
        event_energy_bin_edges=[wheel.BinEdges(edges=np.array(WINDOW_KEV, np.float32))],
        energy_resolution_at_511=[RESOLUTION_511],
        prompt_event_policy=wheel.CoincidencePolicy.REJECT_HIGHER_MULTIPLES,
        detection_efficiencies=_efficiencies(tiling),
    )


def _modules(tiling: Tiling) -> Any:
    """Crystals as boxes centred on our detectors' positions (the front), turned about the axis and
    shifted along it.
    """
    wheel = package()
    scanner = tiling.scanner
    crystal_angle = 2 * math.pi / scanner.crystals_per_ring

    # elements of a module about its middle
    in_module = []
    for i in range(tiling.across):
        for j in range(tiling.along):
            angle = (i - (tiling.across - 1) / 2) * crystal_angle
            z_mm = (j - (tiling.along - 1) / 2) * scanner.ring_pitch_mm
            in_module.append(_turn(angle, z_mm))

    elements = wheel.ReplicatedBoxSolidVolume(
        object=wheel.BoxSolidVolume(shape=wheel.BoxShape(corners=_corners(scanner))),
        transforms=in_module,
    )

    # modules in the scanner
    in_scanner = []
    for a in range(tiling.around):
        for row in range(tiling.rows):
            angle = (a + 0.5) * tiling.across * crystal_angle
            z_mm = (row - (tiling.rows - 1) / 2) * tiling.along * scanner.ring_pitch_mm
            in_scanner.append(_turn(angle, z_mm))

    return wheel.ReplicatedDetectorModule(
        object=wheel.DetectorModule(detecting_elements=elements), transforms=in_scanner
    )


def _corners(scanner: Scanner) -> list[Any]:
    """The corners of a crystal on the x axis."""
    wheel = package()
    width_mm = 2 * math.pi * scanner.radius_mm / scanner.crystals_per_ring
    half = np.array([DEPTH_MM, width_mm, scanner.ring_pitch_mm]) / 2
    centre = np.array([scanner.radius_mm, 0, 0])

    corners = [centre + half * signs for signs in CORNER_SIGNS]
    return [wheel.Coordinate(c=corner.astype(np.float32)) for corner in corners]


def _turn(angle: float, z_mm: float) -> Any:
    """A turn about the axis and a shift along it."""
    c = math.cos(angle)
    s = math.sin(angle)
    matrix = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, z_mm]], np.float32)

    return package().RigidTransformation(matrix=matrix)


def _efficiencies(tiling: Tiling) -> Any:
    """Weights of crystal pairs for every difference of two modules around the ring and along the
    axis.
    """
    wheel = package()
    pairs = np.tril_indices(tiling.modules)
    _, first_of_kind, kind = np.unique(
        _differences(tiling)[pairs], return_index=True, return_inverse=True
    )

    # our detectors in each module, in PETSIRD's order
    ours = np.empty(tiling.scanner.n_detectors, np.int64)
    ours[tiling.ids()] = np.arange(tiling.scanner.n_detectors)
    detectors = ours.reshape(tiling.modules, -1)
    size = detectors.shape[1]

    groups: list[Any] = []
    group_of_kind = np.full(len(first_of_kind), -1)
    for k, pair in enumerate(first_of_kind):
        first = np.repeat(detectors[pairs[0][pair]], size)
        second = np.tile(detectors[pairs[1][pair]], size)
        values = tiling.scanner.lor_weights(first, second).reshape(size, size)
        if values.any():
            sgid = len(groups)
            group_of_kind[k] = sgid
            groups.append(wheel.ModulePairEfficiencies(values=list(values), sgid=sgid))

    lut = np.full((tiling.modules, tiling.modules), -1)
    lut[pairs] = group_of_kind[kind]
    lower_triangle = [row[: i + 1] for i, row in enumerate(lut)]

    return wheel.DetectionEfficiencies(
        method_description=(
            "tgdpet: geometric weight of each LOR in mm^2, crystal efficiency included"
        ),
        calibration_factor=1.0,
        module_pair_sgidlut=[[lower_triangle]],
        module_pair_efficiencies_vectors=[[groups]],
    )


def _differences(tiling: Tiling) -> np.ndarray:
    """A number for each difference of the first module from the second, (modules, modules)."""
    around, row = np.divmod(np.arange(tiling.modules), tiling.rows)
    turn = np.subtract.outer(around, around) % tiling.around
    rise = np.subtract.outer(row, row)

    return np.asarray(turn * (2 * tiling.rows - 1) + rise + tiling.rows - 1)
