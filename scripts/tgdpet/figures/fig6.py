"""Fig. 6: a bladder unlike any trained on, before and after online learning on the study itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import measures as m
from ..evaluate import INPUT
from ..phantom import ORGANS
from .common import Results, box_mm, display_limit, middle, on_plane, seconds_text
from .montage import Panel, Row, montage
from .style import RED

BASES = ("v2-net", "TGD-net")
MARGIN_MM = (75.0, 0.0, 90.0)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy image, networks, networks after online learning, whole scan; below: minus the whole scan."""
    return montage([online_row(results, "test_bladder", "bladder", "bladder_error")])


def online_row(results: Results, role: str, organ: str, measure: str) -> Row:
    """The panels of one online-learning study, with the error around the organ in the titles."""
    study = results.of_role(role)[0]
    labels, voxel, sample = results.labels(study), results.voxel_mm(study), results.noisy(study)
    target = m.organ(labels, ORGANS, organ)
    both = target | (labels == ORGANS["bladder"])
    window = box_mm(both, voxel, MARGIN_MM)
    reference = results.suv(study, "v2", results.scan)
    tip = on_plane(_edge(target), window, voxel)
    panels = []
    for network in (INPUT, *results.population(BASES), *results.online()):
        name = f"input, {seconds_text(results, sample)}" if network == INPUT else network
        value = results.measured(measure, role, network, study=study)
        cov = results.measured("liver_cov_spatial", role, network, study=study)
        liver = f"liver CoV {cov:.1f} %" if cov == cov else ""
        title = f"{name}\nerror {value:.1f} %\n{liver}"
        panels.append(Panel(title, results.suv(study, "v2", sample, network), [(tip, RED, (1, 1))]))
    title = f"{seconds_text(results, results.scan)}\n(reference)\n"
    panels.append(Panel(title, reference, [(tip, RED, (1, 1))]))
    limit = display_limit(reference, labels, times=2.5)  # the organ saturates: artifacts lie around it
    plane = int(middle(target)[1])
    return Row("activity", panels, plane, window, voxel, limit, reference, "error", {"study": study})


def _edge(target: m.Mask) -> np.ndarray:
    """The organ's upper edge on the patient's left: where an arrow hides little of it."""
    x, y, z = middle(target)
    box = m.bounding_box(target)
    return np.array([(x + box[0].start) / 2, y, (z + box[2].stop) / 2])
