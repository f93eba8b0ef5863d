"""Whether a label map can be what its class numbers say, by its CT and the order of a body.

Each structure's median CT number lies in its tissue's range (`uptake.Tissue.hu`), left organs on
the left, what is above or in front of others there; and no shift or mirroring of the labels fits
the CT better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import uptake
from .resampling import points_mm

LEAST_ML = 5.0  # smaller structures are too thin to be witnesses: their medians are their edges'
LEAST_VOXELS = 30
SAMPLED_VOXELS = 200_000  # of the labelled ones, spread over all
FITTED_VOXELS = 50_000  # of those, at every shift
HIGHEST_FIRST = (
    ("skull", "brain"),
    ("lung_upper_lobe", "heart", "heart_myocardium"),
    ("liver", "spleen"),
    ("sacrum", "urinary_bladder", "hip"),
)
FRONT_TO_BACK = (
    ("liver", "vertebrae"),
    ("liver", "autochthon"),
    ("heart", "vertebrae"),
    ("sternum", "vertebrae"),
    ("urinary_bladder", "sacrum"),
)
SHIFTS_MM = (10.0, 20.0, 40.0, 80.0)
# by axis of RAS mm, where positive shifts go
TOWARDS = (("left", "right"), ("back", "front"), ("feet", "head"))
BETTER = 0.9  # share of the spread of CT numbers within structures that counts as a better fit
LEAST_SPREAD_HU = 5.0
MOST_SPREAD_HU = 300.0  # of one voxel: metal and gas count no more
OTHERWISE = "labels of another body, other class numbers, or a wrong affine"
LEAST_WITHIN = 0.8  # share of the labelled voxels that a shift may not take out of the CT


@dataclass(frozen=True)
class Structures:
    """What is measured of each class number (n,): volume, mL; centre (n, 3), RAS mm; median, HU, or
    NaN without a CT.
    """

    numbers: np.ndarray
    volume_ml: np.ndarray
    centre_mm: np.ndarray
    median_hu: np.ndarray


@dataclass(frozen=True)
class Witness:
    """A CT, what its numbers are sampled at, and where it lies on disk."""

    path: Path
    hu: np.ndarray
    affine: np.ndarray

    def at(self, mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CT numbers at points (n, 3), HU, of those within the CT, and which these are (n,)."""
        index = points_mm(mm, np.linalg.inv(self.affine))
        index = np.rint(index).astype(int)
        within = ((index >= 0) & (index < self.hu.shape)).all(axis=1)

        return self.hu[tuple(index[within].T)], within


def check(
    path: Path,
    labels: np.ndarray,
    affine: np.ndarray,
    names: Mapping[int, str],
    ct: Witness | None,
) -> None:
    """Refuse a label map that the body's order or its CT speaks against.

    Raises ValueError naming the files, what was expected and what came, and the table of class
    numbers that would fit, if there is one.
    """
    labelled = np.flatnonzero(labels)
    step = max(1, len(labelled) // SAMPLED_VOXELS)
    index = np.unravel_index(labelled[::step], labels.shape)

    number = labels[index]
    mm = points_mm(np.stack(index, axis=1), affine)
    each_ml = step * abs(np.linalg.det(affine[:3, :3])) * 1e-3

    structures = _measured(number, mm, each_ml, ct)
    faults = list(_faults(structures, names))
    better = "" if ct is None else _Fit(ct, mm, number, names).better()

    if faults:
        more = f" ({len(faults)} such faults)" if len(faults) > 1 else ""
        why = _table_like(structures, names) or better or OTHERWISE
        raise ValueError(f"{path}: {faults[0]}{more}; {why}")

    if ct is not None and better:
        raise ValueError(f"{path}: does not lie on the body in {ct.path}: {better}")


def _measured(number: np.ndarray, mm: np.ndarray, each_ml: float, ct: Witness | None) -> Structures:
    """Volume, centre and median of the class numbers that are large enough to tell, of the voxels
    (n,) that were sampled, which stand for `each_ml`.
    """
    counts = np.bincount(number)
    large = (counts * each_ml >= LEAST_ML) & (counts >= LEAST_VOXELS)
    numbers = np.flatnonzero(large)

    if ct is not None:
        hu, within = ct.at(mm)
        number_there = number[within]

    centres = []
    medians = []
    for i in numbers:
        centres.append(mm[number == i].mean(axis=0))

        inside = np.empty(0) if ct is None else hu[number_there == i]
        medians.append(np.median(inside) if len(inside) >= LEAST_VOXELS else np.nan)

    return Structures(
        numbers,
        counts[numbers] * each_ml,
        np.reshape(centres, (-1, 3)),
        np.array(medians, float),
    )


def _table_like(structures: Structures, names: Mapping[int, str]) -> str:
    """Which table of class numbers fits the structures, in words; empty where none does."""
    for table, others in uptake.TABLES.items():
        used = all(others.get(i) == name for i, name in names.items())
        known = all(i in others for i in names)

        if known and not used and not any(_faults(structures, others)):
            return f"its class numbers look like those of {table}: say so with `labels: {table}`"

    return ""


def _faults(structures: Structures, names: Mapping[int, str]) -> Iterator[str]:
    """What speaks against these names of the class numbers."""
    yield from _wrong_tissue(structures, names)

    for higher in range(len(HIGHEST_FIRST)):
        for lower in range(higher + 1, len(HIGHEST_FIRST)):
            for above in HIGHEST_FIRST[higher]:
                for below in HIGHEST_FIRST[lower]:
                    yield from _out_of_order(structures, names, (above, below), 2, "above")

    for front, back in FRONT_TO_BACK:
        yield from _out_of_order(structures, names, (front, back), 1, "in front of")

    paired = {uptake.stem(name) for name in names.values() if "_left" in name}
    for stem in sorted(paired):
        sides = (f"{stem}_right", f"{stem}_left")
        yield from _out_of_order(structures, names, sides, 0, "on the right of")


def _wrong_tissue(structures: Structures, names: Mapping[int, str]) -> Iterator[str]:
    for i, median in zip(structures.numbers, structures.median_hu, strict=True):
        name = names[int(i)]
        expected = uptake.TISSUES[uptake.stem(name)].hu

        if expected is None or np.isnan(median):
            continue

        low, high = expected
        if not low <= median <= high:
            yield (
                f"{name} (number {i}) has a median of {median:.0f} HU in the CT, "
                f"expected {low:g} to {high:g} HU"
            )


def _out_of_order(
    structures: Structures,
    names: Mapping[int, str],
    pair: tuple[str, str],
    axis: int,
    relation: str,
) -> Iterator[str]:
    """That the first of two structures lies lower along an axis than the second, if it does."""
    first, second = pair
    at_first = _centre_mm(structures, names, first)
    at_second = _centre_mm(structures, names, second)
    if at_first is None or at_second is None:
        return

    lower_by_mm = at_second[axis] - at_first[axis]
    if lower_by_mm > 0:
        towards = TOWARDS[axis][0]
        yield (
            f"{first} lies {lower_by_mm:.0f} mm nearer to the {towards} than {second}, "
            f"expected {relation} it"
        )


def _centre_mm(structures: Structures, names: Mapping[int, str], wanted: str) -> np.ndarray | None:
    """The centre of a structure's parts (a stem, with its side or without), RAS mm."""
    chosen = np.array([_is_part(names[int(i)], wanted) for i in structures.numbers], bool)
    if not chosen.any():
        return None

    weights = structures.volume_ml[chosen]
    return np.asarray(np.average(structures.centre_mm[chosen], axis=0, weights=weights))


def _is_part(name: str, wanted: str) -> bool:
    """Whether `rib_left_3` is part of `rib` or `rib_left`."""
    stem = uptake.stem(name)
    side = "left" if "_left" in name else "right" if "_right" in name else ""

    return wanted in (stem, f"{stem}_{side}")


class _Fit:
    """How well labels fit a CT: the mean distance of CT numbers from their structure's median."""

    def __init__(
        self, ct: Witness, mm: np.ndarray, number: np.ndarray, names: Mapping[int, str]
    ) -> None:
        told = [i for i, name in names.items() if uptake.TISSUES[uptake.stem(name)].hu is not None]
        chosen = np.flatnonzero(np.isin(number, told))
        chosen = chosen[:: max(1, len(chosen) // FITTED_VOXELS)]

        self.ct = ct
        self.mm = mm[chosen]
        self.number = number[chosen]

    def better(self) -> str:
        """A shift or mirroring that fits clearly better, in words; empty where there is none."""
        spread_hu, share = self._spread(self.mm)
        if spread_hu < LEAST_SPREAD_HU:
            return ""

        best_hu = BETTER * spread_hu
        found = ""
        for moved, words in self._moved():
            moved_hu, moved_share = self._spread(moved)
            if moved_hu < best_hu and moved_share >= LEAST_WITHIN * share:
                best_hu = moved_hu
                found = words

        if not found:
            return ""
        return (
            f"CT numbers within structures differ by {spread_hu:.0f} HU, and by {best_hu:.0f} HU "
            f"with the labels {found}"
        )

    def _moved(self) -> Iterator[tuple[np.ndarray, str]]:
        for axis, (low, high) in enumerate(TOWARDS):
            step = np.eye(3)[axis]
            for shift_mm in SHIFTS_MM:
                yield self.mm + shift_mm * step, f"{shift_mm:g} mm nearer to the {high}"
                yield self.mm - shift_mm * step, f"{shift_mm:g} mm nearer to the {low}"

            middle = self.mm[:, axis].min() + self.mm[:, axis].max()
            mirrored = self.mm.copy()
            mirrored[:, axis] = middle - mirrored[:, axis]
            yield mirrored, f"mirrored, {low} to {high}"

    def _spread(self, mm: np.ndarray) -> tuple[float, float]:
        """Mean distance from the structure's median, HU, and the share of voxels within the CT."""
        hu, within = self.ct.at(mm)
        number = self.number[within]
        if not len(number):
            return np.inf, 0.0

        total_hu = 0.0
        order = np.argsort(number, kind="stable")
        _, starts = np.unique(number[order], return_index=True)
        for part in np.split(hu[order], starts[1:]):
            distance_hu = np.abs(part - np.median(part))
            total_hu += float(np.minimum(distance_hu, MOST_SPREAD_HU).sum())

        return total_hu / len(number), len(number) / len(self.number)
