"""Events per second of the projector pair and of one fused EM step, on one and on two threads.

Run by hand: python benchmarks/projector.py. Ratios within one run are what counts; the machine may be shared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config import Grid
from tgdpet.corrections import sample_lors
from tgdpet.listmode import EVENT
from tgdpet.projector import Projector
from tgdpet.scanner import PRESETS

EVENTS = 1_000_000
REPEATS = 5


def rate(work: Callable[[], object]) -> tuple[float, float]:
    """Median and spread (half the range) of events per second."""
    work()
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        rates.append(EVENTS / (time.perf_counter() - start))
    return float(np.median(rates)), (max(rates) - min(rates)) / 2


def main() -> None:
    """Print a line for every kernel and number of threads."""
    scanner = PRESETS["clinical"]
    grid = Grid([128, 128, 64], [4.0, 4.0, 4.0])
    rng = np.random.default_rng(0)
    det0, det1 = sample_lors(scanner, 0, EVENTS)
    events = np.empty(EVENTS, EVENT)
    events["det0"], events["det1"] = det0, det1
    events["tof"] = rng.integers(-8, 9, EVENTS)
    image = rng.random(grid.shape, dtype=np.float32)
    ones = np.ones(EVENTS, np.float32)
    additive = np.full(EVENTS, 10.0, np.float32)
    tof = events["tof"].copy()
    for threads in (1, 2):
        p = Projector(scanner, grid, threads)
        kernels = {
            "forward TOF": partial(p.forward, image, det0, det1, tof),
            "back TOF": partial(p.back, ones, det0, det1, tof),
            "EM step TOF": partial(p.em_back, image, events, additive),
        }
        for name, work in kernels.items():
            median, spread = rate(work)
            print(f"{name:12s} {threads} thread(s): {median / 1e6:5.2f} +- {spread / 1e6:.2f} M events/s")


if __name__ == "__main__":
    main()
