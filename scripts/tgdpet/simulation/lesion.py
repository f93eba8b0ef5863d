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

import numpy as np
from scipy.special import erf

from ..constants import FWHM_PER_SIGMA
from ..listmode.events import CHUNK, EVENT
from ..nuclides import NUCLIDES
from ..recon.projector_cpu import Projector
from ..runtime.compiled import njit
from ..runtime.seeds import numpy_generator
from ..scanner.cylinder import AnyScanner
from .lors import DETECTORS_AT_ONCE, lors_near

REACH_SIGMAS = 4.0  # of the blur, beyond the radius; 3e-4 of a point lie farther from an LOR
N_PROFILES = 128  # distances of a line from the centre, and
N_STEPS = 512  # points along its half, for which the profile is tabulated


@dataclass(frozen=True)
class Sphere:
    """Extra activity at scan start; the centre is scanner-centred, the blur an FWHM."""

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
        radius = self.diameter_mm / 2
        sigma = max(self.sigma_mm, 1e-3)
        r = np.asarray(r_mm, np.float64)
        r = np.maximum(r, 1e-4 * sigma)

        # (erf(b / sqrt2 s) + erf(a / sqrt2 s)) / 2 - s (exp(-a^2 / 2s^2) - exp(-b^2 / 2s^2)) /
        # (sqrt(2 pi) r), with a = R - r, b = R + r
        beyond = radius + r
        before = radius - r
        width = math.sqrt(2) * sigma
        inside = 0.5 * (erf(beyond / width) + erf(before / width))

        two_variances = 2 * sigma * sigma
        near_edge = np.exp(-(before**2) / two_variances)
        far_edge = np.exp(-(beyond**2) / two_variances)
        edges = (near_edge - far_edge) * sigma / r

        return np.asarray(inside - edges / math.sqrt(2 * math.pi))


def default_psf_mm(scanner: AnyScanner, nuclide: str = "F18") -> float:
    """FWHM, mm, at the centre of a scanner with these detectors (Moses 2011, Nucl Instrum Meth A
    648:S236).

    1.25 sqrt((d/2)^2 + (0.0044 R)^2 + positron range^2), d the distance of neighbouring detectors,
    R their radius. Raises ValueError for a nuclide whose positron range is not known.
    """
    known = NUCLIDES.get(nuclide)
    if known is None or known.positron_mm is None:
        raise ValueError(
            f"--psf-fwhm-mm: the positron range of nuclide {nuclide} is not known; give the blur"
        )

    from scipy.spatial import cKDTree

    at = scanner.detector_mm().astype(np.float64)
    x, y, _ = at.T
    radius_mm = np.median(np.hypot(x, y))

    # the nearest detector is each one itself
    distances, _ = cKDTree(at).query(at[:2048], k=2)
    spacing_mm = np.median(distances[:, 1])

    crystal_mm = spacing_mm / 2
    acollinearity_mm = 0.0044 * radius_mm
    squares = crystal_mm**2 + acollinearity_mm**2 + known.positron_mm**2
    return float(1.25 * math.sqrt(squares))


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
    det0 = np.ascontiguousarray(pairs[:, 0])
    det1 = np.ascontiguousarray(pairs[:, 1])

    # from the lesion's centre
    detectors = scanner.detector_mm().astype(np.float64)
    from_centre = detectors - np.asarray(sphere.centre_mm)
    p = from_centre[det0]
    q = from_centre[det1]

    # the point of each LOR nearest to it
    along = q - p
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    middle = (p + q) / 2
    nearest = -(middle * along).sum(axis=1)
    closest_point = middle + nearest[:, None] * along
    distance = np.linalg.norm(closest_point, axis=1)

    mu_per_mm = np.ascontiguousarray(mu_per_cm / np.float32(10))
    survive = np.exp(-projector.forward(mu_per_mm, det0, det1))

    profiles, step_mm = _profiles(sphere)
    tabulated_mm = np.arange(N_PROFILES) * step_mm
    line_mm = np.interp(distance, tabulated_mm, profiles[:, -1], right=0.0)

    # T * a * w * I(h); 1e-3: mL to mm3
    weights = scanner.lor_weights(det0, det1)
    mean = effective_s * sphere.bqml * 1e-3 * line_mm * survive * weights

    return np.asarray(mean, np.float64), distance, nearest


def events_of(
    projector: Projector,
    mu_per_cm: np.ndarray,
    sphere: Sphere,
    effective_s: float,
    seed: int,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[np.ndarray, float]:
    """The lesion's events (n,) of `EVENT` in random order, and their expected number before the TOF
    bins' ends.

    Depends on `seed` alone; `on_progress` gets the share of the detectors that each block adds.
    """
    scanner = projector.scanner
    n_blocks = math.ceil(scanner.n_detectors / DETECTORS_AT_ONCE)
    profiles, step_mm = _profiles(sphere)

    parts: list[np.ndarray] = [np.empty(0, EVENT)]
    total = 0.0
    blocks = lors_near(scanner, sphere.centre_mm, sphere.reach_mm)
    for block, pairs in enumerate(blocks):
        mean, distance, nearest = expected(projector, mu_per_cm, sphere, effective_s, pairs)
        total += float(mean.sum())

        rng = numpy_generator(seed, "lesion", block)
        counts = rng.poisson(mean)
        lor = np.repeat(np.arange(len(pairs)), counts)

        # where along its LOR each event is emitted
        h = distance[lor]
        half_chord = _half_chord(sphere, h)
        uniform = rng.random((3, len(lor)))
        share = _draw_shares(profiles, h / step_mm, uniform)
        emitted = nearest[lor] + share * half_chord

        part = _binned(scanner, pairs[lor], emitted, rng)
        parts.append(part)
        on_progress(1 / n_blocks)

    events: np.ndarray = np.concatenate(parts)
    return numpy_generator(seed, "lesion order").permutation(events), total


def _profiles(sphere: Sphere) -> tuple[np.ndarray, float]:
    """Integrals along lines at distances 0, step, ..., (N_PROFILES, N_STEPS), mm, and that step,
    mm.

    Column k holds the integral up to a share k / (N_STEPS - 1) of the half-chord through the reach;
    the last one that over the whole line.
    """
    distance = np.linspace(0, sphere.reach_mm, N_PROFILES)
    step_mm = float(distance[1])
    distance = distance[:, None]

    half_chord = _half_chord(sphere, distance)
    along = half_chord * np.linspace(0, 1, N_STEPS)
    radius = np.sqrt(distance**2 + along**2)
    value = sphere.profile(radius)

    # trapezoids, on both sides of the nearest point
    sums = value[:, 1:] + value[:, :-1]
    pieces = sums * half_chord / (N_STEPS - 1)
    integrals = np.cumsum(pieces, axis=1)

    at_nearest = np.zeros_like(distance)
    return np.concatenate([at_nearest, integrals], axis=1), step_mm


def _half_chord(sphere: Sphere, distance: np.ndarray) -> np.ndarray:
    """Half of the length within the sphere's reach of lines at these distances, mm."""
    squares = sphere.reach_mm**2 - distance**2
    squares = np.maximum(squares, 0.0)
    return np.asarray(np.sqrt(squares))


def _draw_shares(profiles: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Signed shares of the half-chord (n,), drawn from the profile at (fractional) `row`; `uniform`
    (3, n).
    """
    # one of the two rows around it, in proportion
    lower = row.astype(np.int64)
    lower = np.minimum(lower, N_PROFILES - 2)
    chosen = lower + (uniform[0] < row - lower)
    reached = profiles[chosen, -1] > 0
    chosen = np.where(reached, chosen, lower)

    sign = np.where(uniform[2] < 0.5, -1.0, 1.0)
    shares = _invert(profiles, chosen, uniform[1])
    return np.asarray(shares * sign)


@njit(nogil=True)
def _invert(profiles, row, uniform):  # type: ignore[no-untyped-def]
    """Shares of the half-chord at which the integrals of `row` (n,) reach `uniform` (n,) of their
    total.
    """
    shares = np.empty(row.size)
    n_steps = profiles.shape[1] - 1

    for e in range(row.size):
        line = profiles[row[e]]
        target = uniform[e] * line[-1]

        k = np.searchsorted(line, target)
        k = min(max(k, 1), n_steps)
        below = line[k - 1]
        rise = line[k] - below
        fraction = (target - below) / rise if rise > 0 else 0.0

        shares[e] = (k - 1 + fraction) / n_steps

    return shares


def _binned(
    scanner: AnyScanner, pairs: np.ndarray, emitted_mm: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Events of LORs (n, 2), emitted at `emitted_mm` (n,) from their middles; those beyond the last
    TOF bins are lost, as in a scan.
    """
    n_events = len(pairs)
    swap = rng.random(n_events) < 0.5
    tof = np.zeros(n_events, np.int64)
    seen = np.ones(n_events, bool)

    if scanner.tof_sigma_mm > 0:
        half = scanner.tof_half_bins
        # an even number of bins lies on both sides of the middle, none on it
        even = scanner.tof_step_mm < 0.75 * scanner.tof_bin_mm
        n_bins = half + 1 if even else 2 * half + 1

        error_mm = rng.normal(0, scanner.tof_sigma_mm, n_events)
        measured_mm = emitted_mm + error_mm
        number = np.floor(measured_mm / scanner.tof_bin_mm + n_bins / 2)
        seen = (number >= 0) & (number < n_bins)

        numbered = 2 * number - (n_bins - 1) if even else number - half
        tof = numbered.astype(np.int64)

    det0, det1 = pairs.T
    events = np.empty(n_events, EVENT)
    events["det0"] = np.where(swap, det1, det0)
    events["det1"] = np.where(swap, det0, det1)
    events["tof"] = np.where(swap, -tof, tof)

    return events[seen]


def merged(
    events: np.ndarray, new: np.ndarray, seed: int, size: int = CHUNK
) -> Iterator[np.ndarray]:
    """`events` (memory-mapped) with `new` ones at random places among them, in parts; both keep
    their order.

    Places depend on `seed` alone.
    """
    n_total = len(events) + len(new)

    # the index of each new event in the merged list
    rng = numpy_generator(seed, "places")
    gaps = rng.integers(0, len(events) + 1, len(new))
    index = np.sort(gaps) + np.arange(len(new))

    for start in range(0, n_total, size):
        stop = min(start + size, n_total)
        first, last = np.searchsorted(index, (start, stop))

        is_new = np.zeros(stop - start, bool)
        is_new[index[first:last] - start] = True
        n_old = np.count_nonzero(~is_new)
        first_old = start - first

        part = np.empty(stop - start, EVENT)
        part[is_new] = new[first:last]
        part[~is_new] = events[first_old : first_old + n_old]
        yield part
