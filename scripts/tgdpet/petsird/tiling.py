"""A cylindrical scanner in PETSIRD's terms: modules that tile the rings, and their efficiencies by
symmetry.

A module is `across` x `along` crystals (around the ring, along the axis); modules are numbered
axial position first. PETSIRD's detection bin = along index + along * (across index + across *
module), one energy window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import MM_PER_PS
from ..scanner.cylinder import Scanner
from .stream import package

CRYSTALS = 32  # a module should have about so many
DEPTH_MM = 20.0  # assumed: the scanner's figures hold no crystal length
WINDOW_KEV = (430.0, 650.0)  # assumed
RESOLUTION_511 = 0.11  # assumed


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

    def ids(self) -> np.ndarray:
        """PETSIRD's detection bin of each of our detectors, (n_detectors,) uint32."""
        ring, crystal = np.divmod(
            np.arange(self.scanner.n_detectors), self.scanner.crystals_per_ring
        )
        module = crystal // self.across * self.rows + ring // self.along
        element = crystal % self.across * self.along + ring % self.along
        return np.asarray((element + module * self.across * self.along).astype(np.uint32))


def tile(scanner: Scanner) -> Tiling:
    """The cut into modules of whole crystals that comes nearest to 32 crystals, and then to a
    square.
    """
    around, rings = _divisors(scanner.crystals_per_ring), _divisors(scanner.rings)
    pairs = [(a, b) for a in around if a < scanner.crystals_per_ring for b in rings]
    across, along = min(
        pairs,
        key=lambda p: abs(math.log(p[0] * p[1] / CRYSTALS)) + 0.1 * abs(math.log(p[0] / p[1])),
    )
    return Tiling(scanner, across, along)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def scanner_information(tiling: Tiling, name: str) -> Any:
    """The `petsird.ScannerInformation` of a cylinder; its LOR weights are the detection
    efficiencies, in mm^2.
    """
    wheel = package()
    sc = tiling.scanner
    edges = (np.arange(2 * sc.tof_half_bins + 2) - sc.tof_half_bins - 0.5) * sc.tof_bin_mm
    return wheel.ScannerInformation(
        model_name=name,
        scanner_geometry=wheel.ScannerGeometry(replicated_modules=[_modules(tiling)]),
        collimator_type="NONE",
        tof_bin_edges=[[wheel.BinEdges(edges=edges.astype(np.float32))]],
        tof_resolution=[[sc.tof_fwhm_ps * MM_PER_PS]],
        event_energy_bin_edges=[wheel.BinEdges(edges=np.array(WINDOW_KEV, np.float32))],
        energy_resolution_at_511=[RESOLUTION_511],
        prompt_event_policy=wheel.CoincidencePolicy.REJECT_HIGHER_MULTIPLES,
        detection_efficiencies=_efficiencies(tiling),
    )


def _modules(tiling: Tiling) -> Any:
    """Crystals as boxes centred on our detectors' positions (the front), turned about the axis and
    shifted along it.
    """
    wheel, sc = package(), tiling.scanner
    half = (
        np.array([DEPTH_MM, 2 * math.pi * sc.radius_mm / sc.crystals_per_ring, sc.ring_pitch_mm])
        / 2
    )
    signs = [
        (-1, -1, -1),
        (-1, -1, 1),
        (-1, 1, 1),
        (-1, 1, -1),
        (1, -1, -1),
        (1, -1, 1),
        (1, 1, 1),
        (1, 1, -1),
    ]
    corners = [
        wheel.Coordinate(c=(np.array([sc.radius_mm, 0, 0]) + half * s).astype(np.float32))
        for s in signs
    ]
    step = 2 * math.pi / sc.crystals_per_ring
    places = [
        _turn((i - (tiling.across - 1) / 2) * step, (j - (tiling.along - 1) / 2) * sc.ring_pitch_mm)
        for i in range(tiling.across)
        for j in range(tiling.along)
    ]
    elements = wheel.ReplicatedBoxSolidVolume(
        object=wheel.BoxSolidVolume(shape=wheel.BoxShape(corners=corners)), transforms=places
    )
    at = [
        _turn(
            (a + 0.5) * tiling.across * step,
            (z - (tiling.rows - 1) / 2) * tiling.along * sc.ring_pitch_mm,
        )
        for a in range(tiling.around)
        for z in range(tiling.rows)
    ]
    return wheel.ReplicatedDetectorModule(
        object=wheel.DetectorModule(detecting_elements=elements), transforms=at
    )


def _turn(angle: float, z_mm: float) -> Any:
    c, s = math.cos(angle), math.sin(angle)
    return package().RigidTransformation(
        matrix=np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, z_mm]], np.float32)
    )


def _efficiencies(tiling: Tiling) -> Any:
    """Weights of crystal pairs for every difference of two modules around the ring and along the
    axis.
    """
    wheel, sc = package(), tiling.scanner
    n = tiling.around * tiling.rows
    a, z = np.divmod(np.arange(n), tiling.rows)
    turn, rise = (
        np.subtract.outer(a, a),
        np.subtract.outer(z, z),
    )  # of the first module from the second
    kind = turn % tiling.around * (2 * tiling.rows - 1) + rise + tiling.rows - 1
    lower = np.tril_indices(n)
    _, firsts, which = np.unique(kind[lower], return_index=True, return_inverse=True)
    ours = np.empty(sc.n_detectors, np.int64)
    ours[tiling.ids()] = np.arange(sc.n_detectors)
    bins = ours.reshape(n, -1)
    size = bins.shape[1]
    groups: list[Any] = []
    numbers = np.full(len(firsts), -1)
    for k, first in enumerate(firsts):
        pair = bins[lower[0][first]], bins[lower[1][first]]
        values = sc.lor_weights(np.repeat(pair[0], size), np.tile(pair[1], size))
        if values.any():
            numbers[k] = len(groups)
            groups.append(
                wheel.ModulePairEfficiencies(
                    values=list(values.reshape(size, size)), sgid=len(groups)
                )
            )
    lut = np.full((n, n), -1)
    lut[lower] = numbers[which]
    return wheel.DetectionEfficiencies(
        method_description="tgdpet: geometric weight of each LOR in mm^2, crystal efficiency included",
        calibration_factor=1.0,
        module_pair_sgidlut=[[[row[: i + 1] for i, row in enumerate(lut)]]],
        module_pair_efficiencies_vectors=[[groups]],
    )
