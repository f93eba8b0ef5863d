"""Run every numba kernel once on a tiny problem, which fills the on-disk cache."""

from __future__ import annotations

import numpy as np

from . import corrections, osem, phantom, projector, scanner, sensitivity, simulate, subsample
from .config import Grid, Protocol, ScannerChoice, Simulation
from .samples import Sample


def compile_all() -> list[str]:
    """Simulate, correct and reconstruct a few events; returns the names of the stages compiled."""
    settings = Simulation(oversampling=1)
    device = scanner.from_choice(ScannerChoice(rings=8))
    grid = Grid([16, 16, 8], [24.0, 24.0, 8.0])
    rng = np.random.default_rng(0)
    organs, weight = phantom.make_organs("train_v1v2", 22, rng, settings)
    body = phantom.paint(organs, weight, tuple(grid.shape), tuple(grid.voxel_mm), rng)
    scan = simulate.scan_of(body, body, tuple(grid.voxel_mm), device, settings)
    noise = simulate.background(scan, 0)
    events = next(iter(simulate.simulate(scan, noise, 0, slices=4096)))
    sample = Sample("all", 0.9, 0, 2)
    subsample.keep(sample, 0, len(events), 0, "none")
    pair = projector.Projector(device, grid)
    image = sensitivity.sensitivity(pair, body.mu_per_cm)
    additive = corrections.additive(pair, events, body.mu_per_cm, noise)
    osem.reconstruct(pair, events, additive, image, scan.effective_s, Protocol([8.0] * 3, 1, 1))
    return ["simulate", "subsample", "corrections", "reconstruct"]
