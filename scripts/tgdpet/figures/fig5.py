"""Fig. 5: a low-BMI study with a liver lesion and a high-BMI study, denoised by every training approach."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .. import measures as m
from ..evaluate import INPUT
from ..phantom import ORGANS
from .common import Results, box_mm, display_limit, middle, on_plane, seconds_text
from .montage import Panel, Row, montage
from .style import RED, YELLOW

ORDER = ("v2-net", "v1-net", "FT-net", "TGD-net")


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy v2 image and the networks. Red arrow: lesion; yellow: liver noise."""
    lesion = results.of_role("test_lesion")[0]
    limit = display_limit(results.suv(lesion, "v2", results.scan), results.labels(lesion))
    return montage([_row(results, "test_lesion", "low BMI", limit), _row(results, "test_high_bmi", "high BMI", limit)])


def _row(results: Results, role: str, name: str, limit: float) -> Row:
    study = results.of_role(role)[0]
    labels, voxel, sample = results.labels(study), results.voxel_mm(study), results.noisy(study)
    lesion = labels == ORGANS["lesion"]
    liver = (labels == ORGANS["liver"]) | lesion
    target = middle(lesion if role == "test_lesion" else m.liver_voi(labels, ORGANS))
    window = (box_mm(m.body(labels), voxel, (10, 0, 0))[0], *box_mm(liver, voxel, (0, 0, 60))[1:])
    tip = on_plane(target, window, voxel)
    mark = (tip, RED if role == "test_lesion" else YELLOW, (1, 1))
    panels = []
    for network in (INPUT, *results.population(ORDER)):
        title = f"input, {seconds_text(results, sample)}" if network == INPUT else network
        panels.append(Panel(title, results.suv(study, "v2", sample, network), [mark]))
    bmi = next(s.bmi for s in results.studies if s.study == study)
    return Row(f"{name}\n{bmi:g} kg/m²", panels, int(target[1]), window, voxel, limit, keys={"study": study})
