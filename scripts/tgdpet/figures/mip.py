"""Maximum intensity projections of whole studies, before and after denoising."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.measures import Window
from ..evaluation.results import INPUT, ONLINE_BASES, Results
from .common import (
    STUDY_NAMES,
    box_mm,
    display_limit,
    input_title,
    on_plane,
    seconds_text,
    study_title,
)
from .fig5 import ORDER
from .montage import Arrow, Panel, Row, montage
from .style import CORONAL_SIDES, RED, SAGITTAL_SIDES, projection

PROJECTION_LIMIT = 3.5  # times the liver's mean: projections are brighter than planes
AROUND_BODY_MM = (10.0, 10.0, 0.0)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Rows: each test study from the front and from the right.

    Columns: noisy image, networks, whole scan.
    """
    present = {study.role for study in results.studies}
    studies = {role: results.of_role(role)[0] for role in STUDY_NAMES if role in present}

    lesion_study = results.of_role(roles.LESION)[0]
    whole_scan = results.suv(lesion_study, "v2", results.scan)
    limit = display_limit(whole_scan, results.labels(lesion_study), PROJECTION_LIMIT)

    window = _window(results, list(studies.values()))
    rows = []

    for role, study in studies.items():
        rows += _rows(results, role, study, window, limit)

    return montage(rows)


def _window(results: Results, studies: Sequence[str]) -> Window:
    """One window around all bodies, as wide along x as along y: all panels have one scale in mm.

    Slices that few lines of response cross are left out: their noise is the maximum of every line
    that meets them.
    """
    boxes = []

    for study in studies:
        body = m.body(results.labels(study))
        boxes.append(box_mm(body, results.voxel_mm(study), AROUND_BODY_MM))

    # Smallest and largest voxel of all boxes along each axis.
    lows = [min(box[axis].start for box in boxes) for axis in range(3)]
    highs = [max(box[axis].stop for box in boxes) for axis in range(3)]
    wide = slice(min(lows[:2]), max(highs[:2]))

    n_slices = min(results.labels(study).shape[2] for study in studies)
    seen = m.well_seen(n_slices)
    bottom = max(lows[2], seen.start)
    top = min(highs[2], seen.stop)
    return wide, wide, slice(bottom, top)


def _rows(results: Results, role: str, study: str, window: Window, limit: float) -> list[Row]:
    """A study's coronal and sagittal projections."""
    sample = results.noisy(study)
    voxel_mm = results.voxel_mm(study)
    online = role == roles.BLADDER

    if online:
        networks = [*results.population(ONLINE_BASES), *results.online()]
    else:
        networks = results.population(ORDER)

    images = [(input_title(results, sample), sample, INPUT)]
    images += [(network, sample, network) for network in networks]
    images.append((seconds_text(results, results.scan), results.scan, INPUT))

    marks: list[Arrow] = []

    if role == roles.LESION:
        lesion = m.middle(results.labels(study) == ORGANS["lesion"])
        tip_mm = on_plane(lesion, window, voxel_mm)
        marks.append((tip_mm, RED, (1.0, 1.0)))

    coronal_panels = []
    sagittal_panels = []

    for title, name, network in images:
        volume = results.suv(study, "v2", name, network)
        coronal_panels.append(Panel(title, projection(volume, 1, window), marks))
        sagittal_panels.append(Panel(title, projection(volume, 0, window)))

    name = STUDY_NAMES[role]
    coronal = Row(
        name if online else study_title(results, study, name),
        coronal_panels,
        pixel_mm=voxel_mm[[0, 2]],
        limit=limit,
        sides=CORONAL_SIDES,
        keys={"study": study, "view": "coronal"},
    )
    sagittal = Row(
        "",
        sagittal_panels,
        pixel_mm=voxel_mm[[1, 2]],
        limit=limit,
        titled=False,
        sides=SAGITTAL_SIDES,
        keys={"study": study, "view": "sagittal"},
    )
    return [coronal, sagittal]
