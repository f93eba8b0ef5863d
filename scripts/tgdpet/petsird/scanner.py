"""A PETSIRD header's scanner as `TableScanner`: positions, TOF bins, energy windows, efficiencies.

An LOR's end is the centre of its detecting element's box. Detection bins of all module types follow
one another: id = first id of the type + energy window + (element + module * elements) * energy
windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..constants import FWHM_PER_SIGMA
from ..scanner.tabulated import TableScanner, check_tables
from .time_blocks import Limits

MOST_BINS = 1 << 24
MOST_MODULES = 8192  # tables of pairs of modules grow with the square
EQUAL = 1e-3  # of a bin's width


def limits_of(path: Path, scanner: Any) -> Limits:
    """Sizes to check events against, from a `petsird.ScannerInformation`; ValueError naming what is
    not readable.
    """
    sizes = np.array(
        [modules * elements * windows for modules, elements, windows in _shapes(path, scanner)]
    )
    bins = len(_tof_edges(path, scanner)) - 1
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    odd = bins % 2 == 1
    return Limits(offsets, sizes, bins, 1 if odd else 2, (bins - 1) // 2 if odd else bins - 1)


def scanner_of(path: Path, scanner: Any, gantry: np.ndarray | None = None) -> TableScanner:
    """The scanner of a `petsird.ScannerInformation`, with `gantry` (module types, 3, 4) moving its
    module types.

    Raises ValueError naming the file, the field, what was expected and what came.
    """
    edges = _tof_edges(path, scanner)
    position = np.concatenate(
        [_positions(path, scanner, t, gantry) for t in range(len(_shapes(path, scanner)))]
    )
    z = position[:, 2]
    shift = float(z.min() + z.max()) / 2
    position[:, 2] -= shift
    bins = len(edges) - 1
    windows = [shape[2] for shape in _shapes(path, scanner)]
    out = TableScanner(
        name=scanner.model_name, axial_shift_mm=shift, tof_sigma_mm=_tof_sigma_mm(path, scanner, bins),
        tof_bin_mm=float(edges[-1] - edges[0]) / bins, tof_bins=bins, one_window=max(windows) == 1,
        position_mm=position.astype(np.float32), **_efficiencies(path, scanner),
    )  # fmt: skip
    check_tables(out, str(path))
    return out


def _shapes(path: Path, scanner: Any) -> list[tuple[int, int, int]]:
    """(modules, elements, energy windows) of each module type."""
    out = []
    for t, kind in enumerate(scanner.scanner_geometry.replicated_modules):
        edges = np.asarray(
            _item(path, scanner.event_energy_bin_edges, t, "event_energy_bin_edges").edges
        )
        if len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ValueError(
                f"{path}: event_energy_bin_edges[{t}]: expected rising keV, got {edges.tolist()}"
            )
        out.append(
            (len(kind.transforms), len(kind.object.detecting_elements.transforms), len(edges) - 1)
        )
    total = sum(m * e * w for m, e, w in out)
    if not out or min(min(shape) for shape in out) < 1 or total > MOST_BINS:
        raise ValueError(
            f"{path}: scanner_geometry: expected 1 to {MOST_BINS} detection bins, got {total} from (modules, elements, "
            f"energy windows) = {out}"
        )
    return out


def _positions(path: Path, scanner: Any, t: int, gantry: np.ndarray | None) -> np.ndarray:
    """Box centres of a module type's detection bins, (n, 3) float64, mm."""
    kind = scanner.scanner_geometry.replicated_modules[t]
    elements = kind.object.detecting_elements
    centre = np.mean(
        [corner.c for corner in elements.object.shape.corners], axis=0, dtype=np.float64
    )
    name = f"scanner_geometry.replicated_modules[{t}]"
    modules = _rigid(path, kind.transforms, name)
    places = _rigid(path, elements.transforms, f"{name}.object.detecting_elements")
    at = places[:, :, :3] @ centre + places[:, :, 3]
    out = np.einsum("mij,ej->mei", modules[:, :, :3], at) + modules[:, None, :, 3]
    if gantry is not None:
        out = out @ gantry[t, :, :3].T + gantry[t, :, 3]
    if not np.isfinite(out).all():
        raise ValueError(
            f"{path}: {name}: expected finite corners, got {centre.tolist()} as their mean"
        )
    return np.asarray(np.repeat(out.reshape(-1, 3), _shapes(path, scanner)[t][2], axis=0))


def _rigid(path: Path, transforms: list[Any], name: str) -> np.ndarray:
    out = np.array([t.matrix for t in transforms], np.float64)
    turn = out[:, :, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        bad = ~(off < EQUAL) | ~np.isfinite(out).all(axis=(1, 2))
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"{path}: {name}.transforms[{i}]: expected a rotation and a shift, got {out[i].tolist()}"
        )
    return out


def _tof_edges(path: Path, scanner: Any) -> np.ndarray:
    """TOF bin edges, mm; of equal width, symmetric about 0 and the same for all pairs of module
    types.
    """
    first: np.ndarray | None = None
    for a in range(len(scanner.scanner_geometry.replicated_modules)):
        for b in range(a + 1):
            name = f"tof_bin_edges[{a}][{b}]"
            row = _item(path, scanner.tof_bin_edges, a, "tof_bin_edges")
            edges = np.asarray(_item(path, row, b, f"tof_bin_edges[{a}]").edges, np.float64)
            width = np.diff(edges)
            if len(edges) < 2 or not (np.isfinite(edges).all() and (width > 0).all()):
                raise ValueError(
                    f"{path}: {name}: expected at least two rising edges in mm, got {edges.tolist()}"
                )
            tolerance = EQUAL * float(width.mean())
            if np.ptp(width) > 2 * tolerance:
                raise ValueError(
                    f"{path}: {name}: only equal widths are read, got {width.min():g} to {width.max():g} mm"
                )
            if np.abs(edges + edges[::-1]).max() > tolerance:
                raise ValueError(
                    f"{path}: {name}: only bins symmetric about 0 are read, got {edges[0]:g} to {edges[-1]:g} mm"
                )
            if first is not None and (
                len(first) != len(edges) or np.abs(first - edges).max() > tolerance
            ):
                raise ValueError(
                    f"{path}: {name}: only TOF bins that are the same for all pairs of module types are read, got "
                    f"{len(edges) - 1} from {edges[0]:g} mm here and {len(first) - 1} from {first[0]:g} mm in [0][0]"
                )
            first = edges if first is None else first
    if first is None:
        raise ValueError(
            f"{path}: scanner_geometry.replicated_modules: expected at least one module type, got none"
        )
    return first


def _tof_sigma_mm(path: Path, scanner: Any, bins: int) -> float:
    """Standard deviation of the TOF kernel, mm; 0 without TOF, that is with a single bin."""
    if bins == 1:
        return 0.0
    every = [
        float(
            _item(
                path,
                _item(path, scanner.tof_resolution, a, "tof_resolution"),
                b,
                f"tof_resolution[{a}]",
            )
        )
        for a in range(len(scanner.scanner_geometry.replicated_modules))
        for b in range(a + 1)
    ]
    if not (
        min(every) > 0 and max(every) - min(every) <= EQUAL * max(every) and np.isfinite(max(every))
    ):
        raise ValueError(
            f"{path}: tof_resolution: expected one FWHM above 0 mm for all pairs of module types, got {every}"
        )
    return every[0] / FWHM_PER_SIGMA


def _efficiencies(path: Path, scanner: Any) -> dict[str, Any]:
    """The tables of `TableScanner` that make LOR weights; absent components count as 1."""
    given = scanner.detection_efficiencies
    shapes = _shapes(path, scanner)
    sizes = [m * e * w for m, e, w in shapes]
    bins = [
        np.asarray(v, np.float32) for v in given.detection_bin_efficiencies or [[]] * len(sizes)
    ]
    if len(bins) != len(sizes) or any(
        len(v) not in (0, n) for v, n in zip(bins, sizes, strict=True)
    ):
        raise ValueError(
            f"{path}: detection_bin_efficiencies: expected {sizes} for the module types, got {[len(v) for v in bins]}"
        )
    bins = [v if len(v) else np.ones(n, np.float32) for v, n in zip(bins, sizes, strict=True)]
    pairs = _pairs(path, given, shapes)
    calibration = float(given.calibration_factor)
    if calibration == 0 and not (
        given.detection_bin_efficiencies or given.module_pair_efficiencies_vectors
    ):
        calibration = 1.0  # a file without efficiencies leaves the field at 0
    if not (0 < calibration < np.inf):
        raise ValueError(
            f"{path}: detection_efficiencies.calibration_factor: expected above 0, got {calibration}"
        )
    out = {
        "efficiency": np.concatenate(bins).astype(np.float32),
        "calibration": calibration,
        **pairs,
    }
    for name in ("efficiency", "pair_efficiency"):
        if not ((out[name] >= 0).all() and np.isfinite(out[name]).all()):
            raise ValueError(
                f"{path}: detection_efficiencies: expected finite values of at least 0, got {out[name].min()}"
            )
    return out


def _pairs(path: Path, given: Any, shapes: list[tuple[int, int, int]]) -> dict[str, Any]:
    inside = [np.arange(e * w) for _, e, w in shapes]
    modules = sum(m for m, _, _ in shapes)
    if not given.module_pair_sgidlut:
        if given.module_pair_efficiencies_vectors:
            raise ValueError(
                f"{path}: module_pair_sgidlut: expected a table, as there are pair efficiencies, got none"
            )
        n = sum(m * e * w for m, e, w in shapes)  # all in coincidence: one module that holds all
        return _tables(
            np.zeros(n), np.zeros(n), np.zeros((1, 1)), [0], [[0, 0]], [np.ones(1, np.float32)]
        )
    if modules > MOST_MODULES:
        raise ValueError(
            f"{path}: scanner_geometry: at most {MOST_MODULES} modules are read, got {modules}"
        )
    first = np.cumsum([0, *(m for m, _, _ in shapes)])
    module = [
        np.repeat(np.arange(m) + first[t], len(inside[t])) for t, (m, _, _) in enumerate(shapes)
    ]
    place = [np.tile(inside[t], m) for t, (m, _, _) in enumerate(shapes)]
    group = np.full((modules, modules), -1, np.int32)
    starts: list[int] = []
    strides: list[list[int]] = []
    values, used = [], 0
    for a in range(len(shapes)):
        for b in range(a + 1):
            size = len(inside[a]) * len(inside[b])
            groups, flat = _group_values(path, given, (a, b), (len(inside[a]), len(inside[b])))
            lut = _lut(path, given, (a, b), (shapes[a][0], shapes[b][0]), groups)
            lut = np.minimum(lut, 0) if groups is None else lut
            group[first[a] : first[a + 1], first[b] : first[b + 1]] = np.where(
                lut >= 0, lut + len(starts), -1
            )
            starts += [used + i * size for i in range(groups or 1)]
            strides += [[0, 0] if groups is None else [len(inside[b]), 1]] * (groups or 1)
            values.append(flat)
            used += len(flat)
    return _tables(np.concatenate(module), np.concatenate(place), group, starts, strides, values)


def _tables(
    module: np.ndarray,
    place: np.ndarray,
    group: np.ndarray,
    starts: list[int],
    strides: list[list[int]],
    values: Any,
) -> dict[str, Any]:
    return {
        "module": module.astype(np.int32), "place": place.astype(np.int32), "group": group.astype(np.int32),
        "group_start": np.array(starts, np.int64), "group_stride": np.array(strides, np.int64).reshape(-1, 2),
        "pair_efficiency": np.concatenate(values).astype(np.float32),
    }  # fmt: skip


def _lut(
    path: Path, given: Any, types: tuple[int, int], size: tuple[int, int], groups: int | None
) -> np.ndarray:
    """Symmetry groups (modules of the first type, modules of the second), -1 for no coincidence."""
    name = f"module_pair_sgidlut[{types[0]}][{types[1]}]"
    rows = _item(
        path,
        _item(path, given.module_pair_sgidlut, types[0], "module_pair_sgidlut"),
        types[1],
        name[:-3],
    )
    out = np.full(size, -1, np.int64)
    if not rows:
        out[:] = 0
        return out
    if len(rows) != size[0]:
        raise ValueError(f"{path}: {name}: expected {size[0]} rows, one a module, got {len(rows)}")
    for i, row in enumerate(rows):
        if len(row) != (width := i + 1 if types[0] == types[1] else size[1]):
            raise ValueError(f"{path}: {name}[{i}]: expected {width} modules, got {len(row)}")
        out[i, : len(row)] = row
    if groups is not None and out.max() >= groups:
        raise ValueError(f"{path}: {name}: expected groups below {groups}, got {out.max()}")
    return out


def _group_values(
    path: Path, given: Any, types: tuple[int, int], size: tuple[int, int]
) -> tuple[int | None, np.ndarray]:
    """Number of symmetry groups of a pair of types and their efficiencies, flat; (None, [1]) when
    absent.
    """
    name = f"module_pair_efficiencies_vectors[{types[0]}][{types[1]}]"
    if not given.module_pair_efficiencies_vectors:
        return None, np.ones(1, np.float32)
    row = _item(
        path, given.module_pair_efficiencies_vectors, types[0], "module_pair_efficiencies_vectors"
    )
    vector = _item(path, row, types[1], name[:-3])
    if not vector:
        return None, np.ones(1, np.float32)
    out = []
    for i, entry in enumerate(vector):
        shape = (len(entry.values), {len(v) for v in entry.values})
        if entry.sgid != i or shape != (size[0], {size[1]}):
            raise ValueError(
                f"{path}: {name}[{i}]: expected sgid {i} and {size[0]} rows of {size[1]} values, got sgid {entry.sgid} "
                f"and {shape[0]} rows of {sorted(shape[1])}"
            )
        out += [np.asarray(v, np.float32) for v in entry.values]
    return len(vector), np.concatenate(out)


def _item(path: Path, values: Any, index: int, name: str) -> Any:
    if index >= len(values):
        raise ValueError(
            f"{path}: {name}: expected an entry for module type {index}, got {len(values)} entries"
        )
    return values[index]
