"""TOF list-mode OSEM (Hudson and Larkin 1994; Reader et al. 1998) with image-space resolution
modelling.

Update of subset j of J (x in Bq/mL, B the Gaussian resolution model, A the TOF projector):
    x <- x / (B s / J) * B A_j^T [ 1 / (A_j B x + b) ]
with the sensitivity s = T sum_i w_i a_i A_i^T 1 over all LORs (see `sensitivity`) and b the
expected background of each event divided by its LOR's attenuation and weight (see `additive_term`),
so that a_i and w_i cancel in the ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..config.sections import ReconProtocol
from .gaussian import blur
from .projector_cpu import Projector
from .subsets import OrderedEvents, Subset

VALID_SENSITIVITY = 0.02  # voxels below this share of the largest sensitivity are not reconstructed


def reconstruct(
    projector: Projector,
    events: np.ndarray,
    additive: np.ndarray,
    sensitivity: np.ndarray,
    seconds: float,
    protocol: ReconProtocol,
    on_events: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """Reconstruct `events` (n,) of a scan of `seconds` effective time; (X, Y, Z) float32 in Bq/mL.

    `additive` (n,) in Bq/mL mm, `sensitivity` (X, Y, Z) in counts per (Bq/mL) and s. `on_events(n)`
    is called after each n events. Raises ValueError when there are fewer events than subsets or the
    image is not finite.
    """
    ordered = OrderedEvents(projector, events, additive)
    subsets = ordered.subsets(protocol.subsets)

    return from_subsets(projector, subsets, sensitivity, seconds, protocol, on_events)


def from_subsets(
    projector: Projector,
    subsets: list[Subset],
    sensitivity: np.ndarray,
    seconds: float,
    protocol: ReconProtocol,
    on_events: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """As `reconstruct`, from the `protocol.subsets` subsets of a sample."""
    for image in iterate(projector, subsets, sensitivity, seconds, protocol, on_events):
        last = image

    last = blur(last, protocol.post_fwhm_mm, projector.grid.voxel_mm)

    if not np.isfinite(last).all():
        raise ValueError(
            "reconstruction: the image is not finite; check the sensitivity and the additive term"
        )
    return last


def iterate(
    projector: Projector,
    subsets: list[Subset],
    sensitivity: np.ndarray,
    seconds: float,
    protocol: ReconProtocol,
    on_events: Callable[[int], None] = lambda n: None,
) -> Iterator[np.ndarray]:
    """The image after each iteration, before the post-filter; arguments as for `from_subsets`."""
    psf_mm = protocol.psf_fwhm_mm
    voxel_mm = projector.grid.voxel_mm
    n_events = sum(subset.n_events for subset in subsets)

    # 1 / (B s / J), where the scanner sees enough
    subset_s = np.float32(seconds / len(subsets))
    weight = blur(sensitivity, psf_mm, voxel_mm) * subset_s
    valid = weight > VALID_SENSITIVITY * weight.max()

    safe_weight = np.where(valid, weight, 1)
    inverse = np.where(valid, 1 / safe_weight, 0).astype(np.float32)

    # the uniform image that expects as many events as there are
    counts_per_bqml = seconds * sensitivity[valid].sum()
    level_bqml = np.float32(n_events / counts_per_bqml)
    image = np.where(valid, level_bqml, 0).astype(np.float32)

    for _ in range(protocol.iterations):
        for subset in subsets:
            # A_j^T [ 1 / (A_j B x + b) ]
            blurred = blur(image, psf_mm, voxel_mm)
            ratio = projector.em_back(blurred, subset.events, subset.additive)

            image = image * inverse * blur(ratio, psf_mm, voxel_mm)
            on_events(subset.n_events)

        yield image


def valid_slices(sensitivity: np.ndarray, share: float = 0.25) -> tuple[int, int]:
    """First and last slice whose central sensitivity reaches `share` of the largest.

    Beyond them, noise explodes.
    """
    third_x = sensitivity.shape[0] // 3
    third_y = sensitivity.shape[1] // 3
    centre = sensitivity[third_x:-third_x, third_y:-third_y]
    profile = centre.mean(axis=(0, 1))

    inside = np.flatnonzero(profile >= share * profile.max())
    return int(inside[0]), int(inside[-1])
