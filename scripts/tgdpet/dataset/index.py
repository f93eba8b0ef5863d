"""2.5D training sets: volumes stored once a study, and a table that says which slice is trained on
which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import atomic, read_csv, write_csv
from ..io.nifti import Image, read_image
from ..runtime.seeds import numpy_generator

COLUMNS = ["study", "split", "file", "sample", "input", "target", "slice", "body"]
BODY_SHARE = 0.05  # of the target's 99th percentile: below is air


@dataclass(frozen=True)
class Pair:
    """A noisy image and what it is trained towards."""

    study: str
    sample: str
    noisy: Path
    target: Path


def build(pairs: Sequence[Pair], validation: Sequence[str], out: str | Path) -> pd.DataFrame:
    """Write `{study}.npy` ((V, Z, Y, X) float32, Bq/mL) for every study and the index table `out`;
    return the table.

    Slices that the reconstruction marks as outside its valid range (sidecar `ValidSlices`) are left
    out. Raises ValueError when the images of a pair differ in grid.
    """
    folder = Path(out).parent
    rows: list[dict[str, object]] = []
    for study in dict.fromkeys(p.study for p in pairs):
        rows += _build_study(
            [p for p in pairs if p.study == study],
            "val" if study in validation else "train",
            folder,
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_csv(out, table)
    return table


def validation_studies(studies: Sequence[str], fraction: float, seed: int) -> list[str]:
    """The studies held out: at least one where `fraction` > 0 and there are three studies, never
    more than half.
    """
    count = min(round(fraction * len(studies)) or int(fraction > 0), len(studies) // 2)
    if len(studies) < 3:
        return []
    return sorted(numpy_generator(seed, "validation").permutation(sorted(studies))[:count].tolist())


def _build_study(pairs: Sequence[Pair], split: str, folder: Path) -> list[dict[str, object]]:
    paths = list(dict.fromkeys(path for p in pairs for path in (p.noisy, p.target)))
    images = {path: read_image(path) for path in paths}
    first = images[paths[0]]
    for path, image in images.items():
        if image.data.shape != first.data.shape or not np.allclose(
            image.affine, first.affine, atol=1e-3
        ):
            raise ValueError(
                f"{path}: grid {image.data.shape} differs from that of {paths[0]}: {first.data.shape}"
            )
    name = f"{pairs[0].study}.npy"
    with atomic(folder / name) as temporary, open(temporary, "wb") as file:
        np.save(file, np.stack([images[path].data.transpose(2, 1, 0) for path in paths]))
    rows: list[dict[str, object]] = []
    for pair in pairs:
        common: dict[str, object] = {
            "study": pair.study,
            "split": split,
            "file": name,
            "sample": pair.sample,
        }
        common |= {"input": paths.index(pair.noisy), "target": paths.index(pair.target)}
        target = images[pair.target]
        body = body_share(target.data)
        low, high = valid_range(target)
        rows += [
            {**common, "slice": z, "body": round(float(body[z]), 4)} for z in range(low, high + 1)
        ]
    return rows


def body_share(data: np.ndarray) -> np.ndarray:
    """Share of voxels inside the body for every slice of (X, Y, Z): (Z,)."""
    return np.asarray((data > BODY_SHARE * np.percentile(data, 99)).mean(axis=(0, 1)))


def valid_range(image: Image) -> tuple[int, int]:
    """First and last slice that may be trained on or measured (sidecar `ValidSlices`, else all)."""
    low, high = image.sidecar.get("ValidSlices", (0, image.data.shape[2] - 1))
    return int(low), int(high)


def read_index(path: str | Path) -> pd.DataFrame:
    """Read an index table; ValueError naming file and column when one is missing or holds what
    cannot be.
    """
    table = read_csv(path, COLUMNS)
    if not (table["split"] == "train").any() and table["split"].isin(("train", "val")).all():
        raise ValueError(f"{path}: no training slices")
    for column in ("input", "target", "slice"):
        if not pd.api.types.is_integer_dtype(table[column]) or (table[column] < 0).any():
            raise ValueError(f"{path}: column {column!r}: expected whole numbers >= 0")
    if not table["split"].isin(("train", "val")).all():
        raise ValueError(f"{path}: column 'split': expected train or val")
    if table["file"].isna().any():
        raise ValueError(f"{path}: column 'file': a row names no file")
    return table
