"""2.5D training sets: volumes stored once a study, and a table of pairs of slices.

The table says which slice is trained towards which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import atomic, read_csv, write_csv
from ..io.nifti import Image, read_image
from ..io.orientation import grid_difference
from ..runtime.seeds import numpy_generator
from .body import body_mask

HALVES = ("half1", "half2")  # samples of a study that is learned on itself
INDEX_COLUMNS = ["study", "split", "file", "sample", "input", "target", "slice", "body"]


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
    with atomic(folder / name) as temporary, open(temporary, "wb") as file:
        np.save(file, np.stack(volumes))

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
        first, last = valid_range(target)

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


def valid_range(image: Image) -> tuple[int, int]:
    """First and last slice that may be trained on or measured (sidecar `ValidSlices`, else all)."""
    n_slices = image.data.shape[2]
    first, last = image.sidecar.get("ValidSlices", (0, n_slices - 1))

    return int(first), int(last)


def read_index(path: str | Path) -> pd.DataFrame:
    """Read an index table.

    Raises ValueError naming file and column when one is missing or holds what cannot be.
    """
    table = read_csv(path, INDEX_COLUMNS)
    splits_known = table["split"].isin(("train", "val")).all()

    if splits_known and not (table["split"] == "train").any():
        raise ValueError(f"{path}: no training slices")

    for column in ("input", "target", "slice"):
        values = table[column]
        if not pd.api.types.is_integer_dtype(values) or (values < 0).any():
            raise ValueError(f"{path}: column {column!r}: expected whole numbers >= 0")

    if not splits_known:
        raise ValueError(f"{path}: column 'split': expected train or val")

    if table["file"].isna().any():
        raise ValueError(f"{path}: column 'file': a row names no file")

    return table
