"""Whether two images are what Noise2Noise needs: the same activity with independent noise.

Split halves A = S + a and B = S + b of one acquisition have the same expectation S and independent
noise, so that cov(A - B, A) = var(a) and cov(A - B, B) = -var(b). Whatever else two files may be
(twice the same data, a part and its whole, another patient, a shifted image) breaks one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .. import nuclides
from ..io.nifti import Image
from .body import body_mask

SAME_WORDS = (
    *("TracerName", "TracerRadionuclide"),
    *("ReconMethodName", "ReconMethodParameterValues"),
)
SAME_TIME = 0.1  # largest relative difference of two halves' durations
SAME_DOSE = 0.01  # and of injected activity and body weight
OVERLAP_S = 1.0  # two halves that follow one another start at most one duration and this apart
DAY_S = 24 * 3600

# Share of the noise of A - B that is A's: a half if the two are independent and alike. The fine
# part of the images alone is compared, as a difference in scale, such as decay, would count as
# noise of the brighter one.
INDEPENDENT = (0.3, 0.7)
FINE_VOXELS = 3  # what a mean over as many voxels takes away is fine

# Noise that is averaged over this length nearly vanishes, a structure that only one image has does
# not. Measured on simulated studies: 4 to 5 % for halves, 11 to 54 % for shifted (three voxels) and
# mirrored halves and other patients (docs/how-to/adapt.md).
COARSE_MM = 30.0
FINE_MM = 20.0
COARSE_VOXELS = 7  # and at least over as many voxels, where they are large
COARSE_SHARE = 0.1
SAME_PLACE = 0.7  # least correlation of means over FINE_MM: halves 0.96, other patients 0.5 to 0.6
FARTHEST_VOXELS = 3  # of a shift that is looked for; larger ones are of SAME_PLACE or COARSE_SHARE
CLEARLY_BETTER = 0.002  # in correlation; images moved by half a voxel reach zero
SAME_DATA = 1e-6  # relative variance of the difference: nothing but rounding


def check_halves(first: Image, second: Image, names: tuple[str, str]) -> None:
    """Raise ValueError where two images on one grid are not halves of one acquisition.

    `names` are those of the two files, for the message: what was expected, what was found.
    """
    check_same_injection(first.sidecar, second.sidecar, names)
    check_same_time(first.sidecar, second.sidecar, names)
    check_independent(first, second, names)
    check_same_body(first, second, names)
    check_same_position(first, second, names)


def check_same_injection(
    first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]
) -> None:
    """Raise ValueError where sidecars tell of another tracer, dose, patient or reconstruction.

    What one of the two does not say is not compared.
    """
    a, b = names
    for key in SAME_WORDS:
        if key in first and key in second and _meant(key, first) != _meant(key, second):
            raise ValueError(f"{b}: {key}: expected {first[key]!r} as in {a}, got {second[key]!r}")

    for key in ("InjectedRadioactivity", "BodyWeight"):
        values = _numbers(first, second, key)
        if values and abs(values[0] - values[1]) > SAME_DOSE * abs(values[0]):
            expected = f"expected {values[0]:g} as in {a}, got {values[1]:g}"
            raise ValueError(f"{b}: {key}: {expected}: another injection or patient")


def _meant(key: str, sidecar: Mapping[str, Any]) -> Any:
    """What a sidecar says under a key, a nuclide as BIDS spells it."""
    value = sidecar[key]
    if key != "TracerRadionuclide":
        return value

    return nuclides.of_meaning(str(value)) or value


def check_same_time(
    first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]
) -> None:
    """Raise ValueError where sidecars tell of durations or starts that halves of one acquisition
    cannot have.
    """
    a, b = names
    durations_s = _numbers(first, second, "FrameDuration")
    if not durations_s:
        return

    if abs(durations_s[0] - durations_s[1]) > SAME_TIME * max(durations_s):
        raise ValueError(
            f"{b}: FrameDuration: expected {durations_s[0]:g} s within {SAME_TIME:.0%} as in {a}, "
            f"got {durations_s[1]:g} s: halves hold as many events"
        )

    apart_s = _apart_s(first, second)
    longest_s = max(durations_s)
    if apart_s is not None and apart_s > longest_s * (1 + SAME_TIME) + OVERLAP_S:
        raise ValueError(
            f"{b}: starts {apart_s:g} s from {a}, which lasts {longest_s:g} s: "
            "expected halves of the same time, or of times that follow one another"
        )


def check_same_place(first: Image, second: Image, names: tuple[str, str]) -> None:
    """Raise ValueError where two images on one grid do not show the same body: their means over
    20 mm do not go together. Noise and resolution may differ.
    """
    body = _seen_body(first, second)
    kernel = _kernel(FINE_MM, first.voxel_mm)
    coarse = []
    for image in (first, second):
        mean = _mean_over(_tensor(image), kernel)[body]
        coarse.append(mean.clamp(min=0).sqrt())

    correlation = float(torch.corrcoef(torch.stack(coarse))[0, 1])
    if not correlation >= SAME_PLACE:
        raise ValueError(
            f"{names[1]}: correlation of {correlation:.2f} with {names[0]}, as means over "
            f"{FINE_MM:g} mm; expected at least {SAME_PLACE:g}: "
            "another patient, position or orientation?"
        )


def check_same_body(first: Image, second: Image, names: tuple[str, str]) -> None:
    """Raise ValueError where the difference of two images holds structures, not noise alone."""
    body = _seen_body(first, second)
    mean = (_tensor(first) + _tensor(second)) / 2

    # Noise grows with the activity: every place counts alike in units of its expected deviation.
    fine = _kernel(FINE_MM, first.voxel_mm)
    coarse = [max(n, COARSE_VOXELS) for n in _kernel(COARSE_MM, first.voxel_mm)]
    least = max(0.01 * float(np.percentile(first.data, 99)), 1e-12)
    deviation = _mean_over(mean, fine).clamp(min=least).sqrt()
    difference = (_tensor(first) - _tensor(second)) / deviation * body

    whole = float(difference[body].square().mean())
    structure = float(_mean_over(difference, coarse)[body].square().mean())
    if whole > 0 and structure > COARSE_SHARE * whole:
        raise ValueError(
            f"{names[1]}: {structure / whole:.0%} of the difference to {names[0]} is coarser "
            f"than {COARSE_MM:g} mm; expected at most {COARSE_SHARE:.0%}, as of noise alone: "
            "another patient, position, time or orientation?"
        )


def check_same_position(first: Image, second: Image, names: tuple[str, str]) -> None:
    """Raise ValueError where one of two images on one grid fits the other better when it is moved
    by a few voxels along an axis.

    Correlation of the square roots, in which the noise of counts is alike everywhere; the edges of
    the body decide. Of simulated halves it falls by 0.01 to 0.05 a voxel to either side.
    """
    a = _tensor(first).clamp(min=0).sqrt().numpy()
    b = _tensor(second).clamp(min=0).sqrt().numpy()

    margins = [FARTHEST_VOXELS, FARTHEST_VOXELS, max(FARTHEST_VOXELS, a.shape[2] // 8)]
    if any(n <= 4 * margin for n, margin in zip(a.shape, margins, strict=True)):
        return  # too small an image

    # The inner part of the first, and as much of the second from where it may belong.
    inner = _inner(a, margins, (0, 0, 0))
    in_place = _correlation(inner, _inner(b, margins, (0, 0, 0)))
    best, best_axis, best_shift = in_place + CLEARLY_BETTER, 0, 0
    for axis in range(3):
        for shift in range(-FARTHEST_VOXELS, FARTHEST_VOXELS + 1):
            shifts = [0, 0, 0]
            shifts[axis] = shift
            moved = _correlation(inner, _inner(b, margins, shifts))
            if moved > best:
                best, best_axis, best_shift = moved, axis, shift

    if best_shift != 0:
        raise ValueError(
            f"{names[1]}: fits {names[0]} better when it is moved by {-best_shift:+d} along axis "
            f"{'xyz'[best_axis]} (correlation {best:.3f}, in place {in_place:.3f}); "
            "expected halves in the same place: a shifted image, or a patient who moved?"
        )


def _inner(image: np.ndarray, margins: Sequence[int], shifts: Sequence[int]) -> np.ndarray:
    """The image without its margins, read from `shifts` voxels further on along each axis."""
    parts = []
    for n, margin, shift in zip(image.shape, margins, shifts, strict=True):
        parts.append(slice(margin + shift, n - margin + shift))

    return image[tuple(parts)]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's of all voxels; 0 where one image is constant."""
    a = a - a.mean()
    b = b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def check_independent(first: Image, second: Image, names: tuple[str, str]) -> None:
    """Raise ValueError where the noise of two images is not independent: the same data, or a part
    and its whole.
    """
    body = _seen_body(first, second)
    a = _tensor(first)
    b = _tensor(second)

    variance = float((a - b)[body].var())
    if variance <= SAME_DATA * float(a[body].var()):
        raise ValueError(
            f"{names[1]}: the same data as {names[0]}; expected halves with independent noise"
        )

    fine_kernel = [FINE_VOXELS if n >= FINE_VOXELS else 1 for n in a.shape]
    fine_a = (a - _mean_over(a, fine_kernel))[body]
    fine_b = (b - _mean_over(b, fine_kernel))[body]
    difference = fine_a - fine_b
    covariance = ((difference - difference.mean()) * (fine_a - fine_a.mean())).mean()
    share = float(covariance / difference.var().clamp(min=1e-30))

    low, high = INDEPENDENT
    if not low <= share <= high:
        raise ValueError(
            f"{names[1]}: {share:.2f} of the noise in its difference to {names[0]} comes from "
            f"there; expected {low:g} to {high:g}, as of independent halves: do the two have data "
            "in common, other counts or another filter?"
        )


def _numbers(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> list[float]:
    """What both sidecars say under a key, a list standing for its first value; empty if one does
    not.
    """
    values = []
    for sidecar in (first, second):
        value = sidecar.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, (int, float)):
            values.append(float(value))

    return values if len(values) == 2 else []


def _apart_s(first: Mapping[str, Any], second: Mapping[str, Any]) -> float | None:
    """Seconds between the starts of two images; None where one of them says too little."""
    starts = _numbers(first, second, "ScanStart")
    if not starts:
        return None

    frames = _numbers(first, second, "FrameTimesStart")
    apart = starts[1] - starts[0]
    # BIDS counts frames from TimeZero; other writers from the scan's start.
    if frames and frames != starts:
        apart += frames[1] - frames[0]

    zeros = [sidecar.get("TimeZero") for sidecar in (first, second)]
    if all(isinstance(zero, str) for zero in zeros):
        try:
            clock = [datetime.strptime(str(zero)[:8], "%H:%M:%S") for zero in zeros]
        except ValueError:
            return abs(apart)
        apart += (clock[1] - clock[0]).total_seconds()

    return min(abs(apart), abs(DAY_S - abs(apart)))


def _tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.data, np.float64))


def _seen_body(first: Image, second: Image) -> Tensor:
    """The voxels of the body in slices that are not at the axial ends, where noise explodes."""
    body = body_mask((first.data + second.data) / 2)
    edge = body.shape[2] // 8
    if edge:
        body[:, :, :edge] = False
        body[:, :, -edge:] = False

    if not body.any():
        raise ValueError("halves: nothing in the images, no voxel is above 5 % of the largest")

    return torch.from_numpy(body)


def _kernel(length_mm: float, voxel_mm: np.ndarray) -> list[int]:
    """Voxels along each axis of a box of a length, an odd number."""
    return [2 * int(length_mm / voxel / 2) + 1 for voxel in voxel_mm]


def _mean_over(image: Tensor, voxels: list[int]) -> Tensor:
    """The mean over a box around each voxel, of those that lie in the image."""
    mean = image[None, None]
    for axis, n in enumerate(voxels):
        kernel = [1, 1, 1]
        kernel[axis] = min(n, 2 * (image.shape[axis] // 2) - 1) if image.shape[axis] > 1 else 1
        padding = [k // 2 for k in kernel]
        mean = functional.avg_pool3d(mean, kernel, 1, padding, count_include_pad=False)

    return mean[0, 0]
