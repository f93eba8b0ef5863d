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
from .common import View, box_mm, display_limit, middle, seconds_text
from .montage import Arrow, Panel, Row, differences, montage
from .style import RED, Plane, coronal

MARGIN_MM = (75.0, 0.0, 90.0)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy image, networks, networks after online learning, whole scan; below: minus the
    whole scan.
    """
    return montage(online_rows(results, roles.BLADDER, "bladder", "bladder_error"))


def view(results: Results, role: str, organ: str) -> View:
    """The coronal plane of an online-learning study that is shown; the arrow's place is the organ's
    middle.
    """
    study = results.of_role(role)[0]
    labels, voxel = results.labels(study), results.voxel_mm(study)
    target = m.organ(labels, ORGANS, organ)
    window = box_mm(target | (labels == ORGANS["bladder"]), voxel, MARGIN_MM)
    centre = middle(target)
    return View(
        organ, study, int(centre[1]), window, voxel[[0, 2]], (float(centre[0]), float(centre[2]))
    )


def online_rows(results: Results, role: str, organ: str, measure: str) -> list[Row]:
    """Activity and error of one online-learning study, with the error around the organ in the
    titles.
    """
    shown = view(results, role, organ)
    study, sample, labels = shown.study, results.noisy(shown.study), results.labels(shown.study)
    whole = results.suv(study, "v2", results.scan)
    limit = display_limit(whole, labels, times=2.5)  # the organ saturates: artifacts lie around it
    reference = coronal(whole, shown.y, shown.window)
    networks = (INPUT, *results.population(ONLINE_BASES), *results.online())
    planes = {
        n: coronal(results.suv(study, "v2", sample, n), shown.y, shown.window) for n in networks
    }
    target = m.with_rim(m.organ(labels, ORGANS, organ), RIM_VOXELS)
    bases = [planes[n] - reference for n in results.population(ONLINE_BASES)]
    mark = _worst(bases, coronal(target, shown.y, shown.window) > 0, shown.pixel_mm)
    panels = []
    for network, plane in planes.items():
        name = f"input, {seconds_text(results, sample)}" if network == INPUT else network
        value = results.measured(measure, role, network, study=study)
        cov = results.measured("liver_cov_spatial", role, network, study=study)
        liver = f"liver CoV {cov:.1f} %" if cov == cov else ""
        panels.append(Panel(f"{name}\nerror {value:.1f} %\n{liver}", plane, [mark]))
    panels.append(Panel(f"{seconds_text(results, results.scan)}\n(reference)\n", reference, [mark]))
    row = Row("activity", panels, shown.pixel_mm, limit, keys={"study": study})
    return [row, differences(row, reference, "error", leave_out=(len(panels) - 1,))]


def _worst(
    errors: Sequence[Plane], near: npt.NDArray[np.bool_], pixel_mm: npt.NDArray[np.floating]
) -> Arrow:
    """An arrow from above at the largest error of the networks before online learning, in the
    organ's upper half.

    near: the organ and its rim in the plane. The arrow comes along the outward normal and ends at
    the rim.
    """
    rows = np.flatnonzero(near.any(axis=1))
    upper = near & (np.arange(len(near))[:, None] >= rows.mean())
    strength = np.mean([ndimage.uniform_filter(np.abs(e), 3) for e in errors], axis=0)
    at = np.array(np.unravel_index(np.argmax(np.where(upper, strength, -1)), near.shape), float)
    slope = [
        -g[tuple(at.astype(int))]
        for g in np.gradient(ndimage.gaussian_filter(near.astype(float), 2.5))
    ]
    outward = np.array([max(slope[0], 0.3 * abs(slope[1]), 1e-6), slope[1]])
    outward /= np.linalg.norm(outward)
    while (
        near[tuple(np.clip(np.rint(at), 0, np.array(near.shape) - 1).astype(int))]
        and at[0] < len(near) - 1
    ):
        at += outward / 2
    return ((at[1] + 0.5) * pixel_mm[0], (at[0] + 0.5) * pixel_mm[1]), RED, (outward[1], outward[0])
