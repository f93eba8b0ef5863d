"""What an image is judged by: bias, noise, fidelity and noise texture.

Pure functions over arrays. Images are (X, Y, Z) on one grid, in any one unit of activity
concentration (Bq/mL here); realisations are stacked in front, (R, X, Y, Z). Masks are boolean.
Formulas follow the paper's supplement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]
Window = tuple[slice, slice, slice]


class MeasureError(ValueError):
    """A measure that has no value here: an empty volume of interest, or grids that differ."""


def organ(labels: Labels, organs: Mapping[str, int], name: str) -> Mask:
    """Voxels of an organ; raises MeasureError if it is unknown or the study lacks it."""
    if name not in organs:
        raise MeasureError(f"organ {name!r} is unknown; known are {', '.join(organs)}")

    mask = labels == organs[name]

    if not mask.any():
        raise MeasureError(
            f"organ {name!r} (label {organs[name]}) has no voxel in this label image"
        )

    return mask


def middle(mask: Mask) -> npt.NDArray[np.int_]:
    """Voxel (x, y, z) nearest to a mask's centre of mass."""
    centre = np.argwhere(mask).mean(axis=0)
    return np.rint(centre).astype(int)


def edge_slices(n_slices: int) -> int:
    """Slices to leave out at either axial end.

    Few lines of response cross them, so that their noise would outweigh all others.
    """
    return min(4, n_slices // 8)


def well_seen(n_slices: int) -> slice:
    """Slices without an eighth at either axial end.

    The sensitivity there is below a quarter of the largest.
    """
    return slice(n_slices // 8, n_slices - n_slices // 8)


def body(labels: Labels) -> Mask:
    """Everything that is not air (label 0), without the slices at the axial ends."""
    n_slices = labels.shape[2]
    edge = edge_slices(n_slices)

    mask = labels > 0
    mask[:, :, :edge] = False
    mask[:, :, n_slices - edge :] = False
    return _filled(mask, "body")


def liver_voi(
    labels: Labels, organs: Mapping[str, int], *, erode: int = 2, at_least: int = 30
) -> Mask:
    """Homogeneous liver: eroded, clear of any lesion, and well seen by the scanner.

    Eroded by `erode` voxels and as far again away from a lesion; slices as in `well_seen`. Coarse
    grids may leave fewer than `at_least` voxels; the erosion is then taken back voxel by voxel.
    Raises MeasureError if the study has no liver, or nothing of it is clear of the lesion and of
    the ends.
    """
    liver = organ(labels, organs, "liver")
    lesion = np.zeros_like(liver)

    if "lesion" in organs:
        lesion = labels == organs["lesion"]

    n_slices = labels.shape[2]
    seen = np.zeros(n_slices, bool)
    seen[well_seen(n_slices)] = True

    for n in range(erode, -1, -1):
        # A lesion's label replaces the liver's, so eroding the liver alone already leaves n voxels
        # of margin.
        voi = liver & ~_dilate(lesion, n + 1)

        if n:
            voi &= ndimage.binary_erosion(liver, iterations=n)

        voi &= seen

        if voi.sum() >= at_least:
            return np.asarray(voi)

    return _filled(voi, "liver without the lesion's margin and the axial ends")


def rim(mask: Mask, width: int = 2) -> Mask:
    """Shell of `width` voxels around `mask` (the mask itself left out)."""
    return _filled(_dilate(mask, width) & ~mask, "rim")


def with_rim(mask: Mask, width: int = 2) -> Mask:
    """`mask` and a shell of `width` voxels around it."""
    return _filled(_dilate(mask, width), "volume with rim")


def bounding_box(mask: Mask, margin: int = 0) -> Window:
    """Smallest box holding `mask`, grown by `margin` voxels and clipped to the grid."""
    mask = _filled(mask, "bounding box")
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    grown = []

    for along, n in zip(box, mask.shape, strict=True):
        low = max(along.start - margin, 0)
        high = min(along.stop + margin, n)
        grown.append(slice(low, high))

    x, y, z = grown
    return x, y, z


def lesion_bias(realisations: Array, voi: Mask, reference: Array) -> float:
    """Ensemble bias, %: mean over r of (mean_voi(x_r) - T) / T * 100, T = mean_voi(reference).

    realisations (R, X, Y, Z), voi (X, Y, Z), reference (X, Y, Z): the whole-scan image.
    """
    _check_same_grid(realisations[0], reference, voi)
    truth = _positive_mean(reference, voi)
    biases = [(_mean(image, voi) - truth) / truth for image in realisations]
    return float(np.mean(biases) * 100)


def ensemble_cov(realisations: Array, voi: Mask) -> float:
    """Ensemble noise, %: mean over voxels of SD_r(x_r) / VOI mean * 100.

    The SD over the realisations has R - 1 in its denominator.
    """
    _check_same_grid(realisations[0], voi)

    if len(realisations) < 2:
        raise MeasureError(
            f"ensemble CoV: expected at least 2 realisations, got {len(realisations)}"
        )

    values = realisations[:, _filled(voi, "ensemble CoV")].astype(np.float64)
    sd = values.std(axis=0, ddof=1).mean()
    mean = _nonzero(values.mean(), "ensemble CoV")
    return float(sd / mean * 100)


def spatial_cov(image: Array, voi: Mask) -> float:
    """Noise of one image, %: SD over the VOI's voxels / VOI mean * 100 (texture counts)."""
    _check_same_grid(image, voi)
    values = image[_filled(voi, "spatial CoV")].astype(np.float64)
    sd = values.std(ddof=1)
    mean = _nonzero(values.mean(), "spatial CoV")
    return float(sd / mean * 100)


def relative_error(image: Array, reference: Array, voi: Mask) -> float:
    """Mean |x - ref| over the VOI / mean of ref over the VOI * 100, %."""
    _check_same_grid(image, reference, voi)
    inside = _filled(voi, "relative error")
    difference = image[inside].astype(np.float64) - reference[inside]
    error = np.abs(difference).mean()
    return float(error / _positive_mean(reference, voi) * 100)


def rmse(image: Array, reference: Array, voi: Mask) -> float:
    """Root of the mean squared difference over the VOI, in the images' unit."""
    _check_same_grid(image, reference, voi)
    inside = _filled(voi, "RMSE")
    error = image[inside].astype(np.float64) - reference[inside]
    return float(np.sqrt(np.mean(error**2)))


def psnr(image: Array, reference: Array, voi: Mask) -> float:
    """20 log10(max of the reference in the VOI / RMSE), dB; infinite for equal images."""
    error = rmse(image, reference, voi)
    peak = float(reference[voi].max())

    if peak <= 0:
        raise MeasureError(
            f"PSNR: the reference's largest value in the VOI is {peak:g}; it must be positive"
        )

    if error == 0:
        return float("inf")

    return float(20 * np.log10(peak / error))


def ssim(image: Array, reference: Array, voi: Mask, window: int = 7) -> float:
    """Mean structural similarity (3-D, uniform window) in the VOI's bounding box.

    The range of values is the reference's.
    """
    from skimage.metrics import structural_similarity

    _check_same_grid(image, reference, voi)

    box = bounding_box(voi)
    image_box = image[box].astype(np.float32)
    reference_box = reference[box].astype(np.float32)

    # The window is odd and fits into the box.
    window = min(window, *(n - 1 + n % 2 for n in reference_box.shape))

    if window < 3:
        raise MeasureError(f"SSIM: the VOI's box {reference_box.shape} is thinner than 3 voxels")

    span = float(reference_box.max() - reference_box.min())

    if span == 0:
        raise MeasureError("SSIM: the reference is constant, its range is 0")

    _, similarity = structural_similarity(
        image_box,
        reference_box,
        win_size=window,
        data_range=span,
        full=True,
    )
    return float(similarity[voi[box]].mean(dtype=np.float64))


def autocorrelation(noise: Array, voi: Mask, axis: int, n_lags: int = 8) -> npt.NDArray[np.float64]:
    """Noise autocorrelation along an axis, (n_lags,), 1 at lag 0: of pairs with both voxels inside.

    rho(d) = mean[n(x) n(x + d)] / mean[n(x)^2] with the VOI's mean taken off; nan where no pair is
    left.
    """
    _check_same_grid(noise, voi)

    inside = np.moveaxis(_filled(voi, "autocorrelation"), axis, 0)
    values = np.moveaxis(noise.astype(np.float64), axis, 0)
    values = np.where(inside, values - values[inside].mean(), 0.0)
    mean_square = float((values**2).sum() / inside.sum())
    variance = _nonzero(mean_square, "autocorrelation")

    n_slices = len(values)
    rho = np.full(n_lags, np.nan)

    for lag in range(min(n_lags, n_slices)):
        both_inside = inside[: n_slices - lag] & inside[lag:]

        if both_inside.any():
            products = values[: n_slices - lag] * values[lag:]
            rho[lag] = products[both_inside].mean() / variance

    return rho


def texture_fwhm(rho: Sequence[float] | npt.NDArray[np.float64], spacing_mm: float) -> float:
    """Full width at half maximum of the noise autocorrelation, mm; nan where it stays above 0.5.

    White noise filtered with a Gaussian of FWHM w has a texture of sqrt(2) w.
    """
    for lag in range(1, len(rho)):
        if not np.isfinite(rho[lag]):
            break

        if rho[lag] <= 0.5:
            above = rho[lag - 1]
            part = (above - 0.5) / (above - rho[lag])
            return float(2 * spacing_mm * (lag - 1 + part))

    return float("nan")


def _dilate(mask: Mask, n: int) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, iterations=n)) if n else mask


def _filled(mask: Mask, name: str) -> Mask:
    if not mask.any():
        raise MeasureError(f"{name}: the volume of interest holds no voxel")

    return np.asarray(mask, dtype=bool)


def _check_same_grid(*arrays: npt.NDArray[np.generic]) -> None:
    shapes = {array.shape for array in arrays}

    if len(shapes) > 1:
        raise MeasureError(
            f"grids differ: expected one shape, got {' and '.join(map(str, sorted(shapes)))}"
        )


def _mean(image: Array, voi: Mask) -> float:
    values = image[_filled(voi, "mean")]
    return float(values.mean(dtype=np.float64))


def _positive_mean(image: Array, voi: Mask) -> float:
    mean = _mean(image, voi)

    if not mean > 0:
        raise MeasureError(
            f"the reference's mean in the VOI is {mean:g}; a relative measure needs it positive"
        )

    return mean


def _nonzero(value: float, name: str) -> float:
    if not np.isfinite(value) or value == 0:
        raise MeasureError(f"{name}: its denominator is {value:g}")

    return float(value)
