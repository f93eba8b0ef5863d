"""Fig. 5: a low-BMI study with a liver lesion and a high-BMI study, denoised by every training
approach.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.results import INPUT, Results
from .common import View, box_mm, display_limit, middle, on_plane, seconds_text
from .montage import Panel, Row, montage
from .style import RED, YELLOW, coronal

ORDER = ("v2-net", "v1-net", "FT-net", "TGD-net")


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy v2 image and the networks. Red arrow: lesion; yellow: liver noise."""
    lesion = results.of_role(roles.LESION)[0]
    limit = display_limit(results.suv(lesion, "v2", results.scan), results.labels(lesion))
    return montage([_row(results, role, limit) for role in (roles.LESION, roles.HIGH_BMI)])


def view(results: Results, role: str) -> View:
    """The coronal plane of a role's study that is shown, through the lesion or the middle of the
    liver.
    """
    study = results.of_role(role)[0]
    labels, voxel = results.labels(study), results.voxel_mm(study)
    lesion = labels == ORGANS["lesion"]
    liver = (labels == ORGANS["liver"]) | lesion
    target = middle(lesion if role == roles.LESION else m.liver_voi(labels, ORGANS))
    window = (box_mm(m.body(labels), voxel, (10, 0, 0))[0], *box_mm(liver, voxel, (0, 0, 60))[1:])
    bmi = next(s.bmi for s in results.studies if s.study == study)
    name = f"{'low' if role == roles.LESION else 'high'} BMI\n{bmi:g} kg/m²"
    return View(name, study, int(target[1]), window, voxel[[0, 2]], on_plane(target, window, voxel))


def _row(results: Results, role: str, limit: float) -> Row:
    shown = view(results, role)
    sample = results.noisy(shown.study)
    mark = (shown.tip, RED if role == roles.LESION else YELLOW, (1.0, 1.0))
    panels = []
    for network in (INPUT, *results.population(ORDER)):
        title = f"input, {seconds_text(results, sample)}" if network == INPUT else network
        plane = coronal(results.suv(shown.study, "v2", sample, network), shown.y, shown.window)
        panels.append(Panel(title, plane, [mark]))
    return Row(shown.name, panels, shown.pixel_mm, limit, keys={"study": shown.study})
