"""The module types of a PETSIRD header, and its tables of one entry a type or a pair of types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MOST_BINS = 1 << 24


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


def module_types(path: Path, scanner: Any) -> list[ModuleType]:
    """The types of a `petsird.ScannerInformation`; ValueError naming what is not readable."""
    kinds = []

    for t, modules in enumerate(scanner.scanner_geometry.replicated_modules):
        windows = type_item(path, scanner.event_energy_bin_edges, t, "event_energy_bin_edges")
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


def type_pairs(n_types: int) -> Iterator[tuple[int, int]]:
    """Pairs of module types as PETSIRD's tables hold them: the second no later than the first."""
    for a in range(n_types):
        for b in range(a + 1):
            yield a, b


def pair_name(field: str, types: tuple[int, int]) -> str:
    """How errors name the entry of a table for a pair of module types."""
    return f"{field}[{types[0]}][{types[1]}]"


def pair_item(path: Path, table: Any, types: tuple[int, int], field: str) -> Any:
    """The entry of a table for a pair of module types; ValueError when it lacks one."""
    row = type_item(path, table, types[0], field)
    return type_item(path, row, types[1], f"{field}[{types[0]}]")


def type_item(path: Path, values: Any, index: int, name: str) -> Any:
    """The entry of a table for a module type; ValueError when it lacks one."""
    if index >= len(values):
        raise ValueError(
            f"{path}: {name}: expected an entry for module type {index}, got {len(values)} entries"
        )
    return values[index]
