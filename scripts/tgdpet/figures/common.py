"""What several figures share: planes, windows, colours and titles of one results folder."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.measures import Window
from ..evaluation.results import INPUT, PAPER_NETWORKS, PAPER_ONLINE, Results, Volume
from .style import GREY, PALETTE, Numbers, Plane

DOSE_LEVEL = re.compile(r"1in\d+")
# How the test studies are called in figures.
STUDY_NAMES = {
    roles.LESION: "low BMI",
    roles.HIGH_BMI: "high BMI",
    roles.BLADDER: "bladder",
}


@dataclass(frozen=True)
class View:
    """A coronal plane of a study: its name, index `y`, window, and pixels in mm.

    `tip`: where an arrow points, mm on the plane.
    """

    name: str
    study: str
    y: int
    window: Window
    pixel_mm: npt.NDArray[np.floating]
    tip: tuple[float, float]


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each network, the same in every figure; grey for the input."""
    papers = (*PAPER_NETWORKS, *PAPER_ONLINE)
    fixed = dict(zip(papers, PALETTE, strict=False))
    fixed[INPUT] = GREY
    spare = iter(PALETTE * len(names))
    return {name: fixed.get(name) or next(spare) for name in names}


def seconds_text(results: Results, sample: str) -> str:
    """How long a sample was scanned, or at which share of the dose, for a title."""
    if roles.REALISATION.fullmatch(sample):
        seconds = results.config.simulation.scan_s / results.config.sampling.realisations
        return f"{seconds:g} s"

    if DOSE_LEVEL.fullmatch(sample):
        return f"dose {sample.replace('in', '/')}"

    number = sample.removesuffix("s")
    return f"{number} s" if number != sample else sample


def input_title(results: Results, sample: str) -> str:
    """The title of a noisy input."""
    return f"input, {seconds_text(results, sample)}"


def study_title(results: Results, study: str, name: str) -> str:
    """A study's name over its patient's BMI."""
    row = next(s for s in results.studies if s.study == study)
    if math.isnan(row.bmi):  # a study of images
        return study

    return f"{name}\n{row.bmi:g} kg/m²"


def box_mm(mask: m.Mask, voxel_mm: npt.NDArray[np.floating], margin_mm: Sequence[float]) -> Window:
    """Bounding box of a mask, grown by `margin_mm` along x, y, z.

    Within the grid and without its noisy end slices.
    """
    end = m.edge_slices(mask.shape[2])
    grown = []

    for axis, box in enumerate(m.bounding_box(mask)):
        voxels = margin_mm[axis] / float(voxel_mm[axis])
        margin = int(round(voxels))
        skipped = end if axis == 2 else 0
        low = max(box.start - margin, skipped)
        high = min(box.stop + margin, mask.shape[axis] - skipped)
        grown.append(slice(low, high))

    x, y, z = grown
    return x, y, z


def on_plane(voxel: Numbers, window: Window, voxel_mm: Numbers) -> tuple[float, float]:
    """Position in mm on the coronal plane that `style.coronal` cuts, of a voxel (x, y, z)."""
    x_range, _, z_range = window
    from_left = x_range.stop - voxel[0] - 0.5
    from_feet = voxel[2] - z_range.start + 0.5
    return from_left * voxel_mm[0], from_feet * voxel_mm[2]


def display_limit(volume: Volume, labels: m.Labels, times: float = 2.2) -> float:
    """Upper end of the SUV scale: a multiple of the liver's mean, and no less than the lesion's
    maximum, rounded up to 0.5.

    The bladder may saturate. Without a labelled liver it is the body's 99th percentile.
    """
    liver = volume[labels == ORGANS["liver"]]
    highest = times * float(liver.mean()) if liver.size else np.percentile(volume[labels > 0], 99)

    lesion = volume[labels == ORGANS["lesion"]]
    if lesion.size:
        highest = max(highest, float(lesion.max()))

    return max(0.5, math.ceil(float(highest) * 2) / 2)


def plane_rows(plane: Plane, panel: str, **keys: str) -> pd.DataFrame:
    """A panel's pixels as a table: panel, row (from the feet up), column (from the left), suv."""
    row, column = np.indices(plane.shape)
    return pd.DataFrame(
        {
            "panel": panel,
            **keys,
            "row": row.ravel(),
            "column": column.ravel(),
            "suv": plane.ravel().astype(float).round(4),
        }
    )
