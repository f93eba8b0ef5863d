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
        bins = element + module * self.across * self.along

        return np.asarray(bins.astype(np.uint32))


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
    across_all = _divisors(scanner.crystals_per_ring)[:-1]
    cuts = itertools.product(across_all, _divisors(scanner.rings))
    across, along = min(cuts, key=unlikeness)

    return Tiling(scanner, across, along)


def _divisors(n: int) -> list[int]:
    """From 1 up to n itself."""
    return [d for d in range(1, n + 1) if n % d == 0]


def scanner_information(tiling: Tiling, name: str) -> Any:
    """The `petsird.ScannerInformation` of a cylinder; its LOR weights are the detection
    efficiencies, in mm^2.
    """
    wheel = package()
    scanner = tiling.scanner
    geometry = wheel.ScannerGeometry(replicated_modules=[_modules(tiling)])
    window = wheel.BinEdges(edges=np.array(WINDOW_KEV, np.float32))

    half = scanner.tof_half_bins
    numbers = np.arange(2 * half + 2) - half - 0.5
    edges_mm = numbers * scanner.tof_bin_mm
    tof_bins = wheel.BinEdges(edges=edges_mm.astype(np.float32))

    return wheel.ScannerInformation(
        model_name=name,
        scanner_geometry=geometry,
        collimator_type="NONE",
        tof_bin_edges=[[tof_bins]],
        tof_resolution=[[scanner.tof_fwhm_ps * MM_PER_PS]],
        event_energy_bin_edges=[window],
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
    module_angle = tiling.across * crystal_angle
    module_mm = tiling.along * scanner.ring_pitch_mm

    # elements about the module's middle
    in_module = []
    for across in range(tiling.across):
        for along in range(tiling.along):
            angle = _from_middle(across, tiling.across) * crystal_angle
            z_mm = _from_middle(along, tiling.along) * scanner.ring_pitch_mm
            in_module.append(_turn(angle, z_mm))

    # modules in the scanner
    in_scanner = []
    for around in range(tiling.around):
        for row in range(tiling.rows):
            angle = (around + 0.5) * module_angle
            z_mm = _from_middle(row, tiling.rows) * module_mm
            in_scanner.append(_turn(angle, z_mm))

    box = wheel.BoxSolidVolume(shape=wheel.BoxShape(corners=_corners(scanner)))
    elements = wheel.ReplicatedBoxSolidVolume(object=box, transforms=in_module)
    module = wheel.DetectorModule(detecting_elements=elements)
    return wheel.ReplicatedDetectorModule(object=module, transforms=in_scanner)


def _from_middle(index: int, count: int) -> float:
    return index - (count - 1) / 2


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
    matrix = [
        [c, -s, 0, 0],
        [s, c, 0, 0],
        [0, 0, 1, z_mm],
    ]

    return package().RigidTransformation(matrix=np.array(matrix, np.float32))


def _efficiencies(tiling: Tiling) -> Any:
    """Weights of crystal pairs for every difference of two modules around the ring and along the
    axis.
    """
    wheel = package()
    scanner = tiling.scanner
    n_modules = tiling.modules

    pairs = np.tril_indices(n_modules)
    differences = _differences(tiling)[pairs]
    _, first_of_kind, kind = np.unique(differences, return_index=True, return_inverse=True)

    # our detectors in each module, in PETSIRD's order
    ours = np.empty(scanner.n_detectors, np.int64)
    ours[tiling.ids()] = np.arange(scanner.n_detectors)
    detectors = ours.reshape(n_modules, -1)
    size = detectors.shape[1]

    groups: list[Any] = []
    group_of_kind = np.full(len(first_of_kind), -1)
    for k, pair in enumerate(first_of_kind):
        module0, module1 = (modules[pair] for modules in pairs)
        det0 = np.repeat(detectors[module0], size)
        det1 = np.tile(detectors[module1], size)
        values = scanner.lor_weights(det0, det1)
        if values.any():
            rows = list(values.reshape(size, size))
            sgid = len(groups)
            group_of_kind[k] = sgid
            groups.append(wheel.ModulePairEfficiencies(values=rows, sgid=sgid))

    lut = np.full((n_modules, n_modules), -1)
    lut[pairs] = group_of_kind[kind]
    lower_triangle = [row[: i + 1] for i, row in enumerate(lut)]

    return wheel.DetectionEfficiencies(
        method_description=(
            "tgdpet: geometric weight of each LOR in mm^2, crystal efficiency included"
        ),
        calibration_factor=1.0,
        # all in the pairs' weights; readers of the standard expect one for each bin, even so
        detection_bin_efficiencies=[np.ones(scanner.n_detectors, np.float32)],
        module_pair_sgidlut=[[lower_triangle]],
        module_pair_efficiencies_vectors=[[groups]],
    )


def _differences(tiling: Tiling) -> np.ndarray:
    """A number for each difference of the first module from the second, (modules, modules)."""
    modules = np.arange(tiling.modules)
    around, row = np.divmod(modules, tiling.rows)
    turn = np.subtract.outer(around, around) % tiling.around
    rise = np.subtract.outer(row, row)

    n_rises = 2 * tiling.rows - 1
    return np.asarray(turn * n_rises + rise + tiling.rows - 1)
