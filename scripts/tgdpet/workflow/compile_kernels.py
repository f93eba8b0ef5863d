"""Run every numba kernel once on a tiny problem, which fills the on-disk cache."""

from __future__ import annotations

import numpy as np

from ..config import roles
from ..config.roles import Sample
from ..config.sections import Grid, ReconProtocol, ScannerChoice, Simulation
from ..listmode import subsample
from ..recon import additive_term, osem, projector_cpu, sensitivity
from ..recon.subsets import OrderedEvents
from ..scanner import cylinder
from ..simulation import monte_carlo, phantom


def compile_all() -> list[str]:
    """Simulate, correct and reconstruct a few events; returns the names of the stages compiled."""
    settings = Simulation(oversampling=1)
    device = cylinder.from_choice(ScannerChoice(rings=8))
    grid = Grid([16, 16, 8], [24.0, 24.0, 8.0])
    shape = tuple(grid.shape)
    voxel_mm = tuple(grid.voxel_mm)

    # A body and a few events of it
    rng = np.random.default_rng(0)
    organs, weight_kg = phantom.make_organs(roles.TRAINING, 22, rng, settings)
    body = phantom.paint(organs, weight_kg, shape, voxel_mm, rng)
    scan = monte_carlo.scan_of(body, body, voxel_mm, device, settings)
    noise = monte_carlo.background(scan, 0)
    events = next(iter(monte_carlo.simulate(scan, noise, 0, slices=4096)))

    # One sample of them
    sample = Sample("all", 0.9, 0, 2)
    kept = subsample.keep(sample, 0, len(events), 0, "none")

    # Corrections and an image
    pair = projector_cpu.Projector(device, grid)
    image = sensitivity.sensitivity(pair, body.mu_per_cm)
    additive = additive_term.additive(pair, events, body.mu_per_cm, noise)
    protocol = ReconProtocol([8.0] * 3, 1, 1)
    subsets = OrderedEvents(pair, events, additive).subsets(protocol.subsets, kept)
    osem.from_subsets(pair, subsets, image, scan.effective_s, protocol)

    return ["simulate", "subsample", "corrections", "reconstruct"]
