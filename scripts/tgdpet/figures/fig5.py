"""Fig. 5: a low-BMI study with a liver lesion and a high-BMI study, denoised by every network."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.results import INPUT, Results
from .common import (
    STUDY_NAMES,
    View,
    box_mm,
    display_limit,
    input_title,
    on_plane,
    study_title,
)
from .montage import Panel, Row, montage
from .style import RED, YELLOW, coronal

ORDER = ("v2-net", "v1-net", "FT-net", "TGD-net")


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy v2 image and the networks. Red arrow: lesion; yellow: liver noise."""
    lesion_study = results.of_role(roles.LESION)[0]
    whole_scan = results.suv(lesion_study, "v2", results.scan)
    limit = display_limit(whole_scan, results.labels(lesion_study))
    low_bmi = _row(results, roles.LESION, limit)
    high_bmi = _row(results, roles.HIGH_BMI, limit)
    return montage([low_bmi, high_bmi])


def view_of_role(results: Results, role: str) -> View:
    """The coronal plane of a role's study, through the lesion or the middle of the liver."""
    study = results.of_role(role)[0]
    labels = results.labels(study)
    voxel_mm = results.voxel_mm(study)

    lesion = labels == ORGANS["lesion"]
    target_mask = lesion if role == roles.LESION else m.liver_voi(labels, ORGANS)
    target = m.middle(target_mask)

    # As wide as the body, as high as the liver and its surroundings.
    liver = (labels == ORGANS["liver"]) | lesion
    x_range, _, _ = box_mm(m.body(labels), voxel_mm, (10, 0, 0))
    _, y_range, z_range = box_mm(liver, voxel_mm, (0, 0, 60))
    window = (x_range, y_range, z_range)

    return View(
        name=study_title(results, study, STUDY_NAMES[role]),
        study=study,
        y=int(target[1]),
        window=window,
        pixel_mm=voxel_mm[[0, 2]],
        tip=on_plane(target, window, voxel_mm),
    )


def _row(results: Results, role: str, limit: float) -> Row:
    view = view_of_role(results, role)
    sample = results.noisy(view.study)
    colour = RED if role == roles.LESION else YELLOW
    mark = (view.tip, colour, (1.0, 1.0))
    panels = []

    for network in (INPUT, *results.population(ORDER)):
        title = input_title(results, sample) if network == INPUT else network
        volume = results.suv(view.study, "v2", sample, network)
        plane = coronal(volume, view.y, view.window)
        panels.append(Panel(title, plane, [mark]))

    keys = {"study": view.study}
    return Row(view.name, panels, view.pixel_mm, limit, keys=keys)
