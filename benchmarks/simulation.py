"""The simulation's speed on one thread: events a second, and what the bounds of survival give.

A study of the default run (`config/config.yaml`): seconds to find the bounds, then events a second
over whole time slices and of the true coincidences alone, with the bounds and without them. Run by
hand: python benchmarks/simulation.py (half a minute).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config.loading import read_config
from tgdpet.listmode.background import Background
from tgdpet.runtime.seeds import numpy_generator
from tgdpet.scanner import cylinder
from tgdpet.simulation import monte_carlo, phantom
from tgdpet.simulation.attenuation_bounds import body_of

CONFIG = Path(__file__).resolve().parent.parent / "config" / "config.yaml"
SLICES = 64
NOTHING = Background(0.0, [0.0] * 3, [100.0] * 3, 0.0)


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def scan_of_default_run() -> monte_carlo.Scan:
    """A training study of BMI 22 of the default run."""
    config = read_config(CONFIG)
    settings = config.simulation
    factor = settings.oversampling
    shape = tuple(n * factor for n in config.grid.shape)
    voxel_mm = tuple(v / factor for v in config.grid.voxel_mm)

    rng = numpy_generator(5, "phantom")
    organs, weight_kg = phantom.make_organs("train_v1v2", 22.0, rng, settings)
    fine = phantom.paint(organs, weight_kg, shape, voxel_mm, rng)
    coarse = phantom.downsample(fine, factor)
    device = cylinder.from_choice(config.scanner)

    return monte_carlo.scan_of(fine, coarse, voxel_mm, device, settings)


def without_bounds(scan: monte_carlo.Scan) -> monte_carlo.Scan:
    """The same scan, whose emissions are thinned by geometry alone."""
    plain = replace(scan, mu_per_mm=np.zeros_like(scan.mu_per_mm))
    thinned = plain.thinned
    thinned.directions.bins["sure"] = 0
    with_body = replace(thinned, body=body_of(scan.mu_per_mm, scan.mu_voxel_mm))

    same = replace(scan)
    same.__dict__["thinned"] = with_body
    return same


def processor_s(action: Callable[[], object]) -> float:
    """Processor seconds that an action takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def events_a_second(scan: monte_carlo.Scan, noise: Background, n_slices: int) -> float:
    """Median over time slices of events a processor second."""
    slices = monte_carlo.simulate(scan, noise, 1, slices=SLICES)
    next(slices)  # warms up

    rates = []
    for _ in range(n_slices):
        start = time.process_time()
        n_events = len(next(slices))
        rates.append(n_events / (time.process_time() - start))

    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=10, help="time slices of each measurement")
    args = parser.parse_args()

    scan = scan_of_default_run()
    noise = monte_carlo.background(scan, 1)  # compiles

    bounds_s = processor_s(lambda: replace(scan).thinned)
    print(f"{processor()}, one thread, processor time")
    rows, azimuths, slopes = scan.thinned.directions.bins.shape
    print(f"bounds: {bounds_s:.2f} s for {rows} blocks of {azimuths} x {slopes} directions")

    study = events_a_second(scan, noise, args.slices)
    print(f"trues, scatter and randoms: {study / 1e6:.2f} M events/s")

    bounded = events_a_second(scan, NOTHING, args.slices)
    unbounded = events_a_second(without_bounds(scan), NOTHING, args.slices)
    print(
        f"trues: {bounded / 1e6:.2f} M events/s; without bounds {unbounded / 1e6:.2f}; "
        f"ratio {bounded / unbounded:.1f}"
    )


if __name__ == "__main__":
    main()
