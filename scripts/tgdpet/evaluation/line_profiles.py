"""Line profiles through an organ of a test study, of every network and of the whole scan."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..config import roles
from ..constants import ORGANS
from ..io.nifti import suv_factor
from . import measures as m
from .results import INPUT, ONLINE_BASES, Results

REACH_MM = 45.0  # to either side of the organ
PROFILE_COLUMNS = [
    "organ",
    "study",
    "network",
    "images",
    "inside",
    "x_mm",
    "truth",
    "suv",
    "sd",
    "minus_scan",
    "standard_error",
]
ROLE_OF_ORGAN = {"lesion": roles.LESION, "bladder": roles.BLADDER}


class ProfileLine(NamedTuple):
    """A line along x through an organ's middle: its voxels, their distance (mm), those inside."""

    window: m.Window
    x_mm: m.Array
    inside: m.Mask


def line_profiles(results: Results, organ: str) -> pd.DataFrame:
    """Profiles along x through an organ's middle, a row a voxel and network.

    The whole scan goes by its sample's name. Columns: organ, study, network, images (how many were
    averaged), inside (the organ's volume of interest), x_mm from its middle, truth (SUV; nan where
    the true activity is not known), suv (mean), sd over images, minus_scan, and the standard error
    of both means.
    """
    study = results.of_role(ROLE_OF_ORGAN[organ])[0]
    line = _line(results, study, organ)
    whole_scan = results.image(study, "v2", results.scan)
    bqml_per_suv = suv_factor(whole_scan.sidecar)
    reference = whole_scan.data[line.window].ravel() / bqml_per_suv

    shared = {
        "organ": organ,
        "study": study,
        "truth": _true_activity(results, study, line) / bqml_per_suv,
        "x_mm": line.x_mm,
        "inside": line.inside,
    }
    scan_columns = {**shared, "network": results.scan, "images": 1, "suv": reference}
    tables = [pd.DataFrame(scan_columns)]

    for network in (INPUT, *_networks(results, organ)):
        suv = _images(results, study, organ, line, network) / bqml_per_suv
        measured = _summary(suv, reference)
        tables.append(pd.DataFrame({**shared, "network": network, **measured}))

    return pd.concat(tables, ignore_index=True)[PROFILE_COLUMNS]


def _line(results: Results, study: str, organ: str) -> ProfileLine:
    target = m.organ(results.labels(study), ORGANS, organ)
    x, y, z = m.middle(target)

    dx_mm = float(results.voxel_mm(study)[0])
    margin = round(REACH_MM / dx_mm)
    x_range, _, _ = m.bounding_box(target, margin)
    window = (x_range, slice(y, y + 1), slice(z, z + 1))

    voxels = np.arange(x_range.start, x_range.stop)
    x_mm = (voxels - x) * dx_mm
    inside = target[window].ravel()
    return ProfileLine(window, x_mm, inside)


def _true_activity(results: Results, study: str, line: ProfileLine) -> m.Array | float:
    """Along the line, Bq/mL; nan where it is not known."""
    path = results.truth_path(study)

    if not path.exists():
        return float("nan")

    truth = results.read(path).data
    return truth[line.window].ravel()


def _networks(results: Results, organ: str) -> list[str]:
    if organ == "bladder":
        return [*results.population(ONLINE_BASES), *results.online()]

    return results.population()


def _images(results: Results, study: str, organ: str, line: ProfileLine, network: str) -> m.Array:
    """The images (R, X) along the line, Bq/mL: all realisations, or the one of an online study."""
    if organ == "bladder":
        sample = results.noisy(study)
        image = results.image(study, "v2", sample, network).data
        return image[line.window].reshape(1, -1)

    stack = results.ensemble(study, "v2", line.window, network)
    return stack.reshape(len(stack), -1)


def _summary(suv: m.Array, reference: m.Array) -> dict[str, m.Array | int]:
    """Mean, spread and difference to the whole scan, of images (R, X) in SUV."""
    n = len(suv)
    mean = suv.mean(axis=0)
    sd = np.full(len(reference), np.nan)

    if n > 1:
        sd = suv.std(axis=0, ddof=1)

    return {
        "images": n,
        "suv": mean,
        "sd": sd,
        "minus_scan": mean - reference,
        "standard_error": sd / np.sqrt(n),
    }
