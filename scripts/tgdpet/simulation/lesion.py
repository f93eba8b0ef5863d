"""A spherical lesion added to list mode that exists: its trues on every LOR, drawn from the forward
model.

An LOR that passes at distance h from the centre expects T * a * w * I(h) events: effective time,
attenuation, weight, and the line integral of the sphere, blurred by a Gaussian (positron range,
crystals' width). The place of each event is drawn from the blurred sphere's profile along the LOR,
then blurred by the TOF resolution and binned. LORs are lines between the detectors' centres, so the
blur should be no narrower than half a detector. Scatter of the lesion's photons, its randoms and
dead time are neglected; the attenuation stays that of the patient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numba as nb
import numpy as np
from scipy.special import erf

from ..constants import FWHM_PER_SIGMA
from ..listmode.events import CHUNK, EVENT
from ..recon.projector_cpu import Projector
from ..runtime.seeds import numpy_generator
from ..scanner.cylinder import AnyScanner

REACH_SIGMAS = 4.0  # of the blur, beyond the radius; 3e-4 of a point lie farther from an LOR
N_PROFILES, N_STEPS = 128, 512
BLOCK = 1024  # detectors whose LORs are handled at once
POSITRON_MM = 0.54  # F-18, effective FWHM (Moses 2011)


@dataclass(frozen=True)
class Sphere:
    """Extra activity at scan start: centre and diameter in mm (scanner-centred), Bq/mL, blur (FWHM,
    mm).
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    bqml: float
    psf_fwhm_mm: float

    @property
    def sigma_mm(self) -> float:
        """Standard deviation of the blur, mm."""
        return self.psf_fwhm_mm / FWHM_PER_SIGMA

    @property
    def reach_mm(self) -> float:
        """Distance from the centre beyond which the blurred sphere is taken as 0, mm."""
        return self.diameter_mm / 2 + REACH_SIGMAS * self.sigma_mm

    def profile(self, r_mm: np.ndarray) -> np.ndarray:
        """The sphere of height 1 convolved with the Gaussian, at distances `r_mm` (any shape) from
        its centre.
        """
        radius, s = self.diameter_mm / 2, max(self.sigma_mm, 1e-3)
        r = np.maximum(np.asarray(r_mm, np.float64), 1e-4 * s)
        edge = (
            (
                np.exp(-((r - radius) ** 2) / (2 * s * s))
                - np.exp(-((r + radius) ** 2) / (2 * s * s))
            )
            * s
            / r
        )
        steps = 0.5 * (
            erf((radius + r) / (math.sqrt(2) * s)) + erf((radius - r) / (math.sqrt(2) * s))
        )
        return np.asarray(steps - edge / math.sqrt(2 * math.pi))


def default_psf_mm(scanner: AnyScanner) -> float:
    """FWHM, mm, at the centre of a scanner with these detectors (Moses 2011, Nucl Instrum Meth A
    648:S236).

    1.25 sqrt((d/2)^2 + (0.0044 R)^2 + positron range^2), d the distance of neighbouring detectors,
    R their radius.
    """
    from scipy.spatial import cKDTree

    at = scanner.detector_mm().astype(np.float64)
    spacing = np.median(cKDTree(at).query(at[:2048], k=2)[0][:, 1])
    radius = np.median(np.hypot(at[:, 0], at[:, 1]))
    return float(1.25 * math.sqrt((spacing / 2) ** 2 + (0.0044 * radius) ** 2 + POSITRON_MM**2))


def lors_near(
    scanner: AnyScanner, centre_mm: tuple[float, ...], reach_mm: float
) -> Iterator[np.ndarray]:
    """Every pair of detectors whose LOR passes within `reach_mm` of a point, once each, in blocks:
    (n, 2) int64.

    Pairs that are not in coincidence are among them; `AnyScanner.lor_weights` tells. Detectors are
    sorted by their elevation as seen from the point: the other end of an LOR through it is
    opposite, so that few pairs are tried.
    """
    away = scanner.detector_mm().astype(np.float64) - np.asarray(centre_mm, np.float64)
    distance = np.linalg.norm(away, axis=1)
    if distance.min() <= reach_mm:
        raise ValueError(
            f"lesion: its blurred sphere (radius {reach_mm:.1f} mm) reaches the scanner's detectors"
        )
    direction = away / distance[:, None]
    order = np.argsort(direction[:, 2], kind="stable")
    elevation = direction[order, 2]
    angle = np.arcsin(np.minimum(reach_mm * (1 / distance[order] + 1 / distance.min()), 1.0))
    first = np.searchsorted(elevation, -elevation - angle, "left")
    last = np.searchsorted(elevation, -elevation + angle, "right")
    for start in range(0, len(order), BLOCK):
        arrays = (
            start,
            min(start + BLOCK, len(order)),
            away[order],
            direction[order],
            first,
            last,
            angle,
            reach_mm,
        )
        pairs = np.empty((_pairs(*arrays, np.empty((0, 2), np.int64)), 2), np.int64)
        _pairs(*arrays, pairs)
        yield order[pairs]


@nb.njit(cache=True, nogil=True)
def _pairs(start, stop, away, direction, first, last, angle, reach, out):  # type: ignore[no-untyped-def]
    """Count the pairs of detectors `start`..`stop` with later ones, and write those for which there
    is room.
    """
    n = 0
    for i in range(start, stop):
        least = -math.cos(angle[i])
        for j in range(max(first[i], i + 1), last[i]):
            cosine = 0.0
            for k in range(3):
                cosine += direction[i, k] * direction[j, k]
            if cosine > least:
                continue
            p, q = away[i], away[j]
            cross = (p[1] * q[2] - p[2] * q[1]) ** 2 + (p[2] * q[0] - p[0] * q[2]) ** 2
            cross += (p[0] * q[1] - p[1] * q[0]) ** 2
            length2 = (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2
            if cross <= reach * reach * length2:
                if n < out.shape[0]:
                    out[n, 0], out[n, 1] = i, j
                n += 1
    return n


def expected(
    projector: Projector,
    mu_per_cm: np.ndarray,
    sphere: Sphere,
    effective_s: float,
    pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected trues of LORs (n, 2), their distance from the centre, mm, and where along them they
    are nearest to it, mm from the LOR's middle towards the second detector; each (n,) float64.
    """
    scanner = projector.scanner
    at = scanner.detector_mm().astype(np.float64) - np.asarray(sphere.centre_mm)
    p, q = at[pairs[:, 0]], at[pairs[:, 1]]
    along = (q - p) / np.linalg.norm(q - p, axis=1, keepdims=True)
    middle = (p + q) / 2
    nearest = -(middle * along).sum(axis=1)
    distance = np.linalg.norm(middle + nearest[:, None] * along, axis=1)
    det0, det1 = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    survive = np.exp(
        -projector.forward(np.ascontiguousarray(mu_per_cm / np.float32(10)), det0, det1)
    )
    profiles, step = _profiles(sphere)
    line = np.interp(distance, np.arange(N_PROFILES) * step, profiles[:, -1], right=0.0)
    mean = (
        effective_s * sphere.bqml * 1e-3 * line * survive * scanner.lor_weights(det0, det1)
    )  # 1e-3: mL to mm3
    return np.asarray(mean, np.float64), distance, nearest


def events_of(
    projector: Projector,
    mu_per_cm: np.ndarray,
    sphere: Sphere,
    effective_s: float,
    seed: int,
    step: Callable[[float], None] = lambda share: None,
) -> tuple[np.ndarray, float]:
    """The lesion's events (n,) of `EVENT` in random order, and their expected number before the TOF
    bins' ends.

    Depends on `seed` alone; `step` is told the share of the detectors that each block adds.
    """
    parts: list[np.ndarray] = [np.empty(0, EVENT)]
    total, blocks = 0.0, math.ceil(projector.scanner.n_detectors / BLOCK)
    profiles, width = _profiles(sphere)
    for number, pairs in enumerate(lors_near(projector.scanner, sphere.centre_mm, sphere.reach_mm)):
        mean, distance, nearest = expected(projector, mu_per_cm, sphere, effective_s, pairs)
        total += float(mean.sum())
        rng = numpy_generator(seed, "lesion", number)
        which = np.repeat(np.arange(len(pairs)), rng.poisson(mean))
        reach = np.sqrt(np.maximum(sphere.reach_mm**2 - distance[which] ** 2, 0.0))
        place = (
            nearest[which]
            + _draw(profiles, distance[which] / width, rng.random((3, len(which)))) * reach
        )
        parts.append(_binned(projector.scanner, pairs[which], place, rng))
        step(1 / blocks)
    out: np.ndarray = np.concatenate(parts)
    return numpy_generator(seed, "lesion order").permutation(out), total


def _profiles(sphere: Sphere) -> tuple[np.ndarray, float]:
    """Integrals along lines at distances 0, step, ..., (N_PROFILES, N_STEPS), mm, and that step,
    mm.

    Column k holds the integral up to a share k / (N_STEPS - 1) of the half-chord through the reach;
    the last one that over the whole line.
    """
    h = np.linspace(0, sphere.reach_mm, N_PROFILES)[:, None]
    half = np.sqrt(np.maximum(sphere.reach_mm**2 - h**2, 0.0))
    value = sphere.profile(np.sqrt(h**2 + (half * np.linspace(0, 1, N_STEPS)) ** 2))
    steps = (value[:, 1:] + value[:, :-1]) * half / (N_STEPS - 1)  # both sides of the nearest point
    return np.concatenate([np.zeros_like(h), np.cumsum(steps, axis=1)], axis=1), float(h[1, 0])


def _draw(profiles: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Signed shares of the half-chord (n,), drawn from the profile at (fractional) `row`; `uniform`
    (3, n).
    """
    lower = np.minimum(row.astype(np.int64), N_PROFILES - 2)
    chosen = lower + (uniform[0] < row - lower)  # one of the two rows around it, in proportion
    chosen = np.where(profiles[chosen, -1] > 0, chosen, lower)
    return np.asarray(_invert(profiles, chosen, uniform[1]) * np.where(uniform[2] < 0.5, -1.0, 1.0))


@nb.njit(cache=True, nogil=True)
def _invert(profiles, row, uniform):  # type: ignore[no-untyped-def]
    out = np.empty(row.size)
    for e in range(row.size):
        line = profiles[row[e]]
        target = uniform[e] * line[-1]
        k = min(max(np.searchsorted(line, target), 1), line.size - 1)
        rise = line[k] - line[k - 1]
        out[e] = (k - 1 + ((target - line[k - 1]) / rise if rise > 0 else 0.0)) / (line.size - 1)
    return out


def _binned(
    scanner: AnyScanner, pairs: np.ndarray, place_mm: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Events of LORs (n, 2) and places along them; those beyond the last TOF bins are lost, as in a
    scan.
    """
    out = np.empty(len(pairs), EVENT)
    swap = rng.random(len(pairs)) < 0.5
    tof = np.zeros(len(pairs), np.int64)
    seen = np.ones(len(pairs), bool)
    if scanner.tof_sigma_mm > 0:
        half = scanner.tof_half_bins
        even = (
            scanner.tof_step_mm < 0.75 * scanner.tof_bin_mm
        )  # bins on both sides of the middle, none on it
        n = half + 1 if even else 2 * half + 1
        bins = np.floor(
            (place_mm + rng.normal(0, scanner.tof_sigma_mm, len(pairs))) / scanner.tof_bin_mm
            + n / 2
        )
        seen = (bins >= 0) & (bins < n)
        tof = (2 * bins - (n - 1) if even else bins - half).astype(np.int64)
    out["det0"], out["det1"] = (
        np.where(swap, pairs[:, 1], pairs[:, 0]),
        np.where(swap, pairs[:, 0], pairs[:, 1]),
    )
    out["tof"] = np.where(swap, -tof, tof)
    return out[seen]


def merged(
    events: np.ndarray, new: np.ndarray, seed: int, size: int = CHUNK
) -> Iterator[np.ndarray]:
    """`events` (memory-mapped) with `new` ones at random places among them, in parts; both keep
    their order.

    Places depend on `seed` alone.
    """
    total = len(events) + len(new)
    gaps = np.sort(numpy_generator(seed, "places").integers(0, len(events) + 1, len(new)))
    places = gaps + np.arange(len(new))
    for start in range(0, total, size):
        first, last = np.searchsorted(places, (start, start + size))
        part = np.empty(min(size, total - start), EVENT)
        is_new = np.zeros(len(part), bool)
        is_new[places[first:last] - start] = True
        part[is_new] = new[first:last]
        part[~is_new] = events[start - first : start - first + np.count_nonzero(~is_new)]
        yield part
