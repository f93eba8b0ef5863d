"""What of an activity image counts as body."""

from __future__ import annotations

import numpy as np

BODY_SHARE = 0.05  # of the image's 99th percentile: below is air


def body_mask(data: np.ndarray) -> np.ndarray:
    """The voxels of a volume that are of the body: above 5 % of its 99th percentile; bool."""
    return np.asarray(data > BODY_SHARE * np.percentile(data, 99))
