"""Maximum intensity projections of whole studies, before and after denoising."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.measures import Window
from ..evaluation.results import INPUT, ONLINE_BASES, Results
from .common import box_mm, display_limit, middle, on_plane, seconds_text
from .fig5 import ORDER
from .montage import Arrow, Panel, Row, montage
from .style import CORONAL_SIDES, RED, SAGITTAL_SIDES, projection

ROLES = {roles.LESION: "low BMI", roles.HIGH_BMI: "high BMI", roles.BLADDER: "bladder"}
TIMES = 3.5  # the liver's mean: projections are brighter than planes
MARGIN_MM = (10.0, 10.0, 0.0)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Rows: each test study from the front and from the right. Columns: noisy image, networks,
    whole scan.
    """
    present = {s.role for s in results.studies}
    studies = {role: results.of_role(role)[0] for role in ROLES if role in present}
    lesion = results.of_role(roles.LESION)[0]
    limit = display_limit(results.suv(lesion, "v2", results.scan), results.labels(lesion), TIMES)
    window = _window(results, list(studies.values()))
    rows = [
        row for role, study in studies.items() for row in _rows(results, role, study, window, limit)
    ]
    return montage(rows)


def _window(results: Results, studies: Sequence[str]) -> Window:
    """One window around all bodies, as wide along x as along y, so that all panels have one scale
    in mm.

    Slices that few lines of response cross are left out: their noise is the maximum of every line
    that meets them.
    """
    boxes = [box_mm(m.body(results.labels(s)), results.voxel_mm(s), MARGIN_MM) for s in studies]
    x, y, z = (
        slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes))
        for axis in range(3)
    )
    wide = slice(min(x.start, y.start), max(x.stop, y.stop))
    seen = m.well_seen(min(results.labels(s).shape[2] for s in studies))
    return wide, wide, slice(max(z.start, seen.start), min(z.stop, seen.stop))


def _rows(results: Results, role: str, study: str, window: Window, limit: float) -> Iterator[Row]:
    sample, voxel = results.noisy(study), results.voxel_mm(study)
    online = role == roles.BLADDER
    networks = (
        (*results.population(ONLINE_BASES), *results.online())
        if online
        else tuple(results.population(ORDER))
    )
    images = [(f"input, {seconds_text(results, sample)}", sample, INPUT)]
    images += [(n, sample, n) for n in networks]
    images.append((seconds_text(results, results.scan), results.scan, INPUT))
    views: dict[int, list[Panel]] = {1: [], 0: []}
    lesion = results.labels(study) == ORGANS["lesion"]
    marks: list[Arrow] = []
    if role == roles.LESION:
        marks.append((on_plane(middle(lesion), window, voxel), RED, (1.0, 1.0)))
    for title, name, network in images:
        volume = results.suv(study, "v2", name, network)
        for axis, panels in views.items():
            panels.append(
                Panel(title, projection(volume, axis, window), marks if axis == 1 else ())
            )
    bmi = next(s.bmi for s in results.studies if s.study == study)
    first = ROLES[role] if online else f"{ROLES[role]}\n{bmi:g} kg/m²"
    keys = {"study": study}
    yield Row(
        first, views[1], voxel[[0, 2]], limit, sides=CORONAL_SIDES, keys=keys | {"view": "coronal"}
    )
    yield Row(
        "",
        views[0],
        voxel[[1, 2]],
        limit,
        titled=False,
        sides=SAGITTAL_SIDES,
        keys=keys | {"view": "sagittal"},
    )
