"""What networks take out of an image, and what they get wrong.

Differences to the input and to the whole scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..evaluation.results import INPUT, Results
from ..io.nifti import suv_factor
from .common import STUDY_NAMES, View, seconds_text
from .fig5 import ORDER, view_of_role
from .montage import Panel, Row, montage, signed_limit
from .style import MINUS, Plane, coronal


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Planes of Fig. 5, in rows by study: images minus their input; minus the whole scan.

    In the low-BMI study the second is the mean of all realisations.
    """
    rows = []

    for role in (roles.LESION, roles.HIGH_BMI):
        rows += _rows(results, role)

    limit = signed_limit([panel.plane for row in rows for panel in row.panels])
    shown = [replace(row, limit=limit, titled=False) for row in rows]
    shown[0] = replace(shown[0], titled=True)
    return montage(shown)


def _rows(results: Results, role: str) -> list[Row]:
    view = view_of_role(results, role)
    networks = results.population(ORDER)
    sample = results.noisy(view.study)

    noisy = _plane(results, view, sample)
    denoised = {n: _plane(results, view, sample, n) for n in networks}
    removed = _minus(denoised, noisy)

    # Means over the realisations have less noise, so that what is left is bias.
    repeated = role == roles.LESION
    judged = denoised

    if repeated:
        judged = {n: _mean_plane(results, view, n) for n in networks}

    reference = _plane(results, view, results.scan)
    wrong = _minus(judged, reference)

    mean = "mean " if repeated else ""
    scan = seconds_text(results, results.scan)
    return [
        _row(view, role, f"{MINUS} input", removed),
        _row(view, role, f"{mean}{MINUS} {scan}", wrong),
    ]


def _minus(planes: Mapping[str, Plane], reference: Plane) -> dict[str, Plane]:
    """Each network's plane minus one that all are compared with."""
    differences: dict[str, Plane] = {}

    for network, plane in planes.items():
        differences[network] = np.asarray(plane - reference)

    return differences


def _row(view: View, role: str, name: str, planes: Mapping[str, Plane]) -> Row:
    return Row(
        name=f"{STUDY_NAMES[role]}\n{name}",
        panels=[Panel(network, plane) for network, plane in planes.items()],
        pixel_mm=view.pixel_mm,
        limit=1.0,
        signed=True,
        keys={"study": view.study},
    )


def _plane(results: Results, view: View, sample: str, network: str = INPUT) -> Plane:
    volume = results.suv(view.study, "v2", sample, network)
    return coronal(volume, view.y, view.window)


def _mean_plane(results: Results, view: View, network: str) -> Plane:
    """Mean over the realisations, SUV."""
    x, _, z = view.window
    slab = (x, slice(view.y, view.y + 1), z)
    realisations = results.ensemble(view.study, "v2", slab, network)
    mean_bqml = realisations.mean(axis=0)
    sidecar = results.image(view.study, "v2", results.scan).sidecar
    return coronal(mean_bqml / suv_factor(sidecar), 0)
