"""Organs and lesions of a study that came as images: labels on the images' own grid; other voxels.

Labels may be this project's (`organs.nii.gz` of a run), or a segmentation of the CT on a grid of
its own, TotalSegmentator's or with a `labels.tsv` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...config.spheres import Sphere
from ...constants import ORGANS
from ...dataset.body import body_mask
from ...io import nifti
from ...io.nifti import Image
from .resampling import points_mm, resample, sample
from .segmentation import read_anatomy
from .uptake import TISSUES, stem

OWN_LABELS = "organs.nii.gz"  # how the name of a label image ends that has this project's numbers
LEAST_OVERLAP = 0.3  # of the labelled organs that has to lie in the image's body


def organs_of_image(
    image: Image, labels_path: Path | None, spheres: Sequence[Sphere] = ()
) -> np.ndarray:
    """Labels of `constants.ORGANS` at an image's voxels, (X, Y, Z) int16.

    Organs are those of the label image, lesions the `spheres`; the body, where the labels do not
    have it, is what is above 5 % of the image's 99th percentile, holes filled. Raises ValueError
    naming the file where labels are not of this patient, and for a sphere that holds no voxel of
    the body.
    """
    body = _filled(body_mask(image.data))
    organs = np.where(body, ORGANS["body"], ORGANS["air"]).astype(np.int16)

    if labels_path is not None:
        labelled = _labels_on(image, labels_path)
        _check_overlap(labelled, body, labels_path)

        # Labels of a run know the body, too; a segmentation of organs does not.
        knows_body = bool((labelled == ORGANS["body"]).any()) and _is_own(labels_path)
        organs = labelled if knows_body else np.where(labelled > 0, labelled, organs)

    index = np.indices(image.data.shape).reshape(3, -1).T
    at_mm = points_mm(index, image.affine)
    for sphere in spheres:
        away_mm = np.linalg.norm(at_mm - sphere.centre_mm, axis=1)
        inside = (away_mm <= sphere.diameter_mm / 2).reshape(image.data.shape)
        if not (inside & body).any():
            raise ValueError(
                f"lesion at {sphere.centre_mm} mm, diameter {sphere.diameter_mm:g} mm: "
                "no voxel of the body in it; expected x:y:z in RAS mm"
            )
        organs[inside] = ORGANS["lesion"]

    return organs.astype(np.int16)


def resampled(image: Image, voxel_mm: Sequence[float]) -> Image:
    """An image on voxels of another size, mm, over the same field of view: linear interpolation,
    means over several voxels where the new ones are larger.
    """
    old_mm = image.voxel_mm
    new_mm = np.asarray(voxel_mm, float)
    extent_mm = old_mm * image.data.shape
    shape = tuple(int(n) for n in np.maximum(1, np.round(extent_mm / new_mm)))

    # The same middle; directions as they were.
    affine = image.affine.copy()
    affine[:3, :3] = image.affine[:3, :3] / old_mm * new_mm
    middle = points_mm((np.array([image.data.shape]) - 1) / 2, image.affine)[0]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)

    data = resample(image.data, image.affine, affine, shape, order=1)
    return Image(data.astype(np.float32), affine, image.sidecar)


def _labels_on(image: Image, path: Path) -> np.ndarray:
    """The label image at the voxels of an image, in this project's numbers; 0 outside of it."""
    if _is_own(path):
        labels, affine = nifti.read_labels(path)
    else:
        anatomy = read_anatomy(path)
        affine = anatomy.affine

        own_number = np.zeros(anatomy.labels.max() + 1, np.int16)
        for number, name in anatomy.names.items():
            own_number[number] = ORGANS[TISSUES[stem(name)].label]
        labels = own_number[anatomy.labels]

    unknown = sorted(set(np.unique(labels).tolist()) - set(ORGANS.values()))
    if unknown:
        raise ValueError(f"{path}: expected labels 0 to {max(ORGANS.values())}, got {unknown[:5]}")

    return sample(labels, affine, image.affine, image.data.shape)


def _is_own(path: Path) -> bool:
    """Whether a label image has this project's numbers, by its name."""
    return path.name.lower().endswith(OWN_LABELS)


def _check_overlap(labelled: np.ndarray, body: np.ndarray, path: Path) -> None:
    """Refuse labels that lie elsewhere: of another patient, or of another position."""
    is_organ = labelled > ORGANS["body"]
    n_organ = int(is_organ.sum())
    if not n_organ:
        raise ValueError(f"{path}: no labelled organ lies in the image: another patient's?")

    overlap = float((is_organ & body).sum()) / n_organ
    if overlap < LEAST_OVERLAP:
        raise ValueError(
            f"{path}: {overlap:.0%} of the labelled organs lie in the image's body, expected at "
            f"least {LEAST_OVERLAP:.0%}: another patient's labels, or another position?"
        )


def _filled(body: np.ndarray) -> np.ndarray:
    """The largest part of a mask, holes of each axial slice filled."""
    parts, n_parts = ndimage.label(body)
    if n_parts > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        body = parts == sizes.argmax()

    planes = [ndimage.binary_fill_holes(body[:, :, z]) for z in range(body.shape[2])]
    return np.stack(planes, axis=2)
