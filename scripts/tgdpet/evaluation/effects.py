"""What claims make of the networks' means: statistics that map (..., P) means to effects (...).

The P columns are the networks of a comparison.
"""

from __future__ import annotations

import numpy as np

from .bootstrap import Floats, Statistic
from .changes import percent_change

# A change of this share of the mean is seen or not: people just see contrasts of 1 to 2 % in large
# areas (Weber).
VISIBLE_PERCENT = 2.0
# Online learning keeps the noise level when it raises the liver CoV by no more than a tenth.
KEPT_PERCENT = 10.0
# "On par with training from scratch" (the paper's abstract): no worse than the network from scratch
# by more than this, in points of lesion bias and of liver CoV. In the paper's Table 1 the networks
# lie 2.5 points apart in either.
PAR_BIAS_POINTS = 2.0
PAR_COV_POINTS = 1.0


def difference(means: Floats) -> Floats:
    """First minus second."""
    return np.asarray(means[..., 0] - means[..., 1])


def difference_of_size(means: Floats) -> Floats:
    """Size of the first less that of the second."""
    size = np.abs(means[..., 0])
    other_size = np.abs(means[..., 1])
    return np.asarray(size - other_size)


def less(statistic: Statistic, margin: float) -> Statistic:
    """A statistic less a margin, such as what still counts as on par."""
    return lambda means: np.asarray(statistic(means) - margin)


def change(means: Floats) -> Floats:
    """How much larger the first is than the second, %."""
    value = means[..., 0]
    base = means[..., 1]
    return np.asarray(percent_change(value, base))


def growth_beyond_kept(means: Floats) -> Floats:
    """How much larger the first is than the second, less what counts as keeping, %."""
    return np.asarray(change(means) - KEPT_PERCENT)


def difference_of_forgetting(means: Floats) -> Floats:
    """First minus second in % of the third, their base: how much more the first forgot."""
    base = means[..., 2]
    return np.asarray(100 * difference(means) / base)


def beyond_visible(means: Floats) -> Floats:
    """The first, less what people just see, %."""
    return np.asarray(means[..., 0] - VISIBLE_PERCENT)


def beyond_half(means: Floats) -> Floats:
    """The third less one half, in points."""
    return np.asarray(means[..., 2] - 50)


def first(means: Floats) -> Floats:
    """The first column as it is."""
    return np.asarray(means[..., 0])
