"""A PETSIRD header's scanner as `TableScanner`: positions, TOF bins, energy windows, efficiencies.

An LOR's end is the centre of its detecting element's box. Detection bins of all module types follow
one another: id = first id of the type + energy window + (element + module * elements) * energy
windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..constants import FWHM_PER_SIGMA
from ..scanner.tabulated import TableScanner, check
from .time_blocks import Limits

MOST_BINS = 1 << 24
MOST_MODULES = 8192  # tables of pairs of modules grow with the square
RELATIVE_TOLERANCE = 1e-3  # of a bin's width, of a rotation's elements


class ModuleType(NamedTuple):
    """How many modules there are of a type, and elements and energy windows in each."""

    modules: int
    elements: int
    windows: int

    @property
    def module_bins(self) -> int:
        """Detection bins of a module."""
        return self.elements * self.windows

    @property
    def bins(self) -> int:
        """Detection bins of all modules."""
        return self.modules * self.module_bins


def limits_of(path: Path, scanner: Any) -> Limits:
    """Sizes to check events against, from a `petsird.ScannerInformation`; ValueError naming what is
    not readable.
    """
    sizes = np.array([kind.bins for kind in _module_types(path, scanner)])
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    # an even number of TOF bins has none in the middle: numbers count half bins
    n_tof = len(_tof_edges(path, scanner)) - 1
    if n_tof % 2 == 1:
        return Limits(offsets, sizes, n_tof, tof_scale=1, tof_shift=(n_tof - 1) // 2)
    return Limits(offsets, sizes, n_tof, tof_scale=2, tof_shift=n_tof - 1)


def scanner_of(path: Path, scanner: Any, gantry: np.ndarray | None = None) -> TableScanner:
    """The scanner of a `petsird.ScannerInformation`, with `gantry` (module types, 3, 4) moving its
    module types.

    Raises ValueError naming the file, the field, what was expected and what came.
    """
    edges_mm = _tof_edges(path, scanner)
    n_tof = len(edges_mm) - 1
    kinds = _module_types(path, scanner)

    # centred along the axis
    position_mm = np.concatenate(
        [_positions(path, scanner, t, kind, gantry) for t, kind in enumerate(kinds)]
    )
    z = position_mm[:, 2]
    shift_mm = float(z.min() + z.max()) / 2
    position_mm[:, 2] -= shift_mm

    table = TableScanner(
        name=scanner.model_name,
        axial_shift_mm=shift_mm,
        tof_sigma_mm=_tof_sigma_mm(path, scanner, n_tof),
        tof_bin_mm=float(edges_mm[-1] - edges_mm[0]) / n_tof,
        tof_bins=n_tof,
        one_window=max(kind.windows for kind in kinds) == 1,
        position_mm=position_mm.astype(np.float32),
        **_efficiencies(path, scanner, kinds),
    )
    check(table, str(path))
    return table


def _module_types(path: Path, scanner: Any) -> list[ModuleType]:
    kinds = []

    for t, modules in enumerate(scanner.scanner_geometry.replicated_modules):
        windows = _item(path, scanner.event_energy_bin_edges, t, "event_energy_bin_edges")
        edges_kev = np.asarray(windows.edges)
        if len(edges_kev) < 2 or not (np.diff(edges_kev) > 0).all():
            raise ValueError(
                f"{path}: event_energy_bin_edges[{t}]: expected rising keV, "
                f"got {edges_kev.tolist()}"
            )

        n_modules = len(modules.transforms)
        n_elements = len(modules.object.detecting_elements.transforms)
        kinds.append(ModuleType(n_modules, n_elements, len(edges_kev) - 1))

    total = sum(kind.bins for kind in kinds)
    if not 1 <= total <= MOST_BINS or min(kind.bins for kind in kinds) < 1:
        raise ValueError(
            f"{path}: scanner_geometry: expected 1 to {MOST_BINS} detection bins, got {total} from "
            f"(modules, elements, energy windows) = {[tuple(kind) for kind in kinds]}"
        )
    return kinds


def _positions(
    path: Path, scanner: Any, t: int, kind: ModuleType, gantry: np.ndarray | None
) -> np.ndarray:
    """Box centres of a module type's detection bins, (n, 3) float64, mm."""
    replicated = scanner.scanner_geometry.replicated_modules[t]
    elements = replicated.object.detecting_elements
    corners = [corner.c for corner in elements.object.shape.corners]
    centre = np.mean(corners, axis=0, dtype=np.float64)

    name = f"scanner_geometry.replicated_modules[{t}]"
    modules = _rigid(path, replicated.transforms, name)
    in_module = _rigid(path, elements.transforms, f"{name}.object.detecting_elements")

    # element in module, module in scanner, scanner in gantry
    at = in_module[:, :, :3] @ centre + in_module[:, :, 3]
    position = np.einsum("mij,ej->mei", modules[:, :, :3], at) + modules[:, None, :, 3]
    if gantry is not None:
        position = position @ gantry[t, :, :3].T + gantry[t, :, 3]

    if not np.isfinite(position).all():
        raise ValueError(
            f"{path}: {name}: expected finite corners, got {centre.tolist()} as their mean"
        )
    return np.asarray(np.repeat(position.reshape(-1, 3), kind.windows, axis=0))


def _rigid(path: Path, transforms: list[Any], name: str) -> np.ndarray:
    """Transformations (n, 3, 4), each of which is a rotation and a shift."""
    matrices = np.array([transform.matrix for transform in transforms], np.float64)
    turn = matrices[:, :, :3]

    with np.errstate(invalid="ignore", over="ignore"):
        product = turn @ turn.transpose(0, 2, 1)
        deviation = np.abs(product - np.eye(3)).max(axis=(1, 2))
        bad = ~(deviation < RELATIVE_TOLERANCE) | ~np.isfinite(matrices).all(axis=(1, 2))

    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"{path}: {name}.transforms[{i}]: expected a rotation and a shift, "
            f"got {matrices[i].tolist()}"
        )
    return matrices


def _tof_edges(path: Path, scanner: Any) -> np.ndarray:
    """TOF bin edges, mm; of equal width, symmetric about 0 and the same for all pairs of module
    types.
    """
    first: np.ndarray | None = None

    for types in _type_pairs(len(scanner.scanner_geometry.replicated_modules)):
        name = _pair_name("tof_bin_edges", types)
        bins = _pair_item(path, scanner.tof_bin_edges, types, "tof_bin_edges")
        edges = np.asarray(bins.edges, np.float64)
        tolerance_mm = _check_tof_edges(path, name, edges)

        if first is None:
            first = edges
        elif len(first) != len(edges) or np.abs(first - edges).max() > tolerance_mm:
            raise ValueError(
                f"{path}: {name}: only TOF bins that are the same for all pairs of module types "
                f"are read, got {len(edges) - 1} from {edges[0]:g} mm here and {len(first) - 1} "
                f"from {first[0]:g} mm in [0][0]"
            )

    if first is None:
        raise ValueError(
            f"{path}: scanner_geometry.replicated_modules: expected at least one module type, "
            "got none"
        )
    return first


def _check_tof_edges(path: Path, name: str, edges: np.ndarray) -> float:
    """Refuse edges other than of equal bins symmetric about 0; returns the tolerance, mm."""
    width = np.diff(edges)
    if len(edges) < 2 or not (np.isfinite(edges).all() and (width > 0).all()):
        raise ValueError(
            f"{path}: {name}: expected at least two rising edges in mm, got {edges.tolist()}"
        )

    tolerance_mm = RELATIVE_TOLERANCE * float(width.mean())
    if np.ptp(width) > 2 * tolerance_mm:
        raise ValueError(
            f"{path}: {name}: only equal widths are read, got {width.min():g} to {width.max():g} mm"
        )
    if np.abs(edges + edges[::-1]).max() > tolerance_mm:
        raise ValueError(
            f"{path}: {name}: only bins symmetric about 0 are read, got {edges[0]:g} to "
            f"{edges[-1]:g} mm"
        )

    return tolerance_mm


def _tof_sigma_mm(path: Path, scanner: Any, n_tof: int) -> float:
    """Standard deviation of the TOF kernel, mm; 0 without TOF, that is with a single bin."""
    if n_tof == 1:
        return 0.0

    fwhm_mm = []
    for types in _type_pairs(len(scanner.scanner_geometry.replicated_modules)):
        value = _pair_item(path, scanner.tof_resolution, types, "tof_resolution")
        fwhm_mm.append(float(value))

    low = min(fwhm_mm)
    high = max(fwhm_mm)
    if not (low > 0 and high - low <= RELATIVE_TOLERANCE * high and np.isfinite(high)):
        raise ValueError(
            f"{path}: tof_resolution: expected one FWHM above 0 mm for all pairs of module types, "
            f"got {fwhm_mm}"
        )
    return fwhm_mm[0] / FWHM_PER_SIGMA


def _efficiencies(path: Path, scanner: Any, kinds: list[ModuleType]) -> dict[str, Any]:
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

    for types in _type_pairs(len(kinds)):
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
    name = _pair_name("module_pair_sgidlut", types)
    rows = _pair_item(path, given.module_pair_sgidlut, types, "module_pair_sgidlut")
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
    vector = _pair_item(path, given.module_pair_efficiencies_vectors, types, field)
    if not vector:
        return None

    n_rows, n_columns = (kinds[t].module_bins for t in types)
    for i, entry in enumerate(vector):
        widths = {len(row) for row in entry.values}
        if entry.sgid != i or len(entry.values) != n_rows or widths != {n_columns}:
            raise ValueError(
                f"{path}: {_pair_name(field, types)}[{i}]: expected sgid {i} and {n_rows} rows of "
                f"{n_columns} values, got sgid {entry.sgid} and {len(entry.values)} rows of "
                f"{sorted(widths)}"
            )

    rows = [np.asarray(row, np.float32) for entry in vector for row in entry.values]
    return np.concatenate(rows).reshape(len(vector), n_rows, n_columns)


def _type_pairs(n_types: int) -> Iterator[tuple[int, int]]:
    """Pairs of module types as PETSIRD's tables hold them: the second no later than the first."""
    for a in range(n_types):
        for b in range(a + 1):
            yield a, b


def _pair_name(field: str, types: tuple[int, int]) -> str:
    return f"{field}[{types[0]}][{types[1]}]"


def _pair_item(path: Path, table: Any, types: tuple[int, int], field: str) -> Any:
    """The entry of a table for a pair of module types."""
    row = _item(path, table, types[0], field)
    return _item(path, row, types[1], f"{field}[{types[0]}]")


def _item(path: Path, values: Any, index: int, name: str) -> Any:
    if index >= len(values):
        raise ValueError(
            f"{path}: {name}: expected an entry for module type {index}, got {len(values)} entries"
        )
    return values[index]
