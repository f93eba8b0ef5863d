"""Small scanners and objects for the physics tests, and an independent projector to check by."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.special import erf

from tgdpet.config.sections import Grid, Simulation
from tgdpet.listmode.events import EVENT
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation.monte_carlo import Scan

# 46 crystals: no LOR runs at exactly 45 degrees, where Joseph's method has two right answers
SMALL = Scanner(
    radius_mm=120.0,
    crystals_per_ring=46,
    rings=6,
    ring_pitch_mm=8.0,
    max_ring_difference=4,
    tof_fwhm_ps=280.0,
    tof_bin_ps=140.0,
    efficiency=0.5,
    fov_radius_mm=80.0,
)
SMALL_GRID = Grid([24, 22, 10], [6.0, 7.0, 5.0])
# long and narrow, so that LORs along all three axes cross the grid
LONG = Scanner(
    radius_mm=60.0,
    crystals_per_ring=46,
    rings=40,
    ring_pitch_mm=10.0,
    max_ring_difference=39,
    tof_fwhm_ps=280.0,
    tof_bin_ps=140.0,
    efficiency=0.5,
    fov_radius_mm=55.0,
)
LONG_GRID = Grid([12, 14, 20], [6.0, 5.0, 9.0])

Axes = tuple[np.ndarray, np.ndarray, np.ndarray]


def axes_mm(grid: Grid) -> Axes:
    """Voxel centres along x, y, z, mm, broadcastable to the grid."""
    axes = []
    for n, voxel_mm in zip(grid.shape, grid.voxel_mm, strict=True):
        axes.append((np.arange(n) - (n - 1) / 2) * voxel_mm)

    x, y, z = axes
    return x[:, None, None], y[None, :, None], z[None, None, :]


def cylinder(grid: Grid, radius_mm: float) -> np.ndarray:
    """Share of each voxel inside a cylinder along z, (X, Y, Z)."""
    return painted(grid, (0.0, 0.0, 0.0), (radius_mm, radius_mm, math.inf))


def painted(
    grid: Grid, centre_mm: tuple[float, ...], axes: tuple[float, ...], n: int = 4
) -> np.ndarray:
    """Share of each voxel inside an ellipsoid, from `n`^3 points a voxel, (X, Y, Z)."""
    fine = Grid([m * n for m in grid.shape], [v / n for v in grid.voxel_mm])
    x, y, z = axes_mm(fine)

    # (x / a)^2 + (y / b)^2 + (z / c)^2 of the ellipsoid's half axes
    radius2 = ((x - centre_mm[0]) / axes[0]) ** 2
    radius2 = radius2 + ((y - centre_mm[1]) / axes[1]) ** 2
    radius2 = radius2 + ((z - centre_mm[2]) / axes[2]) ** 2
    inside = np.broadcast_to(radius2 <= 1, fine.shape)

    nx, ny, nz = grid.shape
    blocks = inside.reshape(nx, n, ny, n, nz, n)
    return blocks.mean(axis=(1, 3, 5)).astype(np.float32)


def scan_of(
    concentration_bqml: np.ndarray,
    mu_per_cm: np.ndarray,
    grid: Grid,
    scanner: Scanner,
    settings: Simulation,
) -> Scan:
    """A scan with source and attenuation on one grid."""
    x, y, z = grid.voxel_mm
    activity_bq = (concentration_bqml * x * y * z * 1e-3).astype(np.float32)
    mu_per_mm = (mu_per_cm / 10).astype(np.float32)

    return Scan(activity_bq, (x, y, z), mu_per_mm, (x, y, z), scanner, settings)


def all_lors(scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Every LOR of a small scanner, one by one: crystals in view, rings close enough."""
    n = scanner.crystals_per_ring
    rings = range(scanner.rings)

    # of a chord over `gap` crystals from the axis
    gap = np.arange(n)
    distance_mm = scanner.radius_mm * np.cos(np.pi * gap / n)

    lors = []
    for first in range(n):
        for second in range(first + 1, n):
            if abs(distance_mm[second - first]) > scanner.fov_radius_mm + 1e-9:
                continue

            for ring0, ring1 in itertools.product(rings, rings):
                if abs(ring0 - ring1) <= scanner.max_ring_difference:
                    lors.append((ring0 * n + first, ring1 * n + second))

    det0, det1 = np.array(lors).T
    return det0, det1


def some_lors(scanner: Scanner, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random accepted LORs, (n,) detector ids each."""
    rng = np.random.default_rng(0)
    det0, det1 = rng.integers(0, scanner.n_detectors, (2, 20 * n + 1000))
    accepted = np.flatnonzero(scanner.lor_weights(det0, det1))[:n]

    return det0[accepted], det1[accepted]


def any_lors(
    scanner: Scanner, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detector pairs and TOF bins of all kinds, out of view and along the axis included."""
    det0 = rng.integers(0, scanner.n_detectors, n)
    det1 = (det0 + rng.integers(1, scanner.n_detectors, n)) % scanner.n_detectors
    tof = rng.integers(-4, 5, n).astype(np.int32)

    return det0, det1, tof


def events_of(det0: np.ndarray, det1: np.ndarray, tof: np.ndarray) -> np.ndarray:
    events = np.empty(len(det0), EVENT)
    events["det0"] = det0
    events["det1"] = det1
    events["tof"] = tof

    return events


def positions_mm(scanner: Scanner, det: np.ndarray) -> np.ndarray:
    """Crystal centres (n, 3) from their numbers.

    Crystal 0 begins at the x axis; the others follow towards y.
    """
    ring, crystal = np.divmod(det, scanner.crystals_per_ring)
    angle = 2 * np.pi * (crystal + 0.5) / scanner.crystals_per_ring

    x = scanner.radius_mm * np.cos(angle)
    y = scanner.radius_mm * np.sin(angle)
    z = (ring - (scanner.rings - 1) / 2) * scanner.ring_pitch_mm

    return np.stack([x, y, z], axis=1)


def events_mm(scanner: Scanner, events: np.ndarray) -> np.ndarray:
    """Centres of events' TOF bins, (n, 3) mm: from the LOR's middle towards detector 1."""
    p = positions_mm(scanner, events["det0"])
    q = positions_mm(scanner, events["det1"])
    along = (q - p) / np.linalg.norm(q - p, axis=1, keepdims=True)
    distance_mm = events["tof"] * scanner.tof_bin_mm

    return (p + q) / 2 + along * distance_mm[:, None]


def joseph(
    image: np.ndarray, grid: Grid, scanner: Scanner, lor: tuple[int, int], tof: int | None = None
) -> float:
    """Joseph's line integral of one LOR, slow and plain: interpolate on each plane it crosses."""
    p, q = positions_mm(scanner, np.array(lor))
    step = q - p
    length = float(np.linalg.norm(step))
    middle = (p + q) / 2

    main = int(np.argmax(np.abs(step)))
    across = [axis for axis in range(3) if axis != main]
    planes = axes_mm(grid)[main].ravel()
    plane_mm = grid.voxel_mm[main] * length / abs(step[main])

    total = 0.0
    for k, plane in enumerate(planes):
        point = p + step * (plane - p[main]) / step[main]
        u, v = (_in_voxels(point[axis], grid, axis) for axis in across)
        value = _bilinear(np.take(image, k, axis=main), u, v)

        weight = plane_mm
        if tof is not None:
            along_mm = float(np.dot(point - middle, step) / length)
            weight *= tof_weight(along_mm - tof * scanner.tof_bin_mm, scanner)

        total += weight * value

    return total


def _in_voxels(position_mm: float, grid: Grid, axis: int) -> float:
    return position_mm / grid.voxel_mm[axis] + (grid.shape[axis] - 1) / 2


def _bilinear(plane: np.ndarray, u: float, v: float) -> float:
    total = 0.0

    for i in (math.floor(u), math.floor(u) + 1):
        for j in (math.floor(v), math.floor(v) + 1):
            if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
                total += (1 - abs(u - i)) * (1 - abs(v - j)) * float(plane[i, j])

    return total


def tof_weight(distance_mm: float | np.ndarray, scanner: Scanner) -> np.ndarray:
    """A TOF bin's share of emissions at a distance from its centre, cut 3 sigma past its edges."""
    half = scanner.tof_bin_mm / 2
    scale = math.sqrt(2) * scanner.tof_sigma_mm
    d = np.asarray(distance_mm, float)
    share = 0.5 * (erf((d + half) / scale) - erf((d - half) / scale))

    return np.where(np.abs(d) <= half + 3 * scanner.tof_sigma_mm, share, 0.0)
