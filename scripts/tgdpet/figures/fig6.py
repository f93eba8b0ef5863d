"""Fig. 6: a bladder unlike any trained on, before and after online learning on the study itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from scipy import ndimage

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.evaluate import RIM_VOXELS
from ..evaluation.results import INPUT, ONLINE_BASES, Results
from .common import View, box_mm, display_limit, input_title, on_plane, seconds_text
from .montage import Arrow, Panel, Row, differences, montage
from .style import RED, Plane, coronal

AROUND_ORGAN_MM = (75.0, 0.0, 90.0)
SATURATED_LIMIT = 2.5  # times the liver's mean: the organ saturates, artifacts lie around it


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy image, networks, networks after online learning, whole scan.

    Below: minus the whole scan.
    """
    return montage(online_rows(results, roles.BLADDER, "bladder", "bladder_error"))


def view_of_organ(results: Results, role: str, organ: str) -> View:
    """The coronal plane of an online-learning study through an organ's middle."""
    study = results.of_role(role)[0]
    labels = results.labels(study)
    voxel_mm = results.voxel_mm(study)

    target = m.organ(labels, ORGANS, organ)
    bladder = labels == ORGANS["bladder"]
    window = box_mm(target | bladder, voxel_mm, AROUND_ORGAN_MM)
    centre = m.middle(target)

    return View(
        name=organ,
        study=study,
        y=int(centre[1]),
        window=window,
        pixel_mm=voxel_mm[[0, 2]],
        tip=on_plane(centre, window, voxel_mm),
    )


def online_rows(results: Results, role: str, organ: str, measure: str) -> list[Row]:
    """Activity and error of an online-learning study, with the error around the organ in titles."""
    view = view_of_organ(results, role, organ)
    study = view.study
    labels = results.labels(study)
    sample = results.noisy(study)

    whole_scan = results.suv(study, "v2", results.scan)
    reference = coronal(whole_scan, view.y, view.window)
    networks = (INPUT, *results.population(ONLINE_BASES), *results.online())
    planes = {}

    for network in networks:
        volume = results.suv(study, "v2", sample, network)
        planes[network] = coronal(volume, view.y, view.window)

    # All panels point at the largest error before online learning.
    target = m.organ(labels, ORGANS, organ)
    around = m.with_rim(target, RIM_VOXELS)
    near = coronal(around, view.y, view.window) > 0
    base_errors = [planes[n] - reference for n in results.population(ONLINE_BASES)]
    mark = _arrow_at_largest_error(base_errors, near, view.pixel_mm)

    panels = []

    for network, plane in planes.items():
        name = input_title(results, sample) if network == INPUT else network
        error = results.measured(measure, role, network, study=study)
        cov = results.measured("liver_cov_spatial", role, network, study=study)
        liver = "" if np.isnan(cov) else f"liver CoV {cov:.1f} %"
        panels.append(Panel(f"{name}\nerror {error:.1f} %\n{liver}", plane, [mark]))

    scan_title = f"{seconds_text(results, results.scan)}\n(reference)\n"
    panels.append(Panel(scan_title, reference, [mark]))

    limit = display_limit(whole_scan, labels, SATURATED_LIMIT)
    keys = {"study": study}
    row = Row("activity", panels, view.pixel_mm, limit, keys=keys)

    last = len(panels) - 1
    errors = differences(row, reference, "error", leave_out=(last,))
    return [row, errors]


def _arrow_at_largest_error(
    errors: Sequence[Plane], near: npt.NDArray[np.bool_], pixel_mm: npt.NDArray[np.floating]
) -> Arrow:
    """An arrow from above at the largest mean error of some networks, in the organ's upper half.

    near: the organ and its rim in the plane. The arrow comes along the outward normal and ends at
    the rim.
    """
    row, column = _largest_error(errors, near)
    outward = _outward_normal(near, row, column)
    start = np.array([row, column], float)
    tip_row, tip_column = _leave(near, start, outward)

    x_mm = (tip_column + 0.5) * pixel_mm[0]
    y_mm = (tip_row + 0.5) * pixel_mm[1]
    up, sideways = outward
    return (x_mm, y_mm), RED, (sideways, up)


def _largest_error(errors: Sequence[Plane], near: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the largest smoothed error, in the upper half of `near`."""
    rows = np.arange(len(near))[:, None]
    middle_row = np.flatnonzero(near.any(axis=1)).mean()
    upper = near & (rows >= middle_row)

    smoothed = [ndimage.uniform_filter(np.abs(error), 3) for error in errors]
    strength = np.mean(smoothed, axis=0)
    largest = np.argmax(np.where(upper, strength, -1))
    row, column = np.unravel_index(largest, near.shape)
    return int(row), int(column)


def _outward_normal(near: npt.NDArray[np.bool_], row: int, column: int) -> npt.NDArray[np.floating]:
    """Unit vector (row, column) down the slope of a mask, and never from below."""
    smooth = ndimage.gaussian_filter(near.astype(float), 2.5)
    slope_rows, slope_columns = np.gradient(smooth)
    up = -slope_rows[row, column]
    sideways = -slope_columns[row, column]

    at_least = max(0.3 * abs(sideways), 1e-6)
    outward = np.array([max(up, at_least), sideways])
    return np.asarray(outward / np.linalg.norm(outward))


def _leave(
    near: npt.NDArray[np.bool_],
    start: npt.NDArray[np.floating],
    outward: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """The first point from `start` along `outward`, by half pixels, that is not in the mask."""
    last_pixel = np.array(near.shape) - 1
    last_row = last_pixel[0]
    point = start.copy()

    while point[0] < last_row:
        nearest = np.rint(point)
        row, column = np.clip(nearest, 0, last_pixel).astype(int)

        if not near[row, column]:
            break

        point += outward / 2

    return point
