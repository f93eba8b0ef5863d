"""What the figures read: images in SUV, labels, metrics and tables of one results folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.measures import Window
from ..evaluation.results import INPUT, PAPER_NETWORKS, PAPER_ONLINE, Results, Volume
from .style import GREY, PALETTE, Numbers, Plane


@dataclass(frozen=True)
class View:
    """A coronal plane of a study: its name, index `y`, window, pixels in mm, and where an arrow
    points.
    """

    name: str
    study: str
    y: int
    window: Window
    pixel_mm: npt.NDArray[np.floating]
    tip: tuple[float, float]


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each network, the same in every figure; grey for the input and black for the
    reference.
    """
    fixed = dict(zip((*PAPER_NETWORKS, *PAPER_ONLINE), PALETTE, strict=False)) | {INPUT: GREY}
    spare = iter(PALETTE * len(names))
    return {name: fixed.get(name) or next(spare) for name in names}


def seconds_text(results: Results, sample: str) -> str:
    """How long a sample was scanned, in words for a title."""
    if sample.startswith("real"):
        return f"{results.config.simulation.scan_s / results.config.sampling.realisations:g} s"
    return f"{sample.removesuffix('s')} s"


def middle(mask: m.Mask) -> npt.NDArray[np.int_]:
    """Voxel nearest to a mask's centre of mass."""
    return np.rint(np.argwhere(mask).mean(axis=0)).astype(int)


def box_mm(mask: m.Mask, voxel_mm: npt.NDArray[np.floating], margin_mm: Sequence[float]) -> Window:
    """Bounding box of a mask, grown by `margin_mm` along x, y, z, within the grid and without its
    noisy end slices.
    """
    grown = []
    edge = m.edge_slices(mask.shape[2])
    for axis, box in enumerate(m.bounding_box(mask)):
        extra = int(round(margin_mm[axis] / float(voxel_mm[axis])))
        low, high = (edge, mask.shape[2] - edge) if axis == 2 else (0, mask.shape[axis])
        grown.append(slice(max(box.start - extra, low), min(box.stop + extra, high)))
    x, y, z = grown
    return x, y, z


def on_plane(voxel: Numbers, window: Window, voxel_mm: Numbers) -> tuple[float, float]:
    """Position in mm on the coronal plane that `style.coronal` cuts, of a voxel (x, y, z)."""
    return (window[0].stop - voxel[0] - 0.5) * voxel_mm[0], (
        voxel[2] - window[2].start + 0.5
    ) * voxel_mm[2]


def display_limit(volume: Volume, labels: m.Labels, times: float = 2.2) -> float:
    """Upper end of the SUV scale: a multiple of the liver's mean, rounded to 0.5 (the bladder may
    saturate).
    """
    mean = float(volume[labels == ORGANS["liver"]].mean())
    return max(0.5, round(times * mean * 2) / 2)


def plane_rows(plane: Plane, panel: str, **keys: str) -> pd.DataFrame:
    """A panel's pixels as a table: panel, row (from the feet up), column (from the left of the
    picture), suv.
    """
    row, column = np.indices(plane.shape)
    suv = plane.ravel().astype(float).round(4)
    return pd.DataFrame(
        {"panel": panel, **keys, "row": row.ravel(), "column": column.ravel(), "suv": suv}
    )
