"""2.5D training sets: volumes stored once a study, and a table of pairs of slices.

The table says which slice is trained towards which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.arrays import write_array
from ..io.contents import WORD, CellKind, ListOf, Number, Text, check, check_table
from ..io.files import read_csv, write_csv
from ..io.nifti import Image, read_image, sidecar_path
from ..io.orientation import grid_difference
from ..runtime.seeds import numpy_generator
from .body import body_mask

HALVES = ("half1", "half2")  # samples of a study that is learned on itself
_NUMBER = Number(low=0, high=10**6, whole=True)
# The columns of an index table; files lie beside it.
INDEX_KINDS: dict[str, CellKind] = {
    "study": Text(WORD),
    "split": Text(choices=("train", "val")),
    "file": Text(WORD),
    "sample": Text(WORD),
    "input": _NUMBER,
    "target": _NUMBER,
    "slice": _NUMBER,
    "body": Number(low=0, high=1),
}
INDEX_COLUMNS = list(INDEX_KINDS)


@dataclass(frozen=True)
class Pair:
    """A noisy image and what it is trained towards."""

    study: str
    sample: str
    noisy: Path
    target: Path


def build(pairs: Sequence[Pair], validation: Sequence[str], out: str | Path) -> pd.DataFrame:
    """Write `{study}.npy` for every study and the index table `out`; return the table.

    The arrays are (V, Z, Y, X) float32, Bq/mL. Slices that the reconstruction marks as outside its
    valid range (sidecar `ValidSlices`) are left out. Raises ValueError when the images of a pair
    differ in grid.
    """
    folder = Path(out).parent
    rows: list[dict[str, object]] = []

    for study in dict.fromkeys(p.study for p in pairs):
        pairs_of_study = [p for p in pairs if p.study == study]
        split = "val" if study in validation else "train"
        rows += _build_study(pairs_of_study, split, folder)

    table = pd.DataFrame(rows, columns=INDEX_COLUMNS)
    write_csv(out, table)
    return table


def validation_studies(studies: Sequence[str], fraction: float, seed: int) -> list[str]:
    """The studies held out of training: whole studies, never slices.

    At least one where `fraction` > 0 and there are three studies, never more than half.
    """
    if len(studies) < 3:
        return []

    wanted = round(fraction * len(studies)) or int(fraction > 0)
    count = min(wanted, len(studies) // 2)
    shuffled = numpy_generator(seed, "validation").permutation(sorted(studies))

    return sorted(shuffled[:count].tolist())


def _build_study(pairs: Sequence[Pair], split: str, folder: Path) -> list[dict[str, object]]:
    # Every image is stored once, whatever pairs it is in.
    images: dict[Path, Image] = {}
    for pair in pairs:
        for path in (pair.noisy, pair.target):
            if path not in images:
                images[path] = read_image(path)
    _check_grids(images)
    _check_halves(pairs, images)

    name = f"{pairs[0].study}.npy"
    volumes = [image.data.transpose(2, 1, 0) for image in images.values()]
    write_array(folder / name, np.stack(volumes))

    paths = list(images)
    rows: list[dict[str, object]] = []
    for pair in pairs:
        common: dict[str, object] = {
            "study": pair.study,
            "split": split,
            "file": name,
            "sample": pair.sample,
            "input": paths.index(pair.noisy),
            "target": paths.index(pair.target),
        }
        target = images[pair.target]
        body = body_share(target.data)
        first, last = valid_range(target, sidecar_path(pair.target))

        for z in range(first, last + 1):
            share = round(float(body[z]), 4)
            rows.append({**common, "slice": z, "body": share})

    return rows


def _check_grids(images: Mapping[Path, Image]) -> None:
    """Raise ValueError where the images of a study are on another grid than the first."""
    first_path = next(iter(images))
    first = images[first_path]

    for path, image in images.items():
        difference = grid_difference(image.data.shape, image.affine, first.data.shape, first.affine)
        if difference:
            raise ValueError(f"{path}: {difference}, as in {first_path}")


def _check_halves(pairs: Sequence[Pair], images: Mapping[Path, Image]) -> None:
    """Raise ValueError where images that learn from each other are no independent halves."""
    for pair in pairs:
        if pair.sample == HALVES[0]:
            from .halves import check_halves  # torch, which other training sets do without

            names = (str(pair.noisy), str(pair.target))
            check_halves(images[pair.noisy], images[pair.target], names)


def body_share(data: np.ndarray) -> np.ndarray:
    """Share of voxels inside the body for every slice of (X, Y, Z): (Z,)."""
    return np.asarray(body_mask(data).mean(axis=(0, 1)))


def valid_range(image: Image, source: str | Path) -> tuple[int, int]:
    """First and last slice that may be trained on or measured (sidecar `ValidSlices`, else all).

    ValueError naming `source`, the sidecar, where these are no slices of the image.
    """
    n_slices = image.data.shape[2]
    valid = image.sidecar.get("ValidSlices", [0, n_slices - 1])
    check(
        valid, ListOf(Number(low=0, high=n_slices - 1, whole=True), length=2), source, "ValidSlices"
    )

    return int(valid[0]), int(valid[1])


def volumes_of(path: str | Path) -> list[Path]:
    """The arrays of volumes that an index table names."""
    names = sorted(read_index(path)["file"].unique())

    return [Path(path).parent / name for name in names]


def read_index(path: str | Path) -> pd.DataFrame:
    """Read an index table.

    Raises ValueError naming file and column when one is missing or holds what cannot be.
    """
    table = read_csv(path, INDEX_KINDS)
    check_table(table, INDEX_KINDS, path)

    if not (table["split"] == "train").any():
        raise ValueError(f"{path}: no training slices")

    return table
