"""The page of one adaptation: a viewer of input, before, after and difference, and what was
retrained.

One file that opens offline: style, NiiVue and the images themselves lie inside.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..dataset.body import body_mask
from ..io.nifti import Image, suv_factor
from ..networks.domain import relative_noise
from ..networks.weights import Card
from ..training.bit_comparison import BitComparison
from .templates import environment

TEMPLATE = "adaptation.html.j2"
SCRIPT = "adaptation.js"
VIEWER = "niivue/niivue.umd.js"

MOST_VOXELS = 1_000_000  # of an image in the page: three of them and the viewer stay below 12 MB
LARGEST_STORED = 32767  # signed 16 bit
MARGIN_VOXELS = 2  # of air kept around the body
START_MM = 15.0  # the largest change is looked for in means over this length

CURVE_WIDTH = 640  # of the plot of the training's log, pixels
CURVE_HEIGHT = 180


@dataclass(frozen=True)
class Adaptation:
    """What a page shows: the `image` that was denoised, `before` and `after` the adaptation (X, Y,
    Z) in Bq/mL, the networks' cards, the run's `numbers`, its `log` and the bits compared.
    """

    image: Image
    before: np.ndarray
    after: np.ndarray
    label: str
    base: Card
    card: Card
    numbers: Mapping[str, Any]
    log: Path
    comparison: BitComparison
    seconds: float


def page(adaptation: Adaptation) -> str:
    """The page as HTML."""
    here = Path(__file__).parent
    shown = _shown(adaptation)

    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            adaptation=adaptation,
            shown=shown,
            images=_whole_image_rows(adaptation),
            curve=_curve(adaptation.log),
            settings=_settings(adaptation),
            viewer=(here / VIEWER).read_text(encoding="utf-8"),
            script=(here / SCRIPT).read_text(encoding="utf-8"),
        )
    )


def _shown(adaptation: Adaptation) -> dict[str, Any]:
    """The images of the viewer: cropped to the body, coarser where they are large, on one scale of
    stored values; where to start, and the window in Bq/mL.
    """
    image = adaptation.image
    volumes = [image.data, adaptation.before, adaptation.after]

    box = _body_box(image.data)
    affine = image.affine.copy()
    affine[:3, 3] = affine[:3] @ [*(part.start for part in box), 1]
    cropped = [np.asarray(volume[box], np.float64) for volume in volumes]

    step = _step(cropped[0].shape)
    coarse = [_block_means(volume, step) for volume in cropped]
    affine[:3, 3] += affine[:3, :3] @ ((np.array(step) - 1) / 2)
    affine[:3, :3] *= step

    slope = max(float(np.abs(volume).max()) for volume in coarse) / LARGEST_STORED or 1.0
    voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    window_bqml = float(np.percentile(coarse[0], 99.5)) or 1.0

    try:
        suv_bqml = suv_factor(image.sidecar)
    except ValueError:
        suv_bqml = None

    return {
        "volumes": [_encoded(volume, affine, slope) for volume in coarse],
        "slope": slope,
        "voxel_mm": [round(float(size), 3) for size in voxel_mm],
        "step": step,
        "start": _largest_change(coarse[1], coarse[2], voxel_mm),
        "window_bqml": window_bqml,
        "suv_bqml": suv_bqml,
    }


def _body_box(data: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box that holds the body, and a margin."""
    body = body_mask(data)
    parts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(body.any(axis=others))
        if not filled.size:
            filled = np.arange(data.shape[axis])

        first = max(0, int(filled[0]) - MARGIN_VOXELS)
        last = min(data.shape[axis], int(filled[-1]) + 1 + MARGIN_VOXELS)
        parts.append(slice(first, last))

    return parts[0], parts[1], parts[2]


def _step(shape: Sequence[int]) -> list[int]:
    """How many voxels along each axis are averaged, so that at most `MOST_VOXELS` are shown."""
    step = 1
    while math.prod(max(1, n // step) for n in shape) > MOST_VOXELS:
        step += 1

    return [min(step, n) for n in shape]


def _block_means(volume: np.ndarray, step: Sequence[int]) -> np.ndarray:
    """Means over blocks; what is left at the ends is left out."""
    whole = [n // s * s for n, s in zip(volume.shape, step, strict=True)]
    trimmed = volume[: whole[0], : whole[1], : whole[2]]
    blocks = []
    for n, s in zip(whole, step, strict=True):
        blocks += [n // s, s]

    return np.asarray(trimmed.reshape(blocks).mean(axis=(1, 3, 5)))


def _encoded(volume: np.ndarray, affine: np.ndarray, slope: float) -> str:
    """A gzipped NIfTI file of 16-bit values, in base 64."""
    stored = np.rint(volume / slope).astype(np.int16)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, 0)

    compressed = gzip.compress(image.to_bytes(), mtime=0)
    return base64.b64encode(compressed).decode("ascii")


def _largest_change(before: np.ndarray, after: np.ndarray, voxel_mm: np.ndarray) -> list[int]:
    """The voxel around which the adaptation changed most, in means over `START_MM`."""
    change = after - before
    step = []
    for n, size_mm in zip(change.shape, voxel_mm, strict=True):
        step.append(max(1, min(n, round(START_MM / size_mm))))

    means = np.abs(_block_means(change, step))

    # Not in the slices at the ends, where noise explodes.
    edge = means.shape[2] // 6
    if edge:
        means[:, :, :edge] = 0
        means[:, :, -edge:] = 0

    block = np.unravel_index(int(means.argmax()), means.shape)
    return [int(b) * s + s // 2 for b, s in zip(block, step, strict=True)]


def _whole_image_rows(adaptation: Adaptation) -> list[tuple[str, str, str]]:
    """Mean of the body and noise between slices of each image, at full resolution."""
    body = body_mask(adaptation.image.data)
    images = {
        "input": adaptation.image.data,
        "before": adaptation.before,
        "after": adaptation.after,
    }
    rows = []
    for name, data in images.items():
        mean = f"{float(data[body].mean()):,.0f}"
        rows.append((name, mean, f"{relative_noise(data):.2%}"))

    return rows


def _settings(adaptation: Adaptation) -> list[tuple[str, str]]:
    card = adaptation.card
    numbers = adaptation.numbers
    settings = card.settings
    method = "Targeted Gradient Descent" if settings.get("method") == "tgd" else "fine-tuning"
    rows = [
        ("image", adaptation.label),
        ("network", f"{card.network}, from {' → '.join(card.parents)}"),
        ("method", method),
    ]

    if settings.get("method") == "tgd":
        if settings.get("fraction") is not None:
            chosen = f"the {settings['fraction']:.0%} of kernels with the lowest KSE"
            if settings.get("fraction_of") == "alive":
                chosen = f"dead kernels, and of the others {chosen}"
        else:
            chosen = f"kernels with a KSE below {settings['phi']:g}"
        if settings.get("keep_blocks"):
            chosen += f"; none of the first {settings['keep_blocks']} blocks"
        rows.append(("retrained", chosen))
    else:
        rows.append(("retrained", f"the last {settings['blocks']} blocks"))

    rows += [
        ("epochs", f"{settings['epochs']}, patches of {settings['patch']} voxels"),
        ("seed", str(numbers["provenance"]["seed"])),
        ("computed on", f"{numbers['provenance']['device']}, {adaptation.seconds:.0f} s in all"),
        ("tgdpet", f"{numbers['provenance']['software']['tgdpet']}"),
    ]
    return rows


def _curve(log: Path) -> dict[str, Any]:
    """The training loss over the steps as points of a plot, and its ends in words."""
    with io.StringIO(log.read_text(encoding="utf-8")) as file:
        rows = list(csv.DictReader(file))

    steps = [int(row["step"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]
    if not losses:
        return {"points": "", "steps": 0}

    low = min(losses)
    span = max(losses) - low or 1.0
    points = []
    for step, loss in zip(steps, losses, strict=True):
        x = CURVE_WIDTH * step / steps[-1]
        y = CURVE_HEIGHT * (1 - (loss - low) / span)
        points.append(f"{x:.1f},{y:.1f}")

    return {
        "points": " ".join(points),
        "steps": steps[-1],
        "first": losses[0],
        "last": losses[-1],
        "low": low,
        "high": max(losses),
        "width": CURVE_WIDTH,
        "height": CURVE_HEIGHT,
    }
