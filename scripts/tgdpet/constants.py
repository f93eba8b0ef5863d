"""Numbers and labels that several packages share: physics, and the organs of label images."""

from __future__ import annotations

import math

# The labels of organ images.
ORGANS = {
    "air": 0,
    "body": 1,
    "fat": 2,
    "lung": 3,
    "heart": 4,
    "liver": 5,
    "spleen": 6,
    "kidney": 7,
    "marrow": 8,
    "bowel": 9,
    "bladder": 10,
    "catheter": 11,
    "lesion": 12,
    "tumour": 13,
}

FDG_HALF_LIFE_S = 6586.2

# Shift along the LOR per ps of arrival time difference: c / 2.
MM_PER_PS = 0.299792458 / 2

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
