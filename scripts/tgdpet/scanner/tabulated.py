"""A scanner given by tables: any detector positions, efficiencies of detectors and of pairs of
modules.

Detectors are detection bins: a detecting element and one of its energy windows. A line of response
(LOR) has the weight calibration * efficiency of both bins * efficiency of the pair in its pair of
modules; pairs of modules with the same geometry share a group (PETSIRD's SGID), group -1 is not in
coincidence.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
from scipy.spatial import cKDTree

from ..io.files import atomic, read_json, write_json

KIND = "table"
SAME_MM = 1e-3  # positions closer than this are the same
FIGURES = (
    "name",
    "axial_shift_mm",
    "tof_sigma_mm",
    "tof_bin_mm",
    "tof_bins",
    "calibration",
    "one_window",
)
ARRAYS = {
    "position_mm": np.float32, "module": np.int32, "place": np.int32, "efficiency": np.float32, "group": np.int32,
    "group_start": np.int64, "group_stride": np.int64, "pair_efficiency": np.float32,
}  # fmt: skip


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
        """An event's TOF in steps is scale * k - shift for bin k: whole bins when they are odd in
        number, else half.
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

    def detector_mm(self) -> np.ndarray:
        """Positions of the detecting elements' centres, (n_detectors, 3) float32, mm."""
        return self.position_mm

    def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
        """Weights (n,) of LORs, mm^2; 0 outside coincidence and between bins of one element."""
        return np.asarray(_weights(
            np.asarray(det0), np.asarray(det1), self.position_mm, self.module, self.place, self.efficiency, self.group,
            self.group_start, self.group_stride, self.pair_efficiency, self.calibration,
        ))  # fmt: skip

    def ring_ids(self) -> np.ndarray | None:
        """Detector ids (rings, crystals) if all rings along z are alike within 1e-3 mm, else
        None.
        """
        return find_rings(self.position_mm) if self.one_window else None

    def relative_singles(self) -> np.ndarray | None:
        """Relative singles rates (n_detectors,) of mean 1, or None."""
        return self.singles

    def random_cells(self, singles: np.ndarray | None) -> float:
        """Sum of the products of both ends' relative singles over LORs in coincidence, times the
        TOF bins.

        A randoms rate over all of the scanner divided by this is `Background.randoms_per_s`.
        """
        rate = np.where(self.efficiency > 0, 1.0 if singles is None else singles, 0.0)
        order = np.argsort(self.module, kind="stable")
        starts = np.searchsorted(self.module[order], np.arange(len(self.group) + 1))
        tables = (
            self.position_mm,
            self.place,
            self.group,
            self.group_start,
            self.group_stride,
            self.pair_efficiency,
        )
        return self.tof_bins * float(_cells(rate, order, starts, *tables))

    def partners(self, singles: np.ndarray) -> np.ndarray:
        """Sum (n,) of the relative singles of all detectors in modules that are in coincidence with
        each one's.
        """
        total = np.bincount(self.module, singles, len(self.group))
        open_ = np.tril(self.group >= 0)
        return np.asarray(((open_ | open_.T) @ total)[self.module])


@nb.njit(cache=True, nogil=True)
def _weights(det0, det1, at, module, place, efficiency, group, start, stride, pair, calibration):  # type: ignore[no-untyped-def]
    out = np.empty(det0.size)
    for e in range(det0.size):
        i, j = (
            np.uint32(max(det0[e], det1[e])),
            np.uint32(min(det0[e], det1[e])),
        )  # unsigned: no test for negative ones
        a, b = np.uint32(module[i]), np.uint32(module[j])
        g = group[a, b]
        if g < 0 or (a == b and _same(at, i, j)):
            out[e] = 0.0
            continue
        index = (
            start[np.uint32(g)]
            + place[i] * stride[np.uint32(g), 0]
            + place[j] * stride[np.uint32(g), 1]
        )
        out[e] = calibration * np.float64(efficiency[i]) * efficiency[j] * pair[np.uint64(index)]
    return out


@nb.njit(inline="always")
def _same(at, i, j):  # type: ignore[no-untyped-def]
    """Whether two detection bins are windows of one element."""
    return at[i, 0] == at[j, 0] and at[i, 1] == at[j, 1] and at[i, 2] == at[j, 2]


@nb.njit(cache=True, nogil=True)
def _cells(rate, order, starts, at, place, group, start, stride, pair):  # type: ignore[no-untyped-def]
    """Sum of rate_i rate_j over pairs with an efficiency; `order` sorts detectors by module, from
    `starts` on.
    """
    total = 0.0
    for a in range(starts.size - 1):
        for b in range(a + 1):
            g = group[a, b]
            if g < 0:
                continue
            for i in order[starts[a] : starts[a + 1]]:
                row, column = start[g] + place[i] * stride[g, 0], stride[g, 1]
                others = 0.0
                for j in order[starts[b] : starts[b + 1]]:
                    if a == b and (i <= j or _same(at, i, j)):
                        continue
                    if pair[np.uint64(row + place[j] * column)] > 0:
                        others += rate[j]
                total += rate[i] * others
    return total


def find_rings(position_mm: np.ndarray) -> np.ndarray | None:
    """Arrange detectors (n, 3) as identical rings: ids (rings, crystals) by z and, within a ring,
    by angle.

    None when the planes of equal z (within 1e-3 mm) differ in number or in their detectors' x and
    y.
    """
    order = np.argsort(position_mm[:, 2], kind="stable")
    z = position_mm[order, 2].astype(np.float64)
    edges = np.flatnonzero(np.diff(z) > SAME_MM) + 1
    planes = np.split(order, edges)
    if any(len(p) != len(planes[0]) or np.ptp(position_mm[p, 2]) > SAME_MM for p in planes):
        return None
    at = position_mm[planes[0], :2]
    first = planes[0][np.lexsort((np.hypot(at[:, 0], at[:, 1]), np.arctan2(at[:, 1], at[:, 0])))]
    out = np.empty((len(planes), len(first)), np.int64)
    for row, plane in zip(out, planes, strict=True):
        distance, near = cKDTree(position_mm[plane, :2]).query(position_mm[first, :2])
        if distance.max() > SAME_MM or len(np.unique(near)) < len(near):
            return None
        row[:] = plane[near]
    return out


def write(folder: str | Path, scanner: TableScanner) -> None:
    """Write `detectors.npz` and, last, `scanner.json`."""
    folder = Path(folder)
    arrays = {name: getattr(scanner, name) for name in ARRAYS}
    if scanner.singles is not None:
        arrays["singles"] = scanner.singles
    with atomic(folder / "detectors.npz") as temporary:
        np.savez(temporary, **arrays)
    figures = {name: getattr(scanner, name) for name in FIGURES}
    write_json(folder / "scanner.json", {"kind": KIND, **figures})


def read(folder: str | Path) -> TableScanner:
    """Read what `write` wrote; FileNotFoundError or ValueError naming the file and what is wrong
    with it.
    """
    folder = Path(folder)
    values: dict[str, Any] = read_json(folder / "scanner.json")
    if set(values) != {"kind", *FIGURES}:
        raise ValueError(
            f"{folder}/scanner.json: expected the keys {['kind', *FIGURES]}, got {sorted(values)}"
        )
    for name in FIGURES[1:]:
        if not (isinstance(values[name], (int, float)) and math.isfinite(values[name])):
            raise ValueError(
                f"{folder}/scanner.json: {name}: expected a finite number, got {values[name]!r}"
            )
    path = folder / "detectors.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; it belongs to {folder}/scanner.json")
    try:
        with (
            open(path, "rb") as handle,
            np.load(handle) as file,
        ):  # np.load leaves a damaged one open
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not readable (truncated?): {error}") from error
    if set(arrays) - {"singles"} != set(ARRAYS):
        raise ValueError(f"{path}: expected the arrays {sorted(ARRAYS)}, got {sorted(arrays)}")
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != kind:
            raise ValueError(f"{path}: {name}: expected {np.dtype(kind)}, got {arrays[name].dtype}")
    values.pop("kind")
    out = TableScanner(**values, **arrays)
    check(out, str(path))
    return out


def check(scanner: TableScanner, source: str) -> None:
    """Raise ValueError, naming `source`, when shapes disagree or an index points outside its
    table.
    """
    n, modules, groups = len(scanner.position_mm), len(scanner.group), len(scanner.group_start)
    shapes = {
        "position_mm": (n, 3), "module": (n,), "place": (n,), "efficiency": (n,), "group": (modules, modules),
        "group_stride": (groups, 2), **({} if scanner.singles is None else {"singles": (n,)}),
    }  # fmt: skip
    for name, shape in shapes.items():
        if (got := getattr(scanner, name).shape) != shape:
            raise ValueError(f"{source}: {name}: expected shape {shape}, got {got}")
    for name, index, size in (
        ("module", scanner.module, modules),
        ("group", scanner.group, groups),
    ):
        low = -1 if name == "group" else 0
        if index.size and not (low <= index.min() and index.max() < size):
            raise ValueError(
                f"{source}: {name}: expected {low} to {size - 1}, got {index.min()} to {index.max()}"
            )
    widest = np.zeros(modules, np.int64)
    np.maximum.at(widest, scanner.module, scanner.place)
    a, b = np.nonzero(np.tril(scanner.group >= 0))
    g = scanner.group[a, b]
    last = (
        scanner.group_start[g]
        + widest[a] * scanner.group_stride[g, 0]
        + widest[b] * scanner.group_stride[g, 1]
    )
    low = min(
        scanner.place.min(initial=0),
        scanner.group_start.min(initial=0),
        scanner.group_stride.min(initial=0),
    )
    if low < 0 or last.max(initial=-1) >= len(scanner.pair_efficiency):
        raise ValueError(
            f"{source}: pair_efficiency: {len(scanner.pair_efficiency)} values, but indexed out of them"
        )
    for name in ("position_mm", "efficiency", "pair_efficiency", "singles"):
        values = getattr(scanner, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{source}: {name}: expected finite numbers")
