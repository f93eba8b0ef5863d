"""TOF list-mode OSEM (Hudson and Larkin 1994; Reader et al. 1998) with image-space resolution
modelling.

Update of subset j of J (x in Bq/mL, B the Gaussian resolution model, A the TOF projector):
    x <- x / (B s / J) * B A_j^T [ 1 / (A_j B x + b) ]
with the sensitivity s = T sum_i w_i a_i A_i^T 1 over all LORs (see `corrections`) and b the
expected background of each event divided by its LOR's attenuation and weight, so that a_i and w_i
cancel in the ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..config.sections import ReconProtocol
from ..constants import FWHM_PER_SIGMA
from .projector_cpu import Projector, locality_order

VALID_SENSITIVITY = 0.02  # voxels below this share of the largest sensitivity are not reconstructed


def blur(image: np.ndarray, fwhm_mm: list[float], voxel_mm: list[float]) -> np.ndarray:
    """Gaussian of `fwhm_mm` along x, y, z (self-adjoint: zeros outside), cut at 3 sigma."""
    for axis, (fwhm, voxel) in enumerate(zip(fwhm_mm, voxel_mm, strict=True)):
        sigma = fwhm / FWHM_PER_SIGMA / voxel
        if sigma > 0.1:
            image = gaussian_filter1d(image, sigma, axis=axis, mode="constant", truncate=3.0)
    return image


def reconstruct(
    projector: Projector,
    events: np.ndarray,
    additive: np.ndarray,
    sensitivity: np.ndarray,
    seconds: float,
    protocol: ReconProtocol,
    step: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """Reconstruct `events` (n,) of a scan of `seconds` effective time; (X, Y, Z) float32 in Bq/mL.

    `additive` (n,) in Bq/mL mm, `sensitivity` (X, Y, Z) in counts per (Bq/mL) and s. `step(n)` is
    called after each n events. Raises ValueError when there are fewer events than subsets.
    """
    for image in iterate(projector, events, additive, sensitivity, seconds, protocol, step):
        last = image
    if protocol.post_fwhm_mm > 0:
        last = blur(last, [protocol.post_fwhm_mm] * 3, projector.grid.voxel_mm)
    if not np.isfinite(last).all():
        raise ValueError(
            "reconstruction: the image is not finite; check the sensitivity and the additive term"
        )
    return last


def iterate(
    projector: Projector,
    events: np.ndarray,
    additive: np.ndarray,
    sensitivity: np.ndarray,
    seconds: float,
    protocol: ReconProtocol,
    step: Callable[[int], None] = lambda n: None,
) -> Iterator[np.ndarray]:
    """The image after each iteration, before the post-filter; arguments as for `reconstruct`."""
    if len(events) < protocol.subsets:
        raise ValueError(
            f"reconstruction: {len(events)} events cannot be split into {protocol.subsets} subsets"
        )
    psf, voxel = protocol.psf_fwhm_mm, projector.grid.voxel_mm
    weight = blur(sensitivity, psf, voxel) * np.float32(seconds / protocol.subsets)
    valid = weight > VALID_SENSITIVITY * weight.max()
    inverse = np.where(valid, 1 / np.where(valid, weight, 1), 0).astype(np.float32)
    image = np.where(
        valid, np.float32(len(events) / (seconds * sensitivity[valid].sum())), 0
    ).astype(np.float32)
    subsets = [
        _subset(projector, events, additive, j, protocol.subsets) for j in range(protocol.subsets)
    ]
    for _ in range(protocol.iterations):
        for part, background, n in subsets:
            ratio = projector.em_back(blur(image, psf, voxel), part, background)
            image = image * inverse * blur(ratio, psf, voxel)
            step(n)
        yield image


def _subset(
    projector: Projector, events: np.ndarray, additive: np.ndarray, first: int, n_subsets: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Every n-th event and its additive term, in an order that keeps to the caches, and their
    number.
    """
    part, background = events[first::n_subsets], additive[first::n_subsets]
    order = locality_order(part, projector.scanner, projector.grid)
    return projector.hold(part[order]), projector.hold(background[order]), len(order)


def valid_slices(sensitivity: np.ndarray, share: float = 0.25) -> tuple[int, int]:
    """First and last slice whose central sensitivity reaches `share` of the largest; noise explodes
    beyond.
    """
    nx, ny, _ = sensitivity.shape
    profile = sensitivity[nx // 3 : -(nx // 3), ny // 3 : -(ny // 3)].mean(axis=(0, 1))
    inside = np.flatnonzero(profile >= share * profile.max())
    return int(inside[0]), int(inside[-1])
