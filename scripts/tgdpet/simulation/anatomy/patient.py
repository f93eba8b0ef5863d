"""A segmented body as a phantom, painted on the image grid.

Labels and CT may lie on different grids of any orientation and voxel size: both are sampled where
the phantom's voxels lie in RAS mm, labels by the nearest voxel, the CT linearly. Where the data
end, there is air. The CT's couch stays in the attenuation map, as in a real scan, and takes up
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...config import roles
from ...config.lesions import Lesion
from ...config.schema import nearest
from ...config.sections import Simulation
from ...constants import ORGANS
from ...io import nifti
from ..phantom import Phantom, draw_weight_kg, texture
from . import uptake
from .body import RIM, SOFT_TISSUE
from .coverage import check_organ
from .overlay import add_tumours, fill_bladder, insert_sphere
from .resampling import points_mm, resample, sample
from .segmentation import Anatomy

# from the grid's axial ends
LIVER_MARGIN_MM = 90.0  # to the liver's middle
BLADDER_MARGIN_MM = 40.0  # to the bladder's ends
COUCH_HU = -900.0  # thinner than this outside the body is noise in air
SECTION_MM = 5.0  # thickness of the sections by which a body's ends are judged


def make_phantom(
    anatomy: Anatomy,
    role: str,
    bmi: float,
    rng: np.random.Generator,
    settings: Simulation,
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
    lesions: Sequence[Lesion] | None = None,
) -> Phantom:
    """The phantom of one study on a centred grid (X, Y, Z) of `voxel_mm`.

    `role` decides, as in `phantom.make_organs`, on lesions and the bladder; `lesions` replaces the
    role's. `rng` draws every organ's uptake, the texture within organs (5 %, more in the bowel),
    bladder and tumours. The anatomy decides the body's size; `bmi` its weight, kg. Raises
    ValueError naming the file when the role's organs are missing, or a lesion does not fit.
    """
    organ = organ_of(role)
    if organ is not None:
        check_organ(anatomy, organ, role)

    to_mm = grid_to_mm(anatomy, role, shape, voxel_mm)
    ids = sample(anatomy.labels, anatomy.affine, to_mm, shape)

    weight_kg = draw_weight_kg(bmi, rng)
    suv_of = uptake.draw_suv(rng)
    painted = _paint(anatomy, ids, to_mm, suv_of, weight_kg)

    # the bowel is patchy
    field = texture(shape, voxel_mm, rng)
    in_bowel = painted.labels == ORGANS["bowel"]
    patchy = np.maximum(field, 0.5) ** 4
    field = np.where(in_bowel, patchy, field)
    np.multiply(painted.suv, field, out=painted.suv)

    painted = fill_bladder(painted, voxel_mm, role, rng)

    if lesions is None:
        lesions = _lesions_of(role, settings)
    for lesion in lesions:
        region = _region(anatomy, ids, lesion.organ)
        region &= painted.labels != ORGANS["lesion"]
        try:
            painted = insert_sphere(painted, voxel_mm, lesion, region=region)
        except ValueError as error:
            raise ValueError(f"{anatomy.path}: {error}") from error

    if role in roles.TRAINED_ON:
        painted = add_tumours(painted, voxel_mm, rng)
    return painted


def _lesions_of(role: str, settings: Simulation) -> list[Lesion]:
    """The lesions that a role puts in."""
    if role != roles.LESION:
        return []

    return [Lesion("liver", settings.lesion_diameter_mm, settings.lesion_contrast)]


def organ_of(role: str) -> str | None:
    """The organ that a study of this role is about."""
    if role in roles.ONLINE:
        return "urinary_bladder"

    return "liver" if role in roles.TESTS else None


def grid_to_mm(
    anatomy: Anatomy, role: str, shape: tuple[int, ...], voxel_mm: tuple[float, ...]
) -> np.ndarray:
    """Affine from the voxels of a centred grid to the anatomy's RAS mm: where the patient lies in
    the scanner.

    Across, the body's bounding box is centred. Along, the grid stays within the data if it can:
    about the liver, whose middle stays `LIVER_MARGIN_MM` from the ends; in bladder studies about
    the whole bladder, with `BLADDER_MARGIN_MM`.
    """
    body = np.argwhere(anatomy.body > 0)
    low, high = _extent(points_mm(body, anatomy.body_affine))
    centre = (low + high) / 2
    half = shape[2] * voxel_mm[2] / 2

    about_bladder = role in roles.ONLINE
    organ = anatomy.points_mm("urinary_bladder" if about_bladder else "liver")
    if len(organ):
        first = organ[:, 2].min()
        last = organ[:, 2].max()
        middle = (first + last) / 2

        # within the data
        if high[2] - low[2] > 2 * half:
            centre[2] = np.clip(middle, low[2] + half, high[2] - half)

        # what must be seen, away from the grid's ends
        if about_bladder:
            margin = BLADDER_MARGIN_MM
        else:
            margin = LIVER_MARGIN_MM
            first = last = middle
        lowest = last + margin - half
        highest = first - margin + half

        if lowest <= highest:
            centre[2] = np.clip(centre[2], lowest, highest)
        else:
            centre[2] = middle

    affine = nifti.grid_affine(shape, voxel_mm)
    affine[:3, 3] += centre
    return affine


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z of a body's voxels; z where its section is whole, as oblique data
    end askew.
    """
    low = points.min(axis=0)
    high = points.max(axis=0)

    length_mm = high[2] - low[2]
    n_sections = max(1, int(length_mm / SECTION_MM))
    count, edges = np.histogram(points[:, 2], n_sections)
    whole = np.flatnonzero(count >= 0.5 * np.median(count))
    low[2] = edges[whole[0]]
    high[2] = edges[whole[-1] + 1]

    return low, high


def _paint(
    anatomy: Anatomy, ids: np.ndarray, to_mm: np.ndarray, suv_of: dict[str, float], weight_kg: float
) -> Phantom:
    """Labels, uptake and attenuation of the labelled voxels `ids` (X, Y, Z) and of the body around
    them.
    """
    shape = ids.shape
    labels, suv, mu = _of_classes(anatomy, ids, suv_of)

    body = sample(anatomy.body, anatomy.body_affine, to_mm, shape)
    soft = (ids == 0) & (body == SOFT_TISSUE)
    fat = (ids == 0) & (body == RIM)
    gas = np.zeros(shape, bool)

    if anatomy.hu is None or anatomy.hu_affine is None:
        mu[soft] = uptake.SOFT
        mu[fat] = uptake.FAT
    else:
        hu = resample(anatomy.hu, anatomy.hu_affine, to_mm, shape, order=1)
        in_ct = np.ones(anatomy.hu.shape, np.uint8)
        seen = sample(in_ct, anatomy.hu_affine, to_mm, shape) > 0
        is_gas = hu < uptake.GAS_HU

        # gas takes up nothing, but for the lungs' own
        suv[seen & is_gas & (labels != ORGANS["lung"])] = 0

        around = (labels == 0) & (body == 0) & (hu < COUCH_HU)
        mu_of_ct = np.where(around, 0, uptake.mu_of_hu(hu))
        mu = np.where(seen, mu_of_ct, mu)

        fat = soft & (hu < uptake.FAT_HU)
        soft = soft & (hu >= uptake.FAT_HU)
        gas = fat & is_gas

    labels[soft] = ORGANS["body"]
    suv[soft] = suv_of["body"]
    labels[fat] = ORGANS["fat"]
    suv[fat] = suv_of["torso_fat"]
    labels[gas] = ORGANS["body"]
    suv[gas] = 0

    return Phantom(
        suv=suv,
        mu_per_cm=mu.astype(np.float32),
        labels=labels,
        weight_kg=weight_kg,
        organs=(),
    )


def _of_classes(
    anatomy: Anatomy, ids: np.ndarray, suv_of: dict[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, SUV and attenuation without a CT of class numbers (any shape); 0 for none."""
    size = max(anatomy.names, default=0) + 1
    labels = np.zeros(size, np.int16)
    suv = np.zeros(size, np.float32)
    mu = np.zeros(size, np.float32)

    for i, name in anatomy.names.items():
        stem = uptake.stem(name)
        tissue = uptake.TISSUES[stem]
        labels[i] = ORGANS[tissue.label]
        suv[i] = suv_of[stem]
        mu[i] = tissue.mu_per_cm

    return labels[ids], suv[ids], mu[ids]


def _region(anatomy: Anatomy, ids: np.ndarray, organ: str) -> np.ndarray:
    """The voxels of a lesion's organ."""
    chosen = anatomy.ids(organ)
    if not chosen:
        names = set(anatomy.names.values())
        known = {uptake.stem(name) for name in names} | names
        raise ValueError(
            f"{anatomy.path}: lesion in {organ!r}: no such organ; {nearest(organ, known)}"
        )

    return np.isin(ids, chosen)
