"""The TOF kernel as a table."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erf

STEPS_PER_SIGMA = (
    512  # of the TOF table, which is not interpolated: places err by at most sigma / 1024
)

SIGMAS = 3.0


class TofTable(NamedTuple):
    """TOF weight at distances 0, 1 / per_mm, 2 / per_mm ... mm from a bin's centre; nothing beyond
    `reach_mm`.
    """

    weights: np.ndarray
    per_mm: float
    reach_mm: float


WITHOUT_TOF = TofTable(np.ones(1, np.float32), 0.0, 1e9)


def tof_table(sigma_mm: float, bin_mm: float) -> TofTable:
    """TOF weights of a bin of `bin_mm` seen with a resolution of `sigma_mm`; for sigma 0: 1 inside
    the bin.
    """
    if sigma_mm == 0:
        return WITHOUT_TOF._replace(reach_mm=bin_mm / 2)
    step = sigma_mm / STEPS_PER_SIGMA
    n = math.ceil((SIGMAS * sigma_mm + bin_mm / 2) / step) + 1
    d, scale = np.arange(n) * step, math.sqrt(2) * sigma_mm
    weight = 0.5 * (erf((d + bin_mm / 2) / scale) - erf((d - bin_mm / 2) / scale))
    weight[-1] = 0
    integral = 2 * step * (weight.sum() - weight[0] / 2) / bin_mm
    return TofTable((weight / integral).astype(np.float32), 1 / step, (n - 1) * step)
