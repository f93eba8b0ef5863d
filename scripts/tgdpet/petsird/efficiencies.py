"""A PETSIRD header's detection efficiencies as tables of `TableScanner`: of detection bins, and of
pairs of modules by symmetry group.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .module_types import ModuleType, pair_item, pair_name, type_pairs

MOST_MODULES = 8192  # tables of pairs of modules grow with the square


def efficiencies_of(path: Path, scanner: Any, kinds: list[ModuleType]) -> dict[str, Any]:
    """The tables of `TableScanner` that make LOR weights; absent components count as 1."""
    given = scanner.detection_efficiencies
    tables: dict[str, Any] = {
        "efficiency": _bin_efficiencies(path, given, kinds),
        **_pair_tables(path, given, kinds),
        "calibration": _calibration(path, given),
    }

    for name in ("efficiency", "pair_efficiency"):
        values = tables[name]
        if not ((values >= 0).all() and np.isfinite(values).all()):
            raise ValueError(
                f"{path}: detection_efficiencies: expected finite values of at least 0, "
                f"got {values.min()}"
            )
    return tables


def _bin_efficiencies(path: Path, given: Any, kinds: list[ModuleType]) -> np.ndarray:
    """Efficiency of each detection bin, (n,) float32."""
    sizes = [kind.bins for kind in kinds]
    by_type = given.detection_bin_efficiencies or [[]] * len(sizes)

    lengths = [len(values) for values in by_type]
    fit = len(lengths) == len(sizes) and all(
        length in (0, size) for length, size in zip(lengths, sizes, strict=True)
    )
    if not fit:
        raise ValueError(
            f"{path}: detection_bin_efficiencies: expected {sizes} for the module types, "
            f"got {lengths}"
        )

    filled = [
        np.asarray(values, np.float32) if len(values) else np.ones(size, np.float32)
        for values, size in zip(by_type, sizes, strict=True)
    ]
    return np.concatenate(filled)


def _calibration(path: Path, given: Any) -> float:
    calibration = float(given.calibration_factor)
    if calibration == 0 and not (
        given.detection_bin_efficiencies or given.module_pair_efficiencies_vectors
    ):
        return 1.0  # a file without efficiencies leaves the field at 0

    if not (0 < calibration < np.inf):
        raise ValueError(
            f"{path}: detection_efficiencies.calibration_factor: expected above 0, "
            f"got {calibration}"
        )
    return calibration


def _pair_tables(path: Path, given: Any, kinds: list[ModuleType]) -> dict[str, np.ndarray]:
    """Which pairs of modules are in coincidence, by symmetry group, and each group's efficiencies;
    see `TableScanner`.
    """
    if not given.module_pair_sgidlut:
        if given.module_pair_efficiencies_vectors:
            raise ValueError(
                f"{path}: module_pair_sgidlut: expected a table, as there are pair efficiencies, "
                "got none"
            )
        return _all_in_coincidence(sum(kind.bins for kind in kinds))

    n_modules = sum(kind.modules for kind in kinds)
    if n_modules > MOST_MODULES:
        raise ValueError(
            f"{path}: scanner_geometry: at most {MOST_MODULES} modules are read, got {n_modules}"
        )

    first_module = np.cumsum([0, *(kind.modules for kind in kinds)])
    modules_of_type = [slice(*first_module[t : t + 2]) for t in range(len(kinds))]

    group = np.full((n_modules, n_modules), -1, np.int32)
    starts: list[int] = []
    strides: list[list[int]] = []
    values: list[np.ndarray] = []
    n_values = 0

    for types in type_pairs(len(kinds)):
        a, b = types
        efficiencies = _group_efficiencies(path, given, types, kinds)
        n_groups = None if efficiencies is None else len(efficiencies)
        lut = _symmetry_groups(path, given, types, kinds, n_groups)

        # numbers of this pair of types follow those of the pairs before
        if efficiencies is None:
            lut = np.minimum(lut, 0)
        lut = np.where(lut >= 0, lut + len(starts), -1)
        group[modules_of_type[a], modules_of_type[b]] = lut

        # without efficiencies one group, with the same value for all bins
        if efficiencies is None:
            efficiencies = np.ones((1, 1, 1), np.float32)
            stride = [0, 0]
        else:
            stride = [kinds[b].module_bins, 1]

        for table in efficiencies:
            starts.append(n_values)
            strides.append(stride)
            n_values += table.size
        values.append(efficiencies.ravel())

    module, place = _bin_modules(kinds, first_module)
    return {
        "module": module,
        "place": place,
        "group": group,
        "group_start": np.array(starts, np.int64),
        "group_stride": np.array(strides, np.int64).reshape(-1, 2),
        "pair_efficiency": np.concatenate(values),
    }


def _all_in_coincidence(n_bins: int) -> dict[str, np.ndarray]:
    """One module that holds all detection bins, in coincidence with itself."""
    return {
        "module": np.zeros(n_bins, np.int32),
        "place": np.zeros(n_bins, np.int32),
        "group": np.zeros((1, 1), np.int32),
        "group_start": np.zeros(1, np.int64),
        "group_stride": np.zeros((1, 2), np.int64),
        "pair_efficiency": np.ones(1, np.float32),
    }


def _bin_modules(
    kinds: list[ModuleType], first_module: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Module of each detection bin, and the bin's index in there; (n,) int32 each."""
    module = []
    place = []

    for first, kind in zip(first_module[:-1], kinds, strict=True):
        numbers = np.arange(kind.modules) + first
        module.append(np.repeat(numbers, kind.module_bins))
        place.append(np.tile(np.arange(kind.module_bins), kind.modules))

    return np.concatenate(module).astype(np.int32), np.concatenate(place).astype(np.int32)


def _symmetry_groups(
    path: Path, given: Any, types: tuple[int, int], kinds: list[ModuleType], n_groups: int | None
) -> np.ndarray:
    """Symmetry groups (modules of the first type, modules of the second), -1 for no coincidence."""
    name = pair_name("module_pair_sgidlut", types)
    rows = pair_item(path, given.module_pair_sgidlut, types, "module_pair_sgidlut")
    n_first, n_second = (kinds[t].modules for t in types)

    if not rows:
        return np.zeros((n_first, n_second), np.int64)
    if len(rows) != n_first:
        raise ValueError(f"{path}: {name}: expected {n_first} rows, one a module, got {len(rows)}")

    groups = np.full((n_first, n_second), -1, np.int64)
    for i, row in enumerate(rows):
        # of one type, the lower triangle
        width = i + 1 if types[0] == types[1] else n_second
        if len(row) != width:
            raise ValueError(f"{path}: {name}[{i}]: expected {width} modules, got {len(row)}")
        groups[i, :width] = row

    if n_groups is not None and groups.max() >= n_groups:
        raise ValueError(f"{path}: {name}: expected groups below {n_groups}, got {groups.max()}")
    return groups


def _group_efficiencies(
    path: Path, given: Any, types: tuple[int, int], kinds: list[ModuleType]
) -> np.ndarray | None:
    """Efficiencies of a pair of types, (symmetry groups, bins of the first's module, bins of the
    second's) float32; None when absent.
    """
    field = "module_pair_efficiencies_vectors"
    if not given.module_pair_efficiencies_vectors:
        return None
    vector = pair_item(path, given.module_pair_efficiencies_vectors, types, field)
    if not vector:
        return None

    n_rows, n_columns = (kinds[t].module_bins for t in types)
    for i, entry in enumerate(vector):
        widths = {len(row) for row in entry.values}
        if entry.sgid != i or len(entry.values) != n_rows or widths != {n_columns}:
            raise ValueError(
                f"{path}: {pair_name(field, types)}[{i}]: expected sgid {i} and {n_rows} rows of "
                f"{n_columns} values, got sgid {entry.sgid} and {len(entry.values)} rows of "
                f"{sorted(widths)}"
            )

    rows = [np.asarray(row, np.float32) for entry in vector for row in entry.values]
    return np.concatenate(rows).reshape(len(vector), n_rows, n_columns)
