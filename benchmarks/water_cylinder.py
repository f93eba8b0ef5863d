"""How right a water cylinder's activity is: in its middle, and at the ends of the axial field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from phantom_scan import Body, Data, axes_mm, simulated

from tgdpet.config import sections as configuration
from tgdpet.config.roles import Sample
from tgdpet.config.sections import Grid
from tgdpet.listmode.subsample import keep, taken
from tgdpet.recon import osem

RADIUS_MM = 100.0
WATER_PER_CM = 0.096
ACTIVITY_BQML = 5300.0
MEASURED_MM = 80.0  # radius within which slices are measured, away from the edge
END_MM = 15.0  # what counts as the end of the axial field
LONG_S = 600.0
SHORT_S = 60.0
CONVERGED = 10  # iterations


def rows(config: configuration.Config, threads: int) -> Iterator[tuple[str, str, float]]:
    """Quantity, protocol and deviation from the truth in %, for the whole scan and a tenth of it.

    The cylinder fills the configuration's grid from end to end. With v2 also for many iterations,
    as its own number stops before convergence.
    """
    grid = config.grid
    phantom = cylinder_of_water(grid)
    data = simulated(phantom, grid, config, LONG_S, threads)

    protocols = dict(config.protocols)
    name = f"v2, {CONVERGED} iterations"
    protocols[name] = dataclasses.replace(protocols["v2"], iterations=CONVERGED)

    for seconds in (LONG_S, SHORT_S):
        for name, protocol in protocols.items():
            image = reconstructed(data, seconds / LONG_S, protocol)

            for quantity, deviation_pc in deviations(image, data, grid):
                yield f"water cylinder, {seconds:g} s: {quantity}", name, deviation_pc


def cylinder_of_water(grid: Grid) -> Body:
    """The phantom; voxels belong to it by their centre."""
    x, y, z = axes_mm(grid)
    inside = (x**2 + y**2 + 0 * z) <= RADIUS_MM**2

    activity = np.where(inside, ACTIVITY_BQML, 0).astype(np.float32)
    mu_per_cm = np.where(inside, WATER_PER_CM, 0).astype(np.float32)
    return Body(activity, mu_per_cm)


def reconstructed(data: Data, share: float, protocol: configuration.ReconProtocol) -> np.ndarray:
    """The image of a share of the events, drawn as the workflow draws its noise levels."""
    sample = Sample("sample", share)
    kept = keep(sample, 0, len(data.events), 3, "cylinder")
    events, additive = taken(kept, [data.events, data.additive])

    return osem.reconstruct(
        data.projector,
        events,
        additive,
        data.sensitivity,
        data.effective_s * share,
        protocol,
        lambda n_events: None,
    )


def deviations(image: np.ndarray, data: Data, grid: Grid) -> Iterator[tuple[str, float]]:
    """Mean of the middle half, and the slice that is farthest off in three parts of the axis, %."""
    x, y, z = axes_mm(grid)
    inside = ((x**2 + y**2) <= MEASURED_MM**2)[:, :, 0]
    slice_pc = (image[inside].mean(axis=0) / ACTIVITY_BQML - 1) * 100

    from_middle_mm = np.abs(z.ravel())
    half_field_mm = data.projector.scanner.axial_mm / 2
    middle = from_middle_mm < half_field_mm / 2
    end = from_middle_mm > half_field_mm - END_MM
    first, last = osem.valid_slices(data.sensitivity)
    valid = np.arange(len(slice_pc))
    valid = (valid >= first) & (valid <= last)

    yield "mean of the middle half", float(slice_pc[middle].mean())
    yield "farthest slice of the middle half", farthest(slice_pc[middle])
    yield "farthest valid slice", farthest(slice_pc[valid])
    yield f"farthest slice within {END_MM:g} mm of the ends", farthest(slice_pc[end])


def farthest(slice_pc: np.ndarray) -> float:
    """The deviation of largest size, with its sign."""
    return float(slice_pc[np.argmax(np.abs(slice_pc))])
