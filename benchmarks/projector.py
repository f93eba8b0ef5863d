"""Events per second of the projector pair and of one fused EM step, on one thread and on several.

Run by hand: python benchmarks/projector.py [--events N] [--repeats N] [--threads N] [--cuda]. Every
round runs every variant once on one thread and once on all: ratios are medians over rounds, since a
shared machine's speed changes. What two threads can give at most is measured in the same rounds by
loops that compute and that read memory. Where others keep the cores busy, read the CPU time: all
threads' over that of one, 1 when nothing is lost by sharing. With --cuda all threads are compared
with the GPU; what is sent there and back is part of the time, but not where events are held.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config.sections import Grid
from tgdpet.listmode.events import EVENT
from tgdpet.recon.locality import locality_order
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.projectors import on_device
from tgdpet.scanner.cylinder import PRESETS

SCANNER = PRESETS["clinical"]
GRIDS = [Grid([128, 128, 64], [4.0, 4.0, 4.0]), Grid([200, 200, 109], [3.0, 3.0, 3.0])]
Work = Callable[[Any], object]  # given a Projector or a CudaProjector


def events_of(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random accepted LORs (n,) with TOF bins within 42 mm of their middle."""
    det = rng.integers(0, SCANNER.n_detectors, (2, 6 * n + 100))
    accepted = np.flatnonzero(SCANNER.lor_weights(*det))[:n]
    events = np.empty(n, EVENT)
    events["det0"], events["det1"] = det[:, accepted]
    events["tof"] = rng.integers(-8, 9, n)
    return events


def variants(events: np.ndarray, grid: Grid, rng: np.random.Generator) -> dict[str, Work]:
    """What is timed: forward, back, both and the fused step, of sorted and of unsorted events."""
    image = rng.random(grid.shape, dtype=np.float32)
    ones, additive = np.ones(len(events), np.float32), np.full(len(events), 10.0, np.float32)
    works: dict[str, Work] = {}
    for name, some in (
        ("sorted", events[locality_order(events, SCANNER, grid)]),
        ("unsorted", events),
    ):
        lors = tuple(np.ascontiguousarray(some[key]) for key in ("det0", "det1"))
        tof = np.ascontiguousarray(some["tof"])

        def separate(p, lors=lors, tof=tof):  # type: ignore[no-untyped-def]
            return p.back(1 / (p.forward(image, *lors, tof) + additive), *lors, tof)

        works[f"forward TOF, {name}"] = lambda p, lors=lors, tof=tof: p.forward(image, *lors, tof)
        works[f"back TOF, {name}"] = lambda p, lors=lors, tof=tof: p.back(ones, *lors, tof)
        works[f"EM step, fused, {name}"] = lambda p, some=some: p.em_back(image, some, additive)
        works[f"EM step, separate, {name}"] = separate
        works[f"forward non-TOF, {name}"] = lambda p, lors=lors: p.forward(image, *lors)
        works[f"back non-TOF, {name}"] = lambda p, lors=lors: p.back(ones, *lors)
    works["sorting itself"] = lambda p: locality_order(events, SCANNER, grid)
    return works


@nb.njit(nogil=True)
def compute(n):  # type: ignore[no-untyped-def]
    """A loop within registers."""
    x = total = 0.5
    for _ in range(n):
        x = x * 1.0000001 + 0.5
        total += x
    return total


@nb.njit(nogil=True)
def read(values, n):  # type: ignore[no-untyped-def]
    """Random reads from all over an array."""
    at, total = np.uint32(1), np.float32(0)
    for _ in range(n):
        at = np.uint32(at * np.uint32(1664525) + np.uint32(1013904223))
        total += values[(at >> np.uint32(8)) % np.uint32(values.size)]
    return total


def ceilings() -> dict[str, Work]:
    """Loops that share nothing: 16 equal pieces each."""
    image, memory = np.ones(130 * 130 * 66, np.float32), np.ones(30_000_000, np.float32)

    def on_all(piece: Callable[[], object]) -> Work:
        def work(p: Projector) -> None:
            with ThreadPoolExecutor(p.threads) as pool:
                list(pool.map(lambda _: piece(), range(16)))

        return work

    return {
        "ceiling: computing": on_all(lambda: compute(2_000_000)),
        "ceiling: random reads of 4.5 MB": on_all(lambda: read(image, 2_000_000)),
        "ceiling: random reads of 120 MB": on_all(lambda: read(memory, 500_000)),
    }


def held(events: np.ndarray, grid: Grid, rng: np.random.Generator) -> dict[str, Work]:
    """The fused step with events and additive term held on the device, as reconstruction has
    them.
    """
    image, additive = (
        rng.random(grid.shape, dtype=np.float32),
        np.full(len(events), 10.0, np.float32),
    )
    kept: dict[int, tuple[Any, Any]] = {}

    def work(p: Any) -> object:
        if id(p) not in kept:
            kept[id(p)] = p.hold(events), p.hold(additive)
        return p.em_back(image, *kept[id(p)])

    return {"EM step, fused, held": work}


def measure(works: dict[str, Work], one: Any, many: Any, n: int, repeats: int) -> None:
    """Print a line for each: M events/s of the first projector and the second (median, half the
    range), their ratio.
    """
    for work in works.values():
        work(one), work(many)  # compiles
    wall, cpu = ({name: np.empty((repeats, 2)) for name in works} for _ in range(2))
    for i in range(repeats):
        for name, work in works.items():
            for j, projector in enumerate((one, many)):
                start = time.perf_counter(), time.process_time()
                work(projector)
                wall[name][i, j], cpu[name][i, j] = (
                    time.perf_counter() - start[0],
                    time.process_time() - start[1],
                )
    for name, s in wall.items():
        rate, ratio = n / s / 1e6, s[:, 0] / s[:, 1]
        numbers = "  ".join(f"{np.median(r):6.2f} +- {np.ptp(r) / 2:4.2f}" for r in rate.T)
        text = numbers if not name.startswith("ceiling") else " " * len(numbers)
        best, cost = s[:, 0].min() / s[:, 1].min(), np.median(cpu[name][:, 1] / cpu[name][:, 0])
        print(
            f"{name:32s} {text}  x {np.median(ratio):.2f} +- {np.ptp(ratio) / 2:.2f}, best runs x {best:.2f},"
            f" CPU time x {cost:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cuda", action="store_true", help="compare all threads with the GPU")
    options = parser.parse_args()
    for grid in GRIDS:
        rng = np.random.default_rng(0)
        events = events_of(options.events, rng)
        works = variants(events, grid, rng)
        if options.cuda:
            works |= held(events[locality_order(events, SCANNER, grid)], grid, rng)
            pair = [Projector(SCANNER, grid, options.threads), on_device("cuda", SCANNER, grid)]
            of = f"{options.threads} threads, GPU"
        else:
            works = ceilings() | works
            pair = [Projector(SCANNER, grid, n) for n in (1, options.threads)]
            of = f"1 thread, {options.threads}"
        print(
            f"{options.events} events, {grid.shape} voxels of {grid.voxel_mm} mm; M events/s on {of}"
        )
        measure(works, *pair, options.events, options.repeats)


if __name__ == "__main__":
    main()
