"""Noise power spectra of i.i.d. realisations, in absolute units.

Definition of ICRU Report 54 (1996) and Siewerdsen, Cunningham and Jaffray, Med. Phys. 29, 2655
(2002), for a region of any shape in place of their rectangle: a slice's noise, zero outside the
region, is Fourier transformed, and

    NPS(u, v) = dx dy / N <|sum n(x, y) exp(-2 pi i (u x + v y))|^2>,   N = voxels of the region,

averaged over slices. White noise of variance s^2 has NPS = s^2 dx dy; the integral over u and v up
to the Nyquist frequencies is the variance. A small region blurs the spectrum by its own width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .measures import Array, Mask, MeasureError, bounding_box

# samples of the transform along x and y: a fine enough grid of frequencies for a small region
MIN_SIZE = 64
Floats = npt.NDArray[np.float64]


def ensemble_noise(realisations: Array) -> Floats:
    """Noise-only images: each realisation minus the mean of all, times sqrt(R / (R - 1)); in and
    out (R, X, Y, Z).

    The factor makes up for the noise in the mean, so that the mean square is the variance.
    Structure cancels exactly. Raises MeasureError for fewer than 2 realisations.
    """
    n = len(realisations)
    if n < 2:
        raise MeasureError(f"noise of an ensemble: expected at least 2 realisations, got {n}")
    values = np.asarray(realisations, np.float64)
    return np.asarray((values - values.mean(axis=0)) * np.sqrt(n / (n - 1)))


def plane_power(
    noise: Array, voi: Mask, voxel_mm: Sequence[float] | Array
) -> tuple[Floats, Floats, Floats]:
    """In-plane spectrum of each noise image: u (Nu,) and v (Nv,) in 1/mm, NPS (R, Nu, Nv) in unit^2
    mm^2.

    noise (R, X, Y, Z) in any one unit, voi (X, Y, Z). Raises MeasureError when grids differ or the
    VOI is empty.
    """
    if noise.shape[1:] != voi.shape:
        raise MeasureError(
            f"noise power: grids differ: the noise has {noise.shape[1:]}, the volume {voi.shape}"
        )
    box = bounding_box(voi)
    inside = np.where(voi[box], noise[(slice(None), *box)], 0.0)
    shape = [max(MIN_SIZE, n) for n in inside.shape[1:3]]
    power = np.zeros((len(noise), *shape))
    for z in range(inside.shape[3]):
        power += np.abs(np.fft.fft2(inside[..., z], s=shape, axes=(1, 2))) ** 2
    u, v = (
        np.asarray(np.fft.fftfreq(n, float(d)), np.float64)
        for n, d in zip(shape, voxel_mm, strict=False)
    )
    return u, v, power * float(voxel_mm[0]) * float(voxel_mm[1]) / int(voi.sum())


def radial_power(
    noise: Array, voi: Mask, voxel_mm: Sequence[float] | Array, n_bins: int = 24
) -> tuple[Floats, Floats]:
    """Radial average of the in-plane spectrum: frequency (n_bins,) in 1/mm, NPS (R, n_bins) in
    unit^2 mm^2.

    Rings of equal width up to the lower of the two Nyquist frequencies; arguments and errors as for
    `plane_power`.
    """
    u, v, power = plane_power(noise, voi, voxel_mm)
    edges = np.linspace(0, 0.5 / max(float(voxel_mm[0]), float(voxel_mm[1])), n_bins + 1)
    ring = np.digitize(np.hypot(*np.meshgrid(u, v, indexing="ij")), edges)
    radial = np.array([ndimage.mean(p, ring, np.arange(1, n_bins + 1)) for p in power])
    return (edges[1:] + edges[:-1]) / 2, radial


def mean_frequency(frequency: Floats, power: Floats) -> float:
    """Average frequency of a radial spectrum, 1/mm: sum f NPS / sum NPS (AAPM Task Group 233,
    2019).

    High for fine grain. nan without noise.
    """
    total = float(power.sum())
    return float((frequency * power).sum() / total) if total > 0 else float("nan")
