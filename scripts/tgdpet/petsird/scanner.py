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
from .efficiencies import efficiencies_of
from .module_types import ModuleType, module_types, pair_item, pair_name, type_pairs
from .time_blocks import Limits

RELATIVE_TOLERANCE = 1e-3  # of a bin's width, of a rotation's elements


def limits_of(path: Path, scanner: Any) -> Limits:
    """Sizes to check events against, from a `petsird.ScannerInformation`; ValueError naming what is
    not readable.
    """
    sizes = np.array([kind.bins for kind in module_types(path, scanner)])
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
    kinds = module_types(path, scanner)

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
        **efficiencies_of(path, scanner, kinds),
    )
    check_tables(table, str(path))
    return table


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

    for types in type_pairs(len(scanner.scanner_geometry.replicated_modules)):
        name = pair_name("tof_bin_edges", types)
        bins = pair_item(path, scanner.tof_bin_edges, types, "tof_bin_edges")
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
    for types in type_pairs(len(scanner.scanner_geometry.replicated_modules)):
        value = pair_item(path, scanner.tof_resolution, types, "tof_resolution")
        fwhm_mm.append(float(value))

    low = min(fwhm_mm)
    high = max(fwhm_mm)
    if not (low > 0 and high - low <= RELATIVE_TOLERANCE * high and np.isfinite(high)):
        raise ValueError(
            f"{path}: tof_resolution: expected one FWHM above 0 mm for all pairs of module types, "
            f"got {fwhm_mm}"
        )
    return fwhm_mm[0] / FWHM_PER_SIGMA
