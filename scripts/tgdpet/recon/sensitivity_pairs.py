"""Sensitivity of a scanner of any shape: pairs of detectors traced one by one, all or a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from ..constants import FWHM_PER_SIGMA
from .projector_cpu import Projector

PAIRS_PER_BATCH = 1 << 18
SMOOTHING_FWHM_MM = 14.0  # of an estimate from a sample of the pairs


def sum_of_lors(
    projector: Projector, mu_per_mm: np.ndarray, det0: np.ndarray, det1: np.ndarray
) -> np.ndarray:
    """The attenuated, weighted back projection of these LORs (n,); (X, Y, Z) float64."""
    scanner = projector.scanner
    attenuation = np.exp(-projector.forward(mu_per_mm, det0, det1))
    weight = scanner.lor_weights(det0, det1).astype(np.float32)
    image = projector.back(attenuation * weight, det0, det1)

    return image.astype(np.float64)


def sum_of_pairs(
    projector: Projector, mu_per_mm: np.ndarray, on_pairs: Callable[[int], None], max_pairs: int
) -> np.ndarray:
    """Sum over all pairs of detectors or a random sample of `max_pairs`; (X, Y, Z) float64."""
    scanner = projector.scanner
    n = scanner.n_detectors
    n_pairs = n * (n - 1) // 2
    n_traced = min(n_pairs, max_pairs)

    total = np.zeros(projector.grid.shape)
    rng = np.random.default_rng(0)

    for start in range(0, n_traced, PAIRS_PER_BATCH):
        size = min(PAIRS_PER_BATCH, n_traced - start)

        if n_traced == n_pairs:
            numbers = np.arange(start, start + size)
            det0, det1 = _numbered_pairs(numbers)
        else:
            det0 = rng.integers(0, n, size)
            difference = rng.integers(1, n, size)
            det1 = (det0 + difference) % n

        accepted = scanner.lor_weights(det0, det1) > 0
        det0 = det0[accepted]
        det1 = det1[accepted]

        total += sum_of_lors(projector, mu_per_mm, det0, det1)
        on_pairs(size)

    total *= n_pairs / n_traced
    if n_traced < n_pairs:
        total = _smooth(total, projector.grid.voxel_mm)

    return total


def _numbered_pairs(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detectors i > j of pair number i (i - 1) / 2 + j."""
    root = np.sqrt(1 + 8.0 * number)
    i = ((1 + root) / 2).astype(np.int64)

    # the square root may round to a neighbour
    i -= i * (i - 1) // 2 > number
    i += (i + 1) * i // 2 <= number

    return i, number - i * (i - 1) // 2


def _smooth(estimate: np.ndarray, voxel_mm: list[float]) -> np.ndarray:
    """Take out the sampling noise, which OSEM would amplify as it does counting noise.

    Near edges the Gaussian is renormalised to the voxels that the scanner sees.
    """
    sigma_voxels = [SMOOTHING_FWHM_MM / FWHM_PER_SIGMA / v for v in voxel_mm]
    visible = estimate > 1e-3 * estimate.max()
    indicator = visible.astype(np.float64)

    share = gaussian_filter(indicator, sigma_voxels, mode="constant")
    smooth = gaussian_filter(estimate * indicator, sigma_voxels, mode="constant")
    renormalised = smooth / np.maximum(share, 1e-6)

    return np.asarray(np.where(visible, renormalised, 0))
