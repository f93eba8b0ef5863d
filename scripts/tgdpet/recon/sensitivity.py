"""Sensitivity image: the back projection of all LORs with their weights and attenuation.

On a scanner of identical rings all LORs are summed, none sampled (see `sensitivity_rings`). On
other scanners all pairs of detectors are summed if they are few, else a sample of them (see
`sensitivity_pairs`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..io.arrays import map_array, write_array
from ..scanner.cylinder import AnyScanner
from . import corners, joseph, lanes, lines, sensitivity_pairs, sensitivity_rings, symmetry
from .projector_cpu import Projector
from .sensitivity_pairs import sum_of_pairs
from .sensitivity_rings import sum_of_columns

MAX_PAIRS = 20_000_000  # of detectors: with more, a scanner without rings is sampled

OnPairs = Callable[[int], None]


def sensitivity(
    projector: Projector,
    mu_per_cm: np.ndarray,
    on_pairs: OnPairs = lambda n: None,
    max_pairs: int = MAX_PAIRS,
) -> np.ndarray:
    """s = sum over LORs of w a A^T 1, in counts per (Bq/mL) and s: (X, Y, Z) float32.

    `mu_per_cm` (X, Y, Z) on the projector's grid. `on_pairs(n)` is called after each n of the
    `work(scanner)` detector pairs.
    """
    ids = projector.scanner.ring_ids()
    mu_per_mm = np.ascontiguousarray(mu_per_cm, np.float32)
    mu_per_mm = mu_per_mm / np.float32(10)

    if ids is None:
        total = sum_of_pairs(projector, mu_per_mm, on_pairs, max_pairs)
    else:
        total = sum_of_columns(projector, mu_per_mm, ids, on_pairs)

    return (total * 1e-3).astype(np.float32)  # Bq/mL to Bq/mm3


def work(scanner: AnyScanner, max_pairs: int = MAX_PAIRS) -> int:
    """Detector pairs that `sensitivity` goes through: of columns where there are rings."""
    ids = scanner.ring_ids()
    n = scanner.n_detectors if ids is None else ids.shape[1]
    pairs = n * (n - 1) // 2

    return pairs if ids is not None else min(pairs, max_pairs)


def cached(
    projector: Projector,
    mu_per_cm: np.ndarray,
    folder: Path | None,
    on_pairs: OnPairs = lambda n: None,
) -> np.ndarray:
    """As `sensitivity`, kept in `folder` by the hash of everything that it depends on (`key`)."""
    if folder is None:
        return sensitivity(projector, mu_per_cm, on_pairs)

    path = folder / f"sensitivity-{key(projector, mu_per_cm)}.npy"
    image = _read_cached(path, projector.grid.shape)
    if image is not None:
        on_pairs(work(projector.scanner))
        return image

    image = sensitivity(projector, mu_per_cm, on_pairs)
    write_array(path, image)

    return image


def _read_cached(path: Path, shape: list[int]) -> np.ndarray | None:
    """The image in the cache; None where there is none or the file is damaged, which is said."""
    if not path.exists():
        return None

    try:
        image = np.array(map_array(path, "sensitivity image"))
    except (ValueError, OSError) as error:
        print(f"{error}; it is computed anew", file=sys.stderr, flush=True)
        return None

    return image if list(image.shape) == list(shape) and image.dtype == np.float32 else None


def key(projector: Projector, mu_per_cm: np.ndarray) -> str:
    """Hash of all that the sensitivity image depends on.

    The scanner field by field, the grid, the attenuation and the code.
    """
    scanner = projector.scanner
    content = hashlib.sha256()

    this_module = sys.modules[__name__]
    of_rings = (sensitivity_rings, symmetry, lanes)
    of_pairs = (sensitivity_pairs, joseph, lines, corners)
    for code in (this_module, *of_rings, *of_pairs, type(scanner)):
        content.update(inspect.getsource(code).encode())

    content.update(repr(projector.grid.shape).encode())
    content.update(repr(projector.grid.voxel_mm).encode())

    for field in dataclasses.fields(scanner):  # type: ignore[arg-type]
        value = getattr(scanner, field.name)
        content.update(field.name.encode())

        if isinstance(value, np.ndarray):
            content.update(value.tobytes())
        else:
            content.update(repr(value).encode())

    mu = np.ascontiguousarray(mu_per_cm, np.float32)
    content.update(mu.tobytes())

    return content.hexdigest()[:24]
