"""A scanner given by tables: any detector positions, efficiencies of detectors and of pairs of
modules.

Detectors are detection bins: a detecting element and one of its energy windows. A line of response
(LOR) has the weight calibration * efficiency of both bins * efficiency of the pair in its pair of
modules; pairs of modules with the same geometry share a group (PETSIRD's SGID), group -1 is not in
coincidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from ..io.arrays import read_arrays, write_arrays
from ..io.contents import Kind, Number, Object, Text, Truth, check
from ..io.files import read_checked_json, write_checked_json
from ..runtime.compiled import njit
from .rings import find_rings

KIND = "table"
# What `scanner.json` says beside its kind.
FIGURES: dict[str, Kind] = {
    "name": Text(raw=True, longest=100_000),
    "axial_shift_mm": Number(),
    "tof_sigma_mm": Number(low=0),
    "tof_bin_mm": Number(above=0),
    "tof_bins": Number(low=1, high=100_000, whole=True),
    "calibration": Number(above=0),
    "one_window": Truth(),
}
TABLE_FILE = Object({"kind": Text(choices=(KIND,)), **FIGURES})
SCANNER_FIGURES = tuple(FIGURES)
ARRAYS = {
    "position_mm": np.float32,
    "module": np.int32,
    "place": np.int32,
    "efficiency": np.float32,
    "group": np.int32,
    "group_start": np.int64,
    "group_stride": np.int64,
    "pair_efficiency": np.float32,
}


class Tables(NamedTuple):
    """The arrays of a `TableScanner`, for compiled functions.

    They take them as a plain tuple: numba's cache on disk names the classes of arguments, and fails
    to load where one was renamed since.
    """

    position_mm: np.ndarray
    module: np.ndarray
    place: np.ndarray
    efficiency: np.ndarray
    group: np.ndarray
    group_start: np.ndarray
    group_stride: np.ndarray
    pair_efficiency: np.ndarray


@dataclass(frozen=True, eq=False)
class TableScanner:
    """Figures and tables; n detectors, M modules, G groups.

    `position_mm` (n, 3), scanner-centred: the file's z less `axial_shift_mm`. TOF has `tof_bins` of
    `tof_bin_mm`, symmetric about the LOR's middle. `module` and `place` (n,): a detector's module
    and its index in there; `efficiency` (n,). `group` (M, M): group of (module of the larger id,
    module of the smaller one); `pair_efficiency[group_start + place_larger * group_stride[0] +
    place_smaller * group_stride[1]]`, with `group_start` (G,) and `group_stride` (G, 2), is a
    pair's efficiency in its group. `singles` (n,): relative rates.
    """

    name: str
    axial_shift_mm: float
    tof_sigma_mm: float
    tof_bin_mm: float
    tof_bins: int
    calibration: float
    one_window: bool
    position_mm: np.ndarray
    module: np.ndarray
    place: np.ndarray
    efficiency: np.ndarray
    group: np.ndarray
    group_start: np.ndarray
    group_stride: np.ndarray
    pair_efficiency: np.ndarray
    singles: np.ndarray | None = None

    @property
    def n_detectors(self) -> int:
        """Number of detection bins."""
        return len(self.position_mm)

    @property
    def tof_scale(self) -> int:
        """Steps of an event's TOF in a bin: 1 for an odd number of bins, else 2.

        The TOF of bin k is scale * k - shift steps.
        """
        return 1 if self.tof_bins % 2 else 2

    @property
    def tof_half_bins(self) -> int:
        """Largest |TOF| of an event, in steps."""
        return self.tof_scale * (self.tof_bins - 1) // 2

    @property
    def tof_step_mm(self) -> float:
        """Length of an event's TOF unit along the LOR, mm."""
        return self.tof_bin_mm / self.tof_scale

    @property
    def _tables(self) -> tuple[np.ndarray, ...]:
        """The fields of `Tables`."""
        return tuple(getattr(self, name) for name in Tables._fields)

    def detector_mm(self) -> np.ndarray:
        """Positions of the detecting elements' centres, (n_detectors, 3) float32, mm."""
        return self.position_mm

    def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
        """Weights (n,) of LORs, mm^2; 0 outside coincidence and between bins of one element."""
        det0 = np.asarray(det0)
        det1 = np.asarray(det1)

        return np.asarray(_lor_weights(det0, det1, self._tables, self.calibration))

    def ring_ids(self) -> np.ndarray | None:
        """Detector ids (rings, crystals); None unless all rings are alike within 1e-3 mm."""
        return find_rings(self.position_mm) if self.one_window else None

    def relative_singles(self) -> np.ndarray | None:
        """Relative singles rates (n_detectors,) of mean 1, or None."""
        return self.singles

    def random_cells(self, singles: np.ndarray | None) -> float:
        """Sum over LORs in coincidence of both ends' relative singles, times the TOF bins.

        A randoms rate over all of the scanner divided by this is `Background.randoms_per_s`.
        """
        singles_or_one = 1.0 if singles is None else singles
        rate = np.where(self.efficiency > 0, singles_or_one, 0.0)

        by_module = np.argsort(self.module, kind="stable")
        modules = np.arange(len(self.group) + 1)
        starts = np.searchsorted(self.module[by_module], modules)

        cells = float(_sum_of_products(rate, by_module, starts, self._tables))

        return self.tof_bins * cells

    def partners(self, singles: np.ndarray) -> np.ndarray:
        """Sum (n,) of the relative singles of each detector's partners.

        Those are all detectors in modules that are in coincidence with its module.
        """
        of_module = np.bincount(self.module, singles, len(self.group))
        in_coincidence = np.tril(self.group >= 0)
        of_partners = (in_coincidence | in_coincidence.T) @ of_module

        return np.asarray(of_partners[self.module])


@njit(nogil=True)
def _lor_weights(det0, det1, arrays, calibration):  # type: ignore[no-untyped-def]
    tables = Tables(*arrays)
    weights = np.empty(det0.size)

    for e in range(det0.size):
        # unsigned: no test for negative ones
        i = np.uint32(max(det0[e], det1[e]))
        j = np.uint32(min(det0[e], det1[e]))
        a = np.uint32(tables.module[i])
        b = np.uint32(tables.module[j])

        group = tables.group[a, b]
        if group < 0 or (a == b and _same_element(tables.position_mm, i, j)):
            weights[e] = 0.0
            continue

        g = np.uint32(group)
        index = tables.group_start[g]
        index += tables.place[i] * tables.group_stride[g, 0]
        index += tables.place[j] * tables.group_stride[g, 1]

        efficiency_i = np.float64(tables.efficiency[i])
        efficiency_j = tables.efficiency[j]
        of_pair = tables.pair_efficiency[np.uint64(index)]
        weights[e] = calibration * efficiency_i * efficiency_j * of_pair

    return weights


@nb.njit(inline="always")
def _same_element(position_mm, i, j):  # type: ignore[no-untyped-def]
    """Whether two detection bins are windows of one element."""
    same_x = position_mm[i, 0] == position_mm[j, 0]
    same_y = position_mm[i, 1] == position_mm[j, 1]
    same_z = position_mm[i, 2] == position_mm[j, 2]

    return same_x and same_y and same_z


@njit(nogil=True)
def _sum_of_products(rate, by_module, starts, arrays):  # type: ignore[no-untyped-def]
    """Sum of rate_i rate_j over pairs with an efficiency.

    `by_module` (n,) sorts detectors by module; those of module a begin at starts[a].
    """
    tables = Tables(*arrays)
    total = 0.0

    for a in range(starts.size - 1):
        for b in range(a + 1):
            g = tables.group[a, b]
            if g < 0:
                continue

            for i in by_module[starts[a] : starts[a + 1]]:
                row = tables.place[i] * tables.group_stride[g, 0]
                row += tables.group_start[g]
                column = tables.group_stride[g, 1]

                of_partners = 0.0
                for j in by_module[starts[b] : starts[b + 1]]:
                    if a == b and (i <= j or _same_element(tables.position_mm, i, j)):
                        continue

                    index = np.uint64(row + tables.place[j] * column)
                    if tables.pair_efficiency[index] > 0:
                        of_partners += rate[j]

                total += rate[i] * of_partners

    return total


def write_tables(folder: str | Path, scanner: TableScanner) -> None:
    """Write `detectors.npz` and, last, `scanner.json`."""
    folder = Path(folder)

    arrays = {name: getattr(scanner, name) for name in ARRAYS}
    if scanner.singles is not None:
        arrays["singles"] = scanner.singles

    write_arrays(folder / "detectors.npz", arrays)

    figures = {name: getattr(scanner, name) for name in SCANNER_FIGURES}
    write_checked_json(folder / "scanner.json", {"kind": KIND, **figures})


def read_tables(folder: str | Path) -> TableScanner:
    """Read what `write_tables` wrote.

    FileNotFoundError or ValueError naming the file and what is wrong with it.
    """
    folder = Path(folder)
    path = folder / "detectors.npz"

    figures = _read_figures(folder / "scanner.json")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; it belongs to {folder}/scanner.json")

    scanner = TableScanner(**figures, **_read_arrays(path))
    check_tables(scanner, str(path))

    return scanner


def _read_figures(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = read_checked_json(path)

    check(values, TABLE_FILE, path)

    values.pop("kind")
    return values


def _read_arrays(path: Path) -> dict[str, Any]:
    arrays = read_arrays(path, "table of detectors")

    if set(arrays) - {"singles"} != set(ARRAYS):
        raise ValueError(f"{path}: expected the arrays {sorted(ARRAYS)}, got {sorted(arrays)}")

    for name, dtype in ARRAYS.items():
        came = arrays[name].dtype
        if came != dtype:
            raise ValueError(f"{path}: {name}: expected {np.dtype(dtype)}, got {came}")

    return arrays


def check_tables(scanner: TableScanner, source: str) -> None:
    """Raise ValueError, naming `source`, when the tables disagree.

    Their shapes must fit, no index may point outside its table, and all numbers must be finite.
    """
    _check_shapes(scanner, source)
    _check_range(scanner.module, 0, len(scanner.group), f"{source}: module")
    _check_range(scanner.group, -1, len(scanner.group_start), f"{source}: group")
    _check_pair_indices(scanner, source)

    for name in ("position_mm", "efficiency", "pair_efficiency", "singles"):
        values = getattr(scanner, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{source}: {name}: expected finite numbers")


def _check_shapes(scanner: TableScanner, source: str) -> None:
    n = len(scanner.position_mm)
    n_modules = len(scanner.group)
    n_groups = len(scanner.group_start)

    shapes = {
        "position_mm": (n, 3),
        "module": (n,),
        "place": (n,),
        "efficiency": (n,),
        "group": (n_modules, n_modules),
        "group_stride": (n_groups, 2),
    }
    if scanner.singles is not None:
        shapes["singles"] = (n,)

    for name, shape in shapes.items():
        came = getattr(scanner, name).shape
        if came != shape:
            raise ValueError(f"{source}: {name}: expected shape {shape}, got {came}")


def _check_range(index: np.ndarray, low: int, stop: int, name: str) -> None:
    if index.size == 0:
        return

    if index.min() < low or index.max() >= stop:
        raise ValueError(
            f"{name}: expected {low} to {stop - 1}, got {index.min()} to {index.max()}"
        )


def _check_pair_indices(scanner: TableScanner, source: str) -> None:
    """No pair of detectors may have its efficiency outside of `pair_efficiency`."""
    start = scanner.group_start
    stride = scanner.group_stride

    largest_place = np.zeros(len(scanner.group), np.int64)
    np.maximum.at(largest_place, scanner.module, scanner.place)

    # the last index of each pair of modules in coincidence
    a, b = np.nonzero(np.tril(scanner.group >= 0))
    g = scanner.group[a, b]
    last = start[g]
    last = last + largest_place[a] * stride[g, 0]
    last = last + largest_place[b] * stride[g, 1]

    lowest = min(
        scanner.place.min(initial=0),
        start.min(initial=0),
        stride.min(initial=0),
    )
    highest = last.max(initial=-1)

    n_values = len(scanner.pair_efficiency)
    if lowest < 0 or highest >= n_values:
        raise ValueError(f"{source}: pair_efficiency: {n_values} values, but indexed out of them")
