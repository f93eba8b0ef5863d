"""What is painted over a phantom: spherical lesions, tumours, the bladder's filling, a urinary
catheter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ...config import roles
from ...config.studies import Lesion
from ...constants import ORGANS
from ..phantom import MUSCLE_SUV, Phantom

BLADDER_OF_ROLE = {
    roles.BLADDER: (1.0, 26.0),
    roles.CATHETER: (0.5, 7.0),
}  # share of the volume, SUV
CATHETER_SUV = 20.0
TUBE_MM = (5.0, 6.0)  # half-widths of the catheter: down, and across


def insert_sphere(
    phantom: Phantom,
    voxel_mm: Sequence[float],
    lesion: Lesion,
    *,
    region: np.ndarray | None = None,
    centre_mm: Sequence[float] | None = None,
    label: str = "lesion",
) -> Phantom:
    """The phantom with a uniform sphere of `lesion.contrast` times the mean SUV of its organ.

    The organ is the label of `phantom.ORGANS` called `lesion.organ`, or `region` (X, Y, Z boolean).
    The sphere lies at `centre_mm` (the grid's own mm, middle 0) or, without, where it is farthest
    from the organ's edge. Raises ValueError when it does not fit into the organ (naming the largest
    that does), or is smaller than a voxel.
    """
    if region is None:
        if lesion.organ not in ORGANS:
            raise ValueError(
                f"lesion in {lesion.organ!r}: no such organ; known are {', '.join(ORGANS)}"
            )
        region = phantom.labels == ORGANS[lesion.organ]
    if not region.any():
        raise ValueError(f"lesion in {lesion.organ}: the organ has no voxel on the grid")
    if not lesion.contrast > 0 or not lesion.diameter_mm > max(voxel_mm):
        raise ValueError(
            f"lesion in {lesion.organ}: diameter {lesion.diameter_mm:g} mm and contrast {lesion.contrast:g}: expected "
            f"more than a voxel of {max(voxel_mm):g} mm and more than 0"
        )
    place, depth_mm = _deepest(region, voxel_mm)
    axes = _axes(region.shape, voxel_mm)
    if centre_mm is None:
        if depth_mm < lesion.diameter_mm / 2:
            raise ValueError(
                f"lesion of {lesion.diameter_mm:g} mm does not fit into {lesion.organ}; the largest that fits there "
                f"is {2 * depth_mm:.1f} mm"
            )
        centre_mm = [float(axis[i]) for axis, i in zip(axes, place, strict=True)]
    inside = _sphere(axes, centre_mm, lesion.diameter_mm / 2)
    if not inside.any() or (inside & ~region).any():
        at = ", ".join(f"{c:g}" for c in centre_mm)
        raise ValueError(
            f"lesion of {lesion.diameter_mm:g} mm at ({at}) mm leaves {lesion.organ}; the largest that fits there "
            f"anywhere is {2 * depth_mm:.1f} mm"
        )
    value = lesion.contrast * float(phantom.suv[region].mean(dtype=np.float64))
    return _painted(phantom, inside, label, value)


def add_tumours(phantom: Phantom, voxel_mm: Sequence[float], rng: np.random.Generator) -> Phantom:
    """A few tumours anywhere in the body and in the liver, sizes and uptake as in
    `phantom.make_organs`.
    """
    axes = _axes(phantom.labels.shape, voxel_mm)
    liver = phantom.labels == ORGANS["liver"]
    body = (phantom.labels != ORGANS["air"]) & (phantom.labels != ORGANS["bladder"])
    plans = [(body, rng.uniform(5, 14), rng.uniform(3, 9)) for _ in range(rng.integers(3, 7))]
    level = float(phantom.suv[liver].mean()) if liver.any() else 0.0
    plans += [
        (liver, rng.uniform(5, 13), level * rng.uniform(1.6, 4.0))
        for _ in range(rng.integers(1, 4))
    ]
    for region, radius_mm, suv in plans:
        share = rng.random()
        if region.any():
            flat = np.flatnonzero(region)
            at = np.unravel_index(flat[int(share * len(flat))], region.shape)
            centre = [float(axis[i]) for axis, i in zip(axes, at, strict=True)]
            phantom = _painted(phantom, _sphere(axes, centre, radius_mm) & body, "tumour", suv)
    return phantom


def fill_bladder(
    phantom: Phantom, voxel_mm: Sequence[float], role: str, rng: np.random.Generator
) -> Phantom:
    """The bladder's filling and uptake; with role test_catheter a catheter from its neck.

    A part-filled bladder keeps its deepest voxels; what it leaves is soft tissue. Test roles have
    their own filling (`BLADDER_OF_ROLE`), others a random one.
    """
    share, suv = rng.uniform(0.5, 1.0), rng.uniform(4, 10)
    share, suv = BLADDER_OF_ROLE.get(role, (share, suv))
    bladder = phantom.labels == ORGANS["bladder"]
    if not bladder.any():
        return phantom
    box = ndimage.find_objects(bladder.astype(np.int8))[0]
    depth = ndimage.distance_transform_edt(np.pad(bladder[box], 1, mode="edge"), voxel_mm)[
        1:-1, 1:-1, 1:-1
    ]
    full = np.zeros(bladder.shape, bool)
    full[box] = bladder[box] & (depth >= np.quantile(depth[bladder[box]], 1 - share))
    muscle = phantom.suv[phantom.labels == ORGANS["body"]]
    left = float(np.median(muscle)) if muscle.size else MUSCLE_SUV
    phantom = _painted(_painted(phantom, bladder & ~full, "body", left), full, "bladder", suv)
    return (
        _painted(phantom, _catheter(phantom, full, voxel_mm), "catheter", CATHETER_SUV)
        if role == roles.CATHETER
        else phantom
    )


def _catheter(phantom: Phantom, bladder: np.ndarray, voxel_mm: Sequence[float]) -> np.ndarray:
    """A tube from the bladder's neck down and to the front, then across to the patient's right,
    within the body.
    """
    axes = _axes(bladder.shape, voxel_mm)
    at = np.argwhere(bladder)
    lowest = at[at[:, 2] <= at[:, 2].min() + 6 / voxel_mm[2]]
    neck = [float(axis[i].mean()) for axis, i in zip(axes, lowest.T, strict=True)]
    body = phantom.labels != ORGANS["air"]
    floor = float(axes[2][body.any(axis=(0, 1))][0])
    down = float(np.clip(neck[2] - floor - 2 * TUBE_MM[1], 4.0, 25.0))  # no deeper than the data
    tube = np.zeros(bladder.shape, bool)
    for t in np.linspace(-0.4, 1, 12):
        tube |= _sphere(axes, (neck[0] + 6 * t, neck[1] + 5 * t, neck[2] - down * t), TUBE_MM[0])
    for x in np.arange(0, 61, 3.0):
        tube |= _sphere(axes, (neck[0] + 6 + x, neck[1] + 5, neck[2] - down), TUBE_MM[1])
    return np.asarray(tube & body)


def _deepest(region: np.ndarray, voxel_mm: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """The voxel farthest from the region's edge (the grid's ends are edges too), and that distance,
    mm.
    """
    box = ndimage.find_objects(region.astype(np.int8))[0]
    depth = ndimage.distance_transform_edt(np.pad(region[box], 1), voxel_mm)[1:-1, 1:-1, 1:-1]
    at = np.unravel_index(int(np.argmax(depth)), depth.shape)
    # a voxel's centre is as far from the next organ's centre; the edge lies half a voxel before it
    return tuple(int(i) + b.start for i, b in zip(at, box, strict=True)), float(
        depth.max() - min(voxel_mm) / 2
    )


def _axes(shape: tuple[int, ...], voxel_mm: Sequence[float]) -> list[np.ndarray]:
    return [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel_mm, strict=True)]


def _sphere(axes: Sequence[np.ndarray], centre_mm: Sequence[float], radius_mm: float) -> np.ndarray:
    x, y, z = np.ix_(*(axis - c for axis, c in zip(axes, centre_mm, strict=True)))
    return np.asarray(x**2 + y**2 + z**2 <= radius_mm**2)


def _painted(phantom: Phantom, where: np.ndarray, label: str, suv: float) -> Phantom:
    return replace(
        phantom,
        suv=np.where(where, np.float32(suv), phantom.suv),
        labels=np.where(where, np.int16(ORGANS[label]), phantom.labels),
    )
