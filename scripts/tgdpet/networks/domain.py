"""What images a network knows, and how far a new one is from them.

Kept in a network's card, measured on the noisy images that it was trained on. What is far is said
with numbers: a network's output on such an image shows no sign of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..dataset.body import body_mask
from ..io.nifti import Image

SAME_VOXEL = 0.01  # relative difference of voxel sizes that counts as none
OTHER_VOXEL = 1.5  # ratio of voxel sizes beyond which an image is refused
FAR = 1.5  # ratio beyond the range of noise, or of intensities, that a network knows
MAD_TO_SD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Domain:
    """Ranges over a network's training images; an empty list is not known.

    `voxel_mm` are along x, y, z; `noise` the lowest and highest `relative_noise`, `p99_bqml` the
    same of the body's 99th percentile, `frame_s` of the durations, `dose_mbq` of injected
    activities. `tracers` and `sources` (scanner or simulation) are names.
    """

    voxel_mm: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    p99_bqml: list[float] = field(default_factory=list)
    frame_s: list[float] = field(default_factory=list)
    dose_mbq: list[float] = field(default_factory=list)
    tracers: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[Any]]:
        """What is known, for a card."""
        return {key: value for key, value in asdict(self).items() if value}


def from_card(content: Mapping[str, Any]) -> Domain:
    """The domain that a card holds; an empty one where it holds none, keys of newer versions left
    out.
    """
    known = Domain.__dataclass_fields__
    return Domain(**{key: list(value) for key, value in content.items() if key in known})


def of_images(images: Iterable[Image]) -> Domain:
    """The domain of noisy images, which are on grids of one voxel size."""
    spanned = Domain()
    for image in images:
        spanned = united(spanned, of_image(image))

    return spanned


def of_image(image: Image) -> Domain:
    """What one image says of a domain."""
    beside = image.sidecar
    frame_s = _first_number(beside.get("FrameDuration"))
    dose_mbq = _first_number(beside.get("InjectedRadioactivity"))
    noise = round(relative_noise(image.data), 4)
    p99_bqml = round(float(np.percentile(image.data[body_mask(image.data)], 99)), 1)

    return Domain(
        voxel_mm=[round(float(size), 4) for size in image.voxel_mm],
        noise=[noise, noise],
        p99_bqml=[p99_bqml, p99_bqml],
        frame_s=[frame_s, frame_s] if frame_s else [],
        dose_mbq=[round(dose_mbq, 1)] * 2 if dose_mbq else [],
        tracers=_name(beside.get("TracerName")),
        sources=_source(beside),
    )


def united(first: Domain, second: Domain) -> Domain:
    """The domain that spans two: of an adapted network, its base's and that of its new images."""
    ranges = {}
    for key in ("noise", "p99_bqml", "frame_s", "dose_mbq"):
        values = [*getattr(first, key), *getattr(second, key)]
        ranges[key] = [min(values), max(values)] if values else []

    names = {}
    for key in ("tracers", "sources"):
        names[key] = list(dict.fromkeys([*getattr(first, key), *getattr(second, key)]))

    return Domain(voxel_mm=second.voxel_mm or first.voxel_mm, **ranges, **names)


def relative_noise(data: np.ndarray) -> float:
    """Noise of an image (X, Y, Z) relative to the body's mean, as neighbouring slices differ.

    The robust standard deviation of I(z) - (I(z - 1) + I(z + 1)) / 2, times sqrt(2 / 3), which
    makes it that of I where the noise of slices is independent; noise that the reconstruction
    correlates between slices counts for less. Comparable between images of one kind.
    """
    if data.shape[2] < 3:
        return 0.0

    curvature = data[:, :, 1:-1] - (data[:, :, :-2] + data[:, :, 2:]) / 2
    body = body_mask(data)
    inner = body[:, :, 1:-1]
    if not inner.any():
        return 0.0

    deviation = MAD_TO_SD * float(np.median(np.abs(curvature[inner])))
    return deviation * float(np.sqrt(2 / 3)) / float(data[body].mean())


def refused_voxels(known: Domain, image: Image) -> str | None:
    """Why a network of this domain does not fit an image's voxels at all; None where it may."""
    if not known.voxel_mm:
        return None

    ratios = image.voxel_mm / np.array(known.voxel_mm)
    if ratios.max() <= OTHER_VOXEL and ratios.min() >= 1 / OTHER_VOXEL:
        return None

    sizes = f"expected voxels of {_size(known.voxel_mm)} mm, got {_size(image.voxel_mm)} mm"
    return f"{sizes}: resample the image, or give --any-voxels"


def far(known: Domain, image: Image) -> list[str]:
    """In what an image is far from a domain, with numbers; a network without one knows nothing."""
    measured = of_image(image)
    remarks = []

    if known.voxel_mm:
        ratios = image.voxel_mm / np.array(known.voxel_mm)
        if np.abs(ratios - 1).max() > SAME_VOXEL:
            sizes = f"{_size(image.voxel_mm)} mm, trained on {_size(known.voxel_mm)} mm"
            remarks.append(f"voxels of {sizes}")

    if known.noise and not _near(measured.noise[0], known.noise):
        low, high = known.noise
        trained = f"trained on {low:.1%} to {high:.1%}"
        remarks.append(f"noise of {measured.noise[0]:.1%} between slices, {trained}")

    if known.p99_bqml and not _near(measured.p99_bqml[0], known.p99_bqml):
        low, high = known.p99_bqml
        trained = f"trained on {low:.0f} to {high:.0f} Bq/mL"
        remarks.append(f"99th percentile of {measured.p99_bqml[0]:.0f} Bq/mL, {trained}")

    if known.tracers and set(measured.tracers) - set(known.tracers):
        trained = ", ".join(known.tracers)
        remarks.append(f"tracer {', '.join(measured.tracers)}, trained on {trained}")

    return remarks


def _near(value: float, limits: list[float]) -> bool:
    low, high = limits
    return low / FAR <= value <= high * FAR


def _size(voxel_mm: Iterable[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in voxel_mm)


def _first_number(value: Any) -> float | None:
    value = value[0] if isinstance(value, list) and value else value
    return float(value) if isinstance(value, (int, float)) else None


def _source(beside: Mapping[str, Any]) -> list[str]:
    """Maker and model in one name, of which what is not known is left out."""
    words = [str(beside.get(key) or "") for key in ("Manufacturer", "ManufacturersModelName")]
    return _name(" ".join(word for word in words if word not in ("", "n/a", "unknown")))


def _name(value: Any) -> list[str]:
    return [str(value)] if value else []
