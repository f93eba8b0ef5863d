"""What networks take out of an image, and what they get wrong: differences to the input and to the
whole scan.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..evaluation.results import INPUT, Results
from ..io.nifti import suv_factor
from .common import View, seconds_text
from .fig5 import ORDER, view
from .montage import Panel, Row, montage, signed_limit
from .style import Plane, coronal

ROLES = {roles.LESION: "low BMI", roles.HIGH_BMI: "high BMI"}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Planes of Fig. 5. Rows by study: one image minus its input; minus the whole scan (low BMI:
    mean of all).
    """
    rows = [row for role in ROLES for row in _rows(results, role)]
    limit = signed_limit([p.plane for row in rows for p in row.panels])
    return montage([replace(row, limit=limit, titled=not i) for i, row in enumerate(rows)])


def _rows(results: Results, role: str) -> list[Row]:
    shown = view(results, role)
    study, networks = shown.study, results.population(ORDER)
    sample, scan = results.noisy(study), seconds_text(results, results.scan)
    reference, noisy = (_plane(results, shown, s) for s in (results.scan, sample))
    planes = {n: _plane(results, shown, sample, n) for n in networks}
    taken = {n: plane - noisy for n, plane in planes.items()}
    mean = ""
    if role == roles.LESION:
        planes, mean = {n: _mean_plane(results, shown, n) for n in networks}, "mean "
    wrong = {n: plane - reference for n, plane in planes.items()}
    rows = []
    for name, differences in (
        ("\N{MINUS SIGN} input", taken),
        (f"{mean}\N{MINUS SIGN} {scan}", wrong),
    ):
        panels = [Panel(n, plane) for n, plane in differences.items()]
        label = f"{ROLES[role]}\n{name}"
        rows.append(Row(label, panels, shown.pixel_mm, 1.0, signed=True, keys={"study": study}))
    return rows


def _plane(results: Results, shown: View, sample: str, network: str = INPUT) -> Plane:
    return coronal(results.suv(shown.study, "v2", sample, network), shown.y, shown.window)


def _mean_plane(results: Results, shown: View, network: str) -> Plane:
    """Mean over the realisations: less noise, so that what is left is bias."""
    x, _, z = shown.window
    slab = results.ensemble(shown.study, "v2", (x, slice(shown.y, shown.y + 1), z), network)
    return coronal(
        slab.mean(axis=0) / suv_factor(results.image(shown.study, "v2", results.scan).sidecar), 0
    )
