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

# Samples of the transform along x and y: a fine enough grid of frequencies for a small region.
MIN_SIZE = 64
MIN_SLICES = 32  # and along z

Spectrum = npt.NDArray[np.float64]


def ensemble_noise(realisations: Array) -> Spectrum:
    """Noise-only images: each realisation minus the mean of all, times sqrt(R / (R - 1)).

    (R, X, Y, Z) to the same. The factor makes up for the noise in the mean, so that the mean square
    is the variance. Structure cancels exactly. Raises MeasureError for fewer than 2 realisations.
    """
    n = len(realisations)

    if n < 2:
        raise MeasureError(f"noise of an ensemble: expected at least 2 realisations, got {n}")

    values = np.asarray(realisations, np.float64)
    deviations = values - values.mean(axis=0)
    factor = np.sqrt(n / (n - 1))
    return np.asarray(deviations * factor)


def plane_power(
    noise: Array, voi: Mask, voxel_mm: Sequence[float] | Array
) -> tuple[Spectrum, Spectrum, Spectrum]:
    """In-plane spectrum of each noise image: u (Nu,), v (Nv,) in 1/mm, NPS (R, Nu, Nv).

    The NPS is in the noise's unit^2 mm^2. noise (R, X, Y, Z) in any one unit, voi (X, Y, Z). Raises
    MeasureError when grids differ or the VOI is empty.
    """
    inside = _inside(noise, voi)

    # The sum over slices of the squared transforms.
    shape = [max(MIN_SIZE, n) for n in inside.shape[1:3]]
    power = np.zeros((len(noise), *shape))

    for z in range(inside.shape[3]):
        plane = inside[..., z]
        transform = np.fft.fft2(plane, s=shape, axes=(1, 2))
        power += np.abs(transform) ** 2

    dx_mm = float(voxel_mm[0])
    dy_mm = float(voxel_mm[1])
    u: Spectrum = np.fft.fftfreq(shape[0], dx_mm).astype(np.float64)
    v: Spectrum = np.fft.fftfreq(shape[1], dy_mm).astype(np.float64)
    n_voxels = int(voi.sum())
    return u, v, power * dx_mm * dy_mm / n_voxels


def radial_power(
    noise: Array, voi: Mask, voxel_mm: Sequence[float] | Array, n_bins: int = 24
) -> tuple[Spectrum, Spectrum]:
    """Radial average of the in-plane spectrum: frequency (n_bins,) in 1/mm, NPS (R, n_bins).

    The NPS is in the noise's unit^2 mm^2. Rings of equal width up to the lower of the two Nyquist
    frequencies; arguments and errors as for `plane_power`.
    """
    u, v, power = plane_power(noise, voi, voxel_mm)

    coarser_mm = max(float(voxel_mm[0]), float(voxel_mm[1]))
    nyquist = 0.5 / coarser_mm
    edges = np.linspace(0, nyquist, n_bins + 1)
    middles = (edges[1:] + edges[:-1]) / 2

    u_plane, v_plane = np.meshgrid(u, v, indexing="ij")
    frequency = np.hypot(u_plane, v_plane)
    ring = np.digitize(frequency, edges)
    ring_numbers = np.arange(1, n_bins + 1)

    radial = [ndimage.mean(image, ring, ring_numbers) for image in power]
    return middles, np.array(radial)


def power_by_axial_half(
    noise: Array, voi: Mask, voxel_mm: Sequence[float] | Array, n_bins: int = 12
) -> tuple[Spectrum, Spectrum]:
    """Radial in-plane power apart for slow and fast axial waves: (n_bins,) 1/mm, (R, 2, n_bins).

    The first half of the power is of axial frequencies up to half of the axial Nyquist frequency,
    the second of those above. Only ratios of two such powers have a meaning; frequency is the
    in-plane one, 1/mm. Arguments and errors as for `plane_power`.
    """
    inside = _inside(noise, voi)
    in_plane = [max(MIN_SIZE, n) for n in inside.shape[1:3]]
    shape = [*in_plane, max(MIN_SLICES, inside.shape[3])]
    u, v, w = (np.fft.fftfreq(n, float(mm)) for n, mm in zip(shape, voxel_mm, strict=True))

    # Rings of in-plane frequency, numbered on through the two halves of the axial ones.
    edges = np.linspace(0, min(np.abs(u).max(), np.abs(v).max()), n_bins + 1)
    ring = np.digitize(np.hypot(u[:, None], v[None, :]), edges)
    is_fast = np.abs(w) > np.abs(w).max() / 2
    beyond = ring > n_bins
    label = ring[:, :, None] + n_bins * is_fast
    label[beyond] = 0

    numbers = np.arange(1, 2 * n_bins + 1)
    halves = []
    for image in inside:
        power = np.abs(np.fft.fftn(image, s=shape, axes=(0, 1, 2))) ** 2
        means = ndimage.mean(power, label, numbers)
        halves.append(np.reshape(means, (2, n_bins)))

    middles = (edges[1:] + edges[:-1]) / 2
    return middles, np.array(halves)


def mean_frequency(frequency: Spectrum, power: Spectrum) -> float:
    """Average frequency of a radial spectrum, 1/mm: sum f NPS / sum NPS.

    AAPM Task Group 233, 2019. High for a fine texture; nan without noise.
    """
    total = float(power.sum())

    if total <= 0:
        return float("nan")

    weighted = frequency * power
    return float(weighted.sum() / total)


def _inside(noise: Array, voi: Mask) -> Array:
    """The noise in the box around the VOI, (R, x, y, z), zero outside of the VOI itself."""
    if noise.shape[1:] != voi.shape:
        raise MeasureError(
            f"noise power: grids differ: the noise has {noise.shape[1:]}, the volume {voi.shape}"
        )

    box = bounding_box(voi)
    noise_box = noise[(slice(None), *box)]
    inside = np.where(voi[box], noise_box, 0.0)

    return inside
