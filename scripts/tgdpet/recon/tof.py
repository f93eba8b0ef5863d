"""The TOF kernel as a table."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erf

# of the TOF table, which is not interpolated: positions err by at most sigma / 1024
STEPS_PER_SIGMA = 512

SIGMAS = 3.0  # beyond the bin's edge, where the kernel is cut


class TofTable(NamedTuple):
    """TOF weight at distances 0, 1 / per_mm, 2 / per_mm ... mm from a bin's centre.

    Nothing lies beyond `reach_mm`.
    """

    weights: np.ndarray
    per_mm: float
    reach_mm: float


WITHOUT_TOF = TofTable(np.ones(1, np.float32), 0.0, 1e9)


def tof_table(sigma_mm: float, bin_mm: float) -> TofTable:
    """TOF weights of a bin of `bin_mm` seen with a resolution of `sigma_mm`.

    For sigma 0 the weight is 1 inside the bin.
    """
    if sigma_mm == 0:
        return WITHOUT_TOF._replace(reach_mm=bin_mm / 2)

    step_mm = sigma_mm / STEPS_PER_SIGMA
    reach_mm = SIGMAS * sigma_mm + bin_mm / 2
    n = math.ceil(reach_mm / step_mm) + 1
    distance_mm = np.arange(n) * step_mm

    # a Gaussian integrated over the bin
    scale_mm = math.sqrt(2) * sigma_mm
    upper = erf((distance_mm + bin_mm / 2) / scale_mm)
    lower = erf((distance_mm - bin_mm / 2) / scale_mm)
    weight = 0.5 * (upper - lower)
    weight[-1] = 0

    # both sides of the centre, which counts once; all bins together then sum to 1
    one_side = weight.sum() - weight[0] / 2
    integral = 2 * step_mm * one_side / bin_mm
    weights = (weight / integral).astype(np.float32)

    return TofTable(weights, 1 / step_mm, (n - 1) * step_mm)
