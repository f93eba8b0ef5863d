"""Fig. 5: a low-BMI study with a liver lesion and a high-BMI study, denoised by every network."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.results import INPUT, Results
from .absent import shown_roles
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
    shown = shown_roles(results)
    first_study = results.of_role(shown[0])[0]
    whole_scan = results.suv(first_study, "v2", results.scan)
    limit = display_limit(whole_scan, results.labels(first_study))

    return montage([_row(results, role, limit) for role in shown])


def view_of_role(results: Results, role: str) -> View:
    """The coronal plane of a role's study, through the lesion or the middle of the liver, of the
    body where no liver is labelled.
    """
    study = results.of_role(role)[0]
    labels = results.labels(study)
    voxel_mm = results.voxel_mm(study)

    lesion = labels == ORGANS["lesion"]
    liver = (labels == ORGANS["liver"]) | lesion
    if not liver.any():
        target_mask = liver = m.body(labels)
    elif role == roles.LESION and lesion.any():
        target_mask = lesion
    else:
        target_mask = m.liver_voi(labels, ORGANS)
    target = m.middle(target_mask)

    # As wide as the body, as high as the liver and its surroundings.
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
    has_organs = bool((results.labels(view.study) == ORGANS["liver"]).any())
    marks = [(view.tip, colour, (1.0, 1.0))] if has_organs else []
    panels = []

    for network in (INPUT, *results.population(ORDER)):
        title = input_title(results, sample) if network == INPUT else network
        volume = results.suv(view.study, "v2", sample, network)
        plane = coronal(volume, view.y, view.window)
        panels.append(Panel(title, plane, marks))

    keys = {"study": view.study}
    return Row(view.name, panels, view.pixel_mm, limit, keys=keys)
