"""A segmented body as a phantom: a label map, with or without its CT, painted on the image grid.

Labels and CT may lie on different grids of any orientation and voxel size: both are sampled where
the phantom's voxels lie in RAS mm, labels by the nearest voxel, the CT linearly. Where the data
end, there is air. The CT's couch stays in the attenuation map, as in a real scan, and takes up
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...config import roles
from ...config.schema import nearest
from ...config.sections import Simulation
from ...config.studies import Lesion
from ...constants import FWHM_PER_SIGMA, ORGANS
from ...io import nifti
from ...io.files import read_csv
from ..phantom import Phantom, texture
from . import uptake
from .body import RIM, SOFT_TISSUE, from_ct, from_labels
from .overlay import add_tumours, fill_bladder, insert_sphere

LIVER_MARGIN_MM, BLADDER_MARGIN_MM = (
    90.0,
    40.0,
)  # liver's middle, bladder's ends: from the grid's axial ends
UNTIE_MM = (
    1e-3,
    1.3e-3,
    1.7e-3,
)  # points midway between voxels go the same way whatever the voxels' order
COUCH_HU = -900.0  # thinner than this outside the body is noise in air
HU_OF_ORGANS = (-200.0, 400.0)  # where the median over labelled organs (lungs left out) must lie


@dataclass(frozen=True)
class Anatomy:
    """Class numbers (X, Y, Z), their names, CT numbers in HU or None, the body (as in `body`);
    affines to RAS mm.
    """

    path: Path
    labels: np.ndarray
    affine: np.ndarray
    names: dict[int, str]
    hu: np.ndarray | None
    hu_affine: np.ndarray | None
    body: np.ndarray
    body_affine: np.ndarray

    def ids(self, name: str) -> list[int]:
        """Class numbers of a structure (kidney_left), of both sides (kidney) or of a label of
        `phantom.ORGANS`.
        """
        stems = {i: uptake.stem(n) for i, n in self.names.items()}
        return [
            i
            for i, n in self.names.items()
            if name in (n, stems[i], uptake.TISSUES[stems[i]].label)
        ]

    def points_mm(self, name: str) -> np.ndarray:
        """Voxel centres (n, 3) of a structure, RAS mm."""
        return _to_mm(np.argwhere(np.isin(self.labels, self.ids(name))), self.affine)


def read(path: str | Path) -> Anatomy:
    """Read `labels.nii.gz`, and `ct.nii.gz` (HU) and `labels.tsv` (index, name) if there, of a
    folder; or a label file.

    Without a table the numbers are TotalSegmentator's (v2, total). Raises FileNotFoundError or
    ValueError naming the
    file: labels that are fractions or have no known name, volumes that are not 3-D, a CT that is
    not in HU, holds NaN or lies elsewhere than the labels.
    """
    path = Path(path)
    folder = path if path.is_dir() else None
    label_path = _volume(folder, "labels") if folder else path
    labels, affine = nifti.read_labels(label_path)
    table = (folder or path.parent) / "labels.tsv"
    names = _names(labels, label_path, table if folder and table.exists() else None)
    ct_path = _volume(folder, "ct") if folder else None
    if ct_path is None or not ct_path.exists():
        body = from_labels(labels, affine)
        return Anatomy(label_path, labels, affine, names, None, None, body, affine)
    hu, hu_affine = nifti.read_plain(ct_path)
    _check_hu(hu, ct_path)
    _check_match(labels, affine, names, hu, hu_affine, (label_path, ct_path))
    body, body_affine = from_ct(hu, hu_affine, lambda a, s: sample(labels, affine, a, s) > 0)
    return Anatomy(label_path, labels, affine, names, hu, hu_affine, body, body_affine)


def sample(
    volume: np.ndarray, affine: np.ndarray, to_mm: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Nearest values of a volume at the voxels of another grid (affine `to_mm`, `shape`); 0 outside
    the volume.
    """
    border = np.eye(4)
    border[:3, 3] = -1.0  # of zeros, so that half a voxel beyond the last centre still counts
    aside = to_mm.copy()
    aside[:3, 3] += UNTIE_MM
    return _resample(np.pad(volume, 1), affine @ border, aside, shape, 0)


def make(
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
    needed = (
        ["urinary_bladder"] if role in roles.ONLINE else ["liver"] if role in roles.TESTS else []
    )
    for name in needed:
        if not len(anatomy.points_mm(name)):
            raise ValueError(
                f"{anatomy.path}: no voxel is labelled {name}, which a study with role {role!r} needs"
            )
    to_mm = grid_to_mm(anatomy, role, shape, voxel_mm)
    ids = sample(anatomy.labels, anatomy.affine, to_mm, shape)
    height_m = float(np.clip(rng.normal(1.70, 0.07), 1.5, 1.9))
    painted = _paint(anatomy, ids, to_mm, uptake.draw_suv(rng), float(bmi * height_m**2))
    field = texture(shape, voxel_mm, rng)
    grain = np.where(
        painted.labels == ORGANS["bowel"], np.maximum(field, 0.5) ** 4, field
    )  # bowel is patchy
    np.multiply(painted.suv, grain, out=painted.suv)
    painted = fill_bladder(painted, voxel_mm, role, rng)
    if lesions is None:
        of_role = Lesion("liver", settings.lesion_diameter_mm, settings.lesion_contrast)
        lesions = [of_role] if role == roles.LESION else []
    for lesion in lesions:
        region = _region(anatomy, ids, lesion.organ) & (painted.labels != ORGANS["lesion"])
        try:
            painted = insert_sphere(painted, voxel_mm, lesion, region=region)
        except ValueError as error:
            raise ValueError(f"{anatomy.path}: {error}") from error
    return add_tumours(painted, voxel_mm, rng) if role in roles.TRAINED_ON else painted


def grid_to_mm(
    anatomy: Anatomy, role: str, shape: tuple[int, ...], voxel_mm: tuple[float, ...]
) -> np.ndarray:
    """Affine from the voxels of a centred grid to the anatomy's RAS mm: where the patient lies in
    the scanner.

    Across, the body's bounding box is centred. Along, the grid stays within the data if it can:
    about the liver, whose middle stays `LIVER_MARGIN_MM` from the ends; in bladder studies about
    the whole bladder, with `BLADDER_MARGIN_MM`.
    """
    low, high = _extent(_to_mm(np.argwhere(anatomy.body > 0), anatomy.body_affine))
    centre, half = (low + high) / 2, shape[2] * voxel_mm[2] / 2
    points = anatomy.points_mm("urinary_bladder" if role in roles.ONLINE else "liver")
    if len(points):
        first, last = points[:, 2].min(), points[:, 2].max()
        middle, margin = (first + last) / 2, BLADDER_MARGIN_MM
        if role not in roles.ONLINE:
            first, last, margin = middle, middle, LIVER_MARGIN_MM
        if high[2] - low[2] > 2 * half:
            centre[2] = np.clip(middle, low[2] + half, high[2] - half)
        lowest, highest = last + margin - half, first - margin + half
        centre[2] = np.clip(centre[2], lowest, highest) if lowest <= highest else middle
    affine = nifti.grid_affine(shape, voxel_mm)
    affine[:3, 3] += centre
    return affine


def _paint(
    anatomy: Anatomy, ids: np.ndarray, to_mm: np.ndarray, suv_of: dict[str, float], weight_kg: float
) -> Phantom:
    shape = ids.shape
    body = sample(anatomy.body, anatomy.body_affine, to_mm, shape)
    size = max(anatomy.names, default=0) + 1
    label_of, suv_of_id, mu_of = (
        np.zeros(size, np.int16),
        np.zeros(size, np.float32),
        np.zeros(size, np.float32),
    )
    for i, name in anatomy.names.items():
        tissue = uptake.TISSUES[uptake.stem(name)]
        label_of[i], suv_of_id[i], mu_of[i] = (
            ORGANS[tissue.label],
            suv_of[uptake.stem(name)],
            tissue.mu_per_cm,
        )
    labels, suv, mu = label_of[ids], suv_of_id[ids], mu_of[ids]
    soft, fat = (ids == 0) & (body == SOFT_TISSUE), (ids == 0) & (body == RIM)
    if anatomy.hu is not None and anatomy.hu_affine is not None:
        hu = _resample(anatomy.hu, anatomy.hu_affine, to_mm, shape, 1)
        seen = sample(np.ones(anatomy.hu.shape, np.uint8), anatomy.hu_affine, to_mm, shape) > 0
        fat, soft = soft & (hu < uptake.FAT_HU), soft & (hu >= uptake.FAT_HU)
        suv[seen & (hu < uptake.GAS_HU) & (labels != ORGANS["lung"])] = 0
        mu = np.where(
            seen,
            np.where((labels == 0) & (body == 0) & (hu < COUCH_HU), 0, uptake.mu_of_hu(hu)),
            mu,
        )
        gas = fat & (hu < uptake.GAS_HU)
    else:
        mu[soft], mu[fat] = uptake.SOFT, uptake.FAT
        gas = np.zeros(shape, bool)
    labels[soft], suv[soft] = ORGANS["body"], suv_of["body"]
    labels[fat], suv[fat] = ORGANS["fat"], suv_of["torso_fat"]
    labels[gas], suv[gas] = ORGANS["body"], 0
    return Phantom(suv, mu.astype(np.float32), labels, weight_kg, ())


def _region(anatomy: Anatomy, ids: np.ndarray, organ: str) -> np.ndarray:
    if not (chosen := anatomy.ids(organ)):
        known = {uptake.stem(name) for name in anatomy.names.values()} | set(anatomy.names.values())
        raise ValueError(
            f"{anatomy.path}: lesion in {organ!r}: no such organ; {nearest(organ, known)}"
        )
    return np.isin(ids, chosen)


def _resample(
    volume: np.ndarray, affine: np.ndarray, to_mm: np.ndarray, shape: tuple[int, ...], order: int
) -> np.ndarray:
    index = np.linalg.inv(affine) @ to_mm
    if order:  # voxels much finer than the grid's are averaged first, not picked
        steps = np.abs(index[:3, :3]).sum(axis=1)
        volume = ndimage.gaussian_filter(
            volume, np.where(steps > 2, steps / FWHM_PER_SIGMA, 0), mode="nearest"
        )
    return np.asarray(
        ndimage.affine_transform(
            volume, index[:3, :3], index[:3, 3], shape, order=order, mode="nearest"
        )
    )


def _to_mm(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z of a body's voxels; z where its section is whole, as oblique data
    end askew.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    count, edges = np.histogram(points[:, 2], max(1, int((high[2] - low[2]) / 5.0)))
    whole = np.flatnonzero(count >= 0.5 * np.median(count))
    low[2], high[2] = edges[whole[0]], edges[whole[-1] + 1]
    return low, high


def _volume(folder: Path, name: str) -> Path:
    plain = folder / f"{name}.nii"
    return plain if plain.exists() else folder / f"{name}.nii.gz"


def _names(labels: np.ndarray, path: Path, table: Path | None) -> dict[int, str]:
    """Names of the class numbers that occur."""
    source = f"{table}" if table else "TotalSegmentator's classes (v2, total)"
    names = _table(table) if table else uptake.TOTAL_V2
    present = [int(i) for i in np.unique(labels) if i != 0]
    if not present:
        raise ValueError(f"{path}: every voxel is 0 (background): no organ is labelled")
    unknown = [i for i in present if i not in names]
    if unknown:
        raise ValueError(
            f"{path}: unknown class numbers {', '.join(map(str, unknown[:20]))}: not in {source}; name them in a "
            f"labels.tsv beside labels.nii.gz, with the columns index and name"
        )
    for i in present:
        if (stem := uptake.stem(names[i])) not in uptake.TISSUES:
            raise ValueError(
                f"{table}: {names[i]!r} (number {i}) is no tissue of known uptake; {nearest(stem, uptake.TISSUES)}"
            )
    return {i: names[i] for i in present}


def _table(path: Path) -> dict[int, str]:
    table = read_csv(path, ("index", "name"))
    out: dict[int, str] = {}
    for row, (index, name) in enumerate(zip(table["index"], table["name"], strict=True), start=2):
        if index != int(index) or int(index) in out:
            raise ValueError(
                f"{path}: row {row}: index {index!r}: expected whole numbers, each once"
            )
        out[int(index)] = str(name).strip()
    return out


def _check_hu(hu: np.ndarray, path: Path) -> None:
    if bad := int(np.count_nonzero(~np.isfinite(hu))):
        raise ValueError(
            f"{path}: {bad} of {hu.size} voxels are NaN or infinite; expected CT numbers in HU"
        )
    if hu.min() > -500 or hu.max() < -100 or hu.max() > 1e5:
        raise ValueError(
            f"{path}: values from {hu.min():g} to {hu.max():g} are not CT numbers in HU, in which air is -1000 and "
            "water 0 (rescale slope and intercept not applied?)"
        )


def _check_match(
    labels: np.ndarray,
    affine: np.ndarray,
    names: dict[int, str],
    hu: np.ndarray,
    hu_affine: np.ndarray,
    paths: tuple[Path, Path],
) -> None:
    """Refuse a CT that does not overlap the labelled voxels, or whose CT numbers there are not
    those of organs.
    """
    lungs = [i for i, name in names.items() if uptake.TISSUES[uptake.stem(name)].label == "lung"]
    at = np.argwhere((labels != 0) & ~np.isin(labels, lungs))
    at = at if len(at) else np.argwhere(labels != 0)
    at = at[:: max(1, len(at) // 200_000)]
    index = np.rint(_to_mm(_to_mm(at, affine), np.linalg.inv(hu_affine))).astype(int)
    index = index[((index >= 0) & (index < hu.shape)).all(axis=1)]
    if not len(index):
        raise ValueError(
            f"{paths[1]}: its field of view holds none of the labelled voxels of {paths[0]}"
        )
    median = float(np.median(hu[tuple(index.T)]))
    low, high = HU_OF_ORGANS
    if len(lungs) < len(names) and not low < median < high:
        raise ValueError(
            f"{paths[1]}: the median over the organs of {paths[0].name} is {median:g} HU, expected {low:g} to "
            f"{high:g} HU: another patient's labels, other affines, or no CT numbers in HU"
        )
