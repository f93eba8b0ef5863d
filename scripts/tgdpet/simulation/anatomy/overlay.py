"""What is painted over a phantom: spherical lesions, tumours, the bladder's filling, a urinary
catheter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ...config import roles
from ...config.lesions import Lesion
from ...constants import ORGANS
from ..phantom import MUSCLE_SUV, Phantom, grid_axes_mm

# share of the volume, SUV
BLADDER_OF_ROLE = {roles.BLADDER: (1.0, 26.0), roles.CATHETER: (0.5, 7.0)}
CATHETER_SUV = 20.0
TUBE_DOWN_MM = 5.0  # half-widths of the catheter
TUBE_ACROSS_MM = 6.0
NECK_MM = 6.0  # height of the bladder's lowest part, below which the catheter begins


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

    The organ is the label of `constants.ORGANS` called `lesion.organ`, or `region` (X, Y, Z
    boolean). The sphere lies at `centre_mm` (the grid's own mm, middle 0) or, without, where it is
    farthest from the organ's edge. Raises ValueError when it does not fit into the organ (naming
    the largest that does), or is smaller than a voxel.
    """
    if region is None:
        region = _organ(phantom, lesion.organ)
    if not region.any():
        raise ValueError(f"lesion in {lesion.organ}: the organ has no voxel on the grid")
    largest_mm = max(voxel_mm)
    if not lesion.contrast > 0 or not lesion.diameter_mm > largest_mm:
        raise ValueError(
            f"lesion in {lesion.organ}: diameter {lesion.diameter_mm:g} mm and contrast "
            f"{lesion.contrast:g}: expected more than a voxel of {largest_mm:g} mm and more "
            "than 0"
        )

    deepest, depth_mm = _deepest(region, voxel_mm)
    axes = grid_axes_mm(region.shape, voxel_mm)
    if centre_mm is None:
        if depth_mm < lesion.diameter_mm / 2:
            raise ValueError(
                f"lesion of {lesion.diameter_mm:g} mm does not fit into {lesion.organ}; the "
                f"largest that fits there is {2 * depth_mm:.1f} mm"
            )
        centre_mm = _centre(axes, deepest)

    inside = _sphere(axes, centre_mm, lesion.diameter_mm / 2)
    if not inside.any() or (inside & ~region).any():
        at = ", ".join(f"{c:g}" for c in centre_mm)
        raise ValueError(
            f"lesion of {lesion.diameter_mm:g} mm at ({at}) mm leaves {lesion.organ}; the "
            f"largest that fits there anywhere is {2 * depth_mm:.1f} mm"
        )

    mean_suv = float(phantom.suv[region].mean(dtype=np.float64))
    return _painted(phantom, inside, label, lesion.contrast * mean_suv)


def _organ(phantom: Phantom, name: str) -> np.ndarray:
    if name not in ORGANS:
        raise ValueError(f"lesion in {name!r}: no such organ; known are {', '.join(ORGANS)}")

    return np.asarray(phantom.labels == ORGANS[name])


def add_tumours(phantom: Phantom, voxel_mm: Sequence[float], rng: np.random.Generator) -> Phantom:
    """A few tumours anywhere in the body and in the liver, sizes and uptake as in
    `phantom.make_organs`.
    """
    axes = grid_axes_mm(phantom.suv.shape, voxel_mm)
    labels = phantom.labels
    liver = labels == ORGANS["liver"]
    body = (labels != ORGANS["air"]) & (labels != ORGANS["bladder"])
    liver_suv = 0.0
    if liver.any():
        liver_suv = float(phantom.suv[liver].mean())

    # where each lies, its radius (mm) and SUV
    tumours = []
    for _ in range(rng.integers(3, 7)):
        radius_mm = rng.uniform(5, 14)
        suv = rng.uniform(3, 9)
        tumours.append((body, radius_mm, suv))
    for _ in range(rng.integers(1, 4)):
        radius_mm = rng.uniform(5, 13)
        suv = liver_suv * rng.uniform(1.6, 4.0)
        tumours.append((liver, radius_mm, suv))

    for region, radius_mm, suv in tumours:
        share = rng.random()
        voxels = np.flatnonzero(region)
        if not voxels.size:
            continue

        voxel = voxels[int(share * len(voxels))]
        centre_mm = _centre(axes, np.unravel_index(voxel, region.shape))
        inside = _sphere(axes, centre_mm, radius_mm) & body
        phantom = _painted(phantom, inside, "tumour", suv)

    return phantom


def fill_bladder(
    phantom: Phantom, voxel_mm: Sequence[float], role: str, rng: np.random.Generator
) -> Phantom:
    """The bladder's filling and uptake; with role test_catheter a catheter from its neck.

    A part-filled bladder keeps its deepest voxels; what it leaves is soft tissue. Test roles have
    their own filling (`BLADDER_OF_ROLE`), others a random one.
    """
    share = rng.uniform(0.5, 1.0)
    suv = rng.uniform(4, 10)
    share, suv = BLADDER_OF_ROLE.get(role, (share, suv))

    bladder = phantom.labels == ORGANS["bladder"]
    if not bladder.any():
        return phantom
    filled = _deepest_share(bladder, voxel_mm, share)

    muscle = phantom.suv[phantom.labels == ORGANS["body"]]
    muscle_suv = float(np.median(muscle)) if muscle.size else MUSCLE_SUV
    phantom = _painted(phantom, bladder & ~filled, "body", muscle_suv)
    phantom = _painted(phantom, filled, "bladder", suv)

    if role == roles.CATHETER:
        tube = _catheter(phantom, filled, voxel_mm)
        phantom = _painted(phantom, tube, "catheter", CATHETER_SUV)
    return phantom


def _catheter(phantom: Phantom, bladder: np.ndarray, voxel_mm: Sequence[float]) -> np.ndarray:
    """A tube from the bladder's neck down and to the front, then across to the patient's right,
    within the body.
    """
    axes = grid_axes_mm(bladder.shape, voxel_mm)
    voxels = np.argwhere(bladder)
    height = voxels[:, 2]
    lowest = voxels[height <= height.min() + NECK_MM / voxel_mm[2]]
    x, y, z = (float(axis[i].mean()) for axis, i in zip(axes, lowest.T, strict=True))

    # no deeper than the data
    body = phantom.labels != ORGANS["air"]
    in_slice = body.any(axis=(0, 1))
    floor_mm = float(axes[2][in_slice][0])
    room_mm = z - floor_mm - 2 * TUBE_ACROSS_MM
    down = float(np.clip(room_mm, 4.0, 25.0))

    tube = np.zeros(bladder.shape, bool)
    for t in np.linspace(-0.4, 1, 12):
        centre_mm = (x + 6 * t, y + 5 * t, z - down * t)
        tube |= _sphere(axes, centre_mm, TUBE_DOWN_MM)
    for across in np.arange(0, 61, 3.0):
        centre_mm = (x + 6 + across, y + 5, z - down)
        tube |= _sphere(axes, centre_mm, TUBE_ACROSS_MM)

    return np.asarray(tube & body)


def _deepest(region: np.ndarray, voxel_mm: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """The voxel farthest from the region's edge (the grid's ends are edges too), and that distance,
    mm.
    """
    box = _bounding_box(region)
    padded = np.pad(region[box], 1)
    depth = _depth(padded, voxel_mm)

    deepest = int(np.argmax(depth))
    in_box = np.unravel_index(deepest, depth.shape)
    voxel = tuple(int(i) + part.start for i, part in zip(in_box, box, strict=True))

    # a voxel's centre is as far from the next organ's centre; the edge lies half a voxel before it
    half_voxel = min(voxel_mm) / 2
    return voxel, float(depth.max() - half_voxel)


def _deepest_share(region: np.ndarray, voxel_mm: Sequence[float], share: float) -> np.ndarray:
    """The share of a region's voxels that lie farthest from its edge (the grid's ends are none)."""
    box = _bounding_box(region)
    inside = region[box]
    padded = np.pad(inside, 1, mode="edge")
    depth = _depth(padded, voxel_mm)
    least = np.quantile(depth[inside], 1 - share)

    deepest = np.zeros(region.shape, bool)
    deepest[box] = inside & (depth >= least)
    return deepest


def _bounding_box(region: np.ndarray) -> tuple[slice, ...]:
    boxes: list[tuple[slice, ...]] = ndimage.find_objects(region.astype(np.int8))
    return boxes[0]


def _depth(padded: np.ndarray, voxel_mm: Sequence[float]) -> np.ndarray:
    """Distance to the nearest voxel outside, mm, without the voxel of padding on every side."""
    depth = ndimage.distance_transform_edt(padded, voxel_mm)
    return np.asarray(depth[1:-1, 1:-1, 1:-1])


def _centre(axes: Sequence[np.ndarray], voxel: Iterable[int]) -> list[float]:
    return [float(axis[i]) for axis, i in zip(axes, voxel, strict=True)]


def _sphere(axes: Sequence[np.ndarray], centre_mm: Sequence[float], radius_mm: float) -> np.ndarray:
    from_centre = [axis - c for axis, c in zip(axes, centre_mm, strict=True)]
    x, y, z = np.ix_(*from_centre)
    distance2 = x**2 + y**2 + z**2

    return np.asarray(distance2 <= radius_mm**2)


def _painted(phantom: Phantom, where: np.ndarray, label: str, suv: float) -> Phantom:
    number = np.int16(ORGANS[label])

    return replace(
        phantom,
        suv=np.where(where, np.float32(suv), phantom.suv),
        labels=np.where(where, number, phantom.labels),
    )
