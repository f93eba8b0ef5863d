"""A segmented body on disk: a label map, with or without its CT, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...config.schema import nearest
from ...io import nifti
from ...io.contents import CellKind, Number, Text, check_table
from ...io.files import read_csv
from . import uptake, witness
from .body import from_ct, from_labels
from .resampling import points_mm, sample

HU_OF_ORGANS = (-200.0, 400.0)  # where the median over labelled organs (lungs left out) must lie
# The columns of `labels.tsv`.
NAMES: dict[str, CellKind] = {
    "index": Number(low=-(2**15), high=2**15 - 1, whole=True),
    "name": Text(),
}
CHECKED_VOXELS = 200_000  # of the labelled ones, spread over all
AIR_HU = -1000.0  # what lies below is padding (outside the bore: -2000, -3024) or noise in air


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

    def ids(self, structure: str) -> list[int]:
        """Class numbers of a structure (kidney_left), of both sides (kidney) or of a label of
        `constants.ORGANS`.
        """
        chosen = []
        for number, name in self.names.items():
            stem = uptake.stem(name)
            if structure in (name, stem, uptake.TISSUES[stem].label):
                chosen.append(number)
        return chosen

    def points_mm(self, structure: str) -> np.ndarray:
        """Voxel centres (n, 3) of a structure, RAS mm."""
        inside = np.isin(self.labels, self.ids(structure))
        return points_mm(np.argwhere(inside), self.affine)


def read_anatomy(path: str | Path, class_table: str | None = None) -> Anatomy:
    """Read `labels.nii.gz`, and `ct.nii.gz` (HU) and `labels.tsv` (index, name) if there, of a
    folder; or a label file.

    `class_table` names one of `uptake.TABLES`; without one, and without `labels.tsv`, the numbers
    are TotalSegmentator's (v2, total). Raises FileNotFoundError or ValueError naming the file:
    labels that are fractions or have no known name, volumes that are not 3-D, a CT that is not in
    HU, holds NaN or lies elsewhere than the labels, labels that it speaks against (`witness`).
    """
    path = Path(path)
    folder = path if path.is_dir() else None

    label_path = _volume(folder, "labels") if folder else path
    labels, affine = nifti.read_labels(label_path)
    table = folder / "labels.tsv" if folder else None
    if table is not None and not table.exists():
        table = None
    names = _names(labels, label_path, table, class_table)

    ct_path = _volume(folder, "ct") if folder else None
    if ct_path is None or not ct_path.exists():
        witness.check(label_path, labels, affine, names, None)
        body = from_labels(labels, affine)
        return Anatomy(
            label_path,
            labels,
            affine,
            names,
            None,
            None,
            body,
            affine,
        )

    hu, hu_affine = nifti.read_plain(ct_path)
    _check_hu(hu, ct_path)
    # before anything interpolates between padding and skin
    np.maximum(hu, np.float32(AIR_HU), out=hu)
    _check_match(labels, affine, names, hu, hu_affine, (label_path, ct_path))
    ct = witness.Witness(ct_path, hu, hu_affine)
    witness.check(label_path, labels, affine, names, ct)

    def labelled(to_mm: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return sample(labels, affine, to_mm, shape) > 0

    body, body_affine = from_ct(hu, hu_affine, labelled)
    return Anatomy(
        label_path,
        labels,
        affine,
        names,
        hu,
        hu_affine,
        body,
        body_affine,
    )


def _volume(folder: Path, name: str) -> Path:
    """The file of a volume in a folder, in either form; ValueError where it is there in both, or
    has its name in capitals, by which it would not be found.
    """
    endings = (f"{name}.nii", f"{name}.nii.gz")
    there = sorted(path.name for path in folder.iterdir() if path.name.lower() in endings)
    plain = folder / endings[0]

    if len(there) > 1:
        raise ValueError(f"{folder}: expected one of {', '.join(there)}, got {len(there)}")

    if there and there[0] not in endings:
        raise ValueError(f"{folder / there[0]}: expected the name {there[0].lower()}")

    return plain if plain.exists() else folder / endings[1]


def _names(
    labels: np.ndarray, path: Path, table: Path | None, class_table: str | None
) -> dict[int, str]:
    """Names of the class numbers that occur."""
    if table and class_table:
        raise ValueError(
            f"{table}: names the class numbers, and so does `labels: {class_table}`; expected one "
            "of the two"
        )

    if table:
        source = f"{table}"
        names = _table(table)
    elif class_table:
        source = class_table
        names = uptake.TABLES[class_table]
    else:
        source = "TotalSegmentator's classes (v2, total)"
        names = uptake.TOTAL_V2

    present = [int(i) for i in np.unique(labels) if i != 0]
    if not present:
        raise ValueError(f"{path}: every voxel is 0 (background): no organ is labelled")

    unknown = [i for i in present if i not in names]
    if unknown:
        raise ValueError(
            f"{path}: unknown class numbers {', '.join(map(str, unknown[:20]))}: not in {source}; "
            "name them in a labels.tsv beside labels.nii.gz, with the columns index and name"
        )

    for i in present:
        stem = uptake.stem(names[i])
        if stem not in uptake.TISSUES:
            raise ValueError(
                f"{table}: {names[i]!r} (number {i}) is no tissue of known uptake; "
                f"{nearest(stem, uptake.TISSUES)}"
            )

    return {i: names[i] for i in present}


def _table(path: Path) -> dict[int, str]:
    table = read_csv(path, NAMES).dropna(how="all")  # rows of nothing but tabs
    check_table(table, NAMES, path)
    names: dict[int, str] = {}

    for row, index, name in zip(table.index + 2, table["index"], table["name"], strict=True):
        if int(index) in names:
            raise ValueError(
                f"{path}: row {row}: index {index!r}: expected whole numbers, each once"
            )
        names[int(index)] = str(name).strip()

    return names


def _check_hu(hu: np.ndarray, path: Path) -> None:
    n_bad = int(np.count_nonzero(~np.isfinite(hu)))
    if n_bad:
        raise ValueError(
            f"{path}: {n_bad} of {hu.size} voxels are NaN or infinite; expected CT numbers in HU"
        )

    low = hu.min()
    high = hu.max()
    if low > -500 or high < -100 or high > 1e5:
        raise ValueError(
            f"{path}: values from {low:g} to {high:g} are not CT numbers in HU, in which air is "
            "-1000 and water 0 (rescale slope and intercept not applied?)"
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
    label_path, ct_path = paths
    tissues = {i: uptake.TISSUES[uptake.stem(name)] for i, name in names.items()}
    lungs = [i for i, tissue in tissues.items() if tissue.label == "lung"]

    is_lung = np.isin(labels, lungs)
    at = np.argwhere((labels != 0) & ~is_lung)
    if not len(at):
        at = np.argwhere(labels != 0)
    at = at[:: max(1, len(at) // CHECKED_VOXELS)]

    # the CT's voxels there
    to_voxels = np.linalg.inv(hu_affine)
    index = points_mm(points_mm(at, affine), to_voxels)
    index = np.rint(index).astype(int)
    within = (index >= 0) & (index < hu.shape)
    index = index[within.all(axis=1)]
    if not len(index):
        raise ValueError(
            f"{ct_path}: its field of view holds none of the labelled voxels of {label_path}"
        )

    median = float(np.median(hu[tuple(index.T)]))
    low, high = HU_OF_ORGANS
    if len(lungs) < len(names) and not low < median < high:
        raise ValueError(
            f"{ct_path}: the median over the organs of {label_path.name} is {median:g} HU, "
            f"expected {low:g} to {high:g} HU: another patient's labels, other affines, or no CT "
            "numbers in HU"
        )
