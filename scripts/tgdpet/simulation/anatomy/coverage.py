"""What of a body the data hold: organs beyond the CT, organs and bodies cut off at its ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .resampling import points_mm
from .segmentation import Anatomy

TOLERANCE_MM = 1.0  # of rounded affines
# where each axis of RAS mm goes to, below and above
ENDS = (("left", "right"), ("back", "front"), ("feet", "head"))


def check_organ(anatomy: Anatomy, organ: str, role: str) -> None:
    """Refuse labels without an organ, or a CT that ends before the organ does.

    Raises ValueError naming the file, the organ and the role that needs it, and what is missing,
    mm.
    """
    voxels = anatomy.points_mm(organ)
    if not len(voxels):
        raise ValueError(
            f"{anatomy.path}: no voxel is labelled {organ}, which a study with role {role!r} needs"
        )

    for end, beyond_mm in _beyond_ct_mm(anatomy, voxels).items():
        if beyond_mm > TOLERANCE_MM:
            raise ValueError(
                f"{anatomy.path}: {organ}, which a study with role {role!r} needs, goes on for "
                f"{beyond_mm:.0f} mm beyond the CT towards the {end}; expected a CT that holds all "
                "of it"
            )


def notes(
    anatomy: Anatomy, organ: str | None, labels: np.ndarray, voxel_mm: Sequence[float]
) -> list[str]:
    """What is cut off, for the log: the organ at the CT's ends, the body in the painted `labels`
    (X, Y, Z).
    """
    found = []
    if organ is not None:
        for end, beyond_mm in _beyond_ct_mm(anatomy, anatomy.points_mm(organ)).items():
            if end in ENDS[2] and beyond_mm >= -TOLERANCE_MM:
                found.append(f"{organ} reaches the CT's end towards the {end}, and may go on")

    with_body = np.flatnonzero(labels.any(axis=(0, 1)))
    if len(with_body):
        empty = (with_body[0], labels.shape[2] - 1 - with_body[-1])
        for end, n_slices in zip(ENDS[2], empty, strict=True):
            if n_slices:
                length_mm = n_slices * voxel_mm[2]
                found.append(f"the data end {length_mm:g} mm before the bed's end: air ({end})")

    return found


def _beyond_ct_mm(anatomy: Anatomy, voxels: np.ndarray) -> dict[str, float]:
    """How far an organ's voxels (n, 3), mm, lie beyond each end of the CT, negative where they do
    not; nothing without a CT.
    """
    if anatomy.hu is None or anatomy.hu_affine is None:
        return {}

    index = points_mm(voxels, np.linalg.inv(anatomy.hu_affine))
    size_mm = np.sqrt((anatomy.hu_affine[:3, :3] ** 2).sum(axis=0))
    half_mm = _half_voxel_mm(anatomy)

    beyond = {}
    for axis, n in enumerate(anatomy.hu.shape):
        direction = anatomy.hu_affine[:3, axis] / size_mm[axis]
        ras = int(np.argmax(np.abs(direction)))
        low, high = ENDS[ras] if direction[ras] > 0 else ENDS[ras][::-1]

        # from the outer faces of the organ's voxels to those of the CT's
        before = (-0.5 - index[:, axis].min()) * size_mm[axis] + half_mm
        after = (index[:, axis].max() - (n - 0.5)) * size_mm[axis] + half_mm
        beyond[low] = float(before)
        beyond[high] = float(after)

    return beyond


def _half_voxel_mm(anatomy: Anatomy) -> float:
    """Half the labels' smallest voxel side, mm."""
    sides_mm = np.sqrt((anatomy.affine[:3, :3] ** 2).sum(axis=0))

    return float(sides_mm.min()) / 2
