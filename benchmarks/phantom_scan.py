"""A phantom on a grid, scanned by a configuration's scanner; what its reconstructions share."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config import sections as configuration
from tgdpet.config.sections import Grid
from tgdpet.recon import additive_term, sensitivity
from tgdpet.recon.projector_cpu import Projector
from tgdpet.runtime.progress import Progress
from tgdpet.scanner import cylinder
from tgdpet.simulation import monte_carlo


@dataclass(frozen=True)
class Body:
    """Activity in Bq/mL and attenuation in 1/cm on the grid (X, Y, Z)."""

    activity: np.ndarray
    mu_per_cm: np.ndarray


@dataclass(frozen=True)
class Data:
    """A scan's events and what its reconstructions share."""

    projector: Projector
    events: np.ndarray
    additive: np.ndarray
    sensitivity: np.ndarray
    effective_s: float


def axes_mm(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxel centres along x, y, z, broadcastable to the grid."""
    axes = []
    for n, voxel_mm in zip(grid.shape, grid.voxel_mm, strict=True):
        axes.append((np.arange(n) - (n - 1) / 2) * voxel_mm)

    x, y, z = axes
    return x[:, None, None], y[None, :, None], z[None, None, :]


def simulated(
    phantom: Body, grid: Grid, config: configuration.Config, scan_s: float, threads: int
) -> Data:
    """A scan of a phantom on a grid and its corrections."""
    device = cylinder.from_choice(dataclasses.replace(config.scanner, efficiency=None))
    settings = dataclasses.replace(config.simulation, scan_s=scan_s, oversampling=1)

    voxel_mm = tuple(grid.voxel_mm)
    activity_bq = (phantom.activity * np.prod(voxel_mm) * 1e-3).astype(np.float32)
    mu_per_mm = phantom.mu_per_cm / 10
    scan = monte_carlo.Scan(activity_bq, voxel_mm, mu_per_mm, voxel_mm, device, settings)
    noise = monte_carlo.background(scan, 1)

    parts = []
    with Progress(64, "simulate", "slices") as bar:
        for part in monte_carlo.simulate(scan, noise, 2, threads):
            parts.append(part)
            bar.update(1)
    events = np.concatenate(parts)

    projector = Projector(device, grid, threads)
    with Progress(sensitivity.work(device), "sensitivity", "pairs") as bar:
        image_s = sensitivity.sensitivity(projector, phantom.mu_per_cm, bar.update)
    additive = additive_term.additive(projector, events, phantom.mu_per_cm, noise)

    return Data(projector, events, additive, image_s, scan.effective_s)
