"""Supplement, Fig. 1: a study with a urinary catheter, before and after online learning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..evaluation.results import Results
from .fig6 import online_rows
from .montage import montage


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns as in Fig. 6; titles hold the catheter's error and the liver's CoV."""
    return montage(online_rows(results, roles.CATHETER, "catheter", "catheter_error"))
