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
    det0, det1 = rng.integers(0, SCANNER.n_detectors, (2, 6 * n + 100))
    accepted = np.flatnonzero(SCANNER.lor_weights(det0, det1))[:n]

    events = np.empty(n, EVENT)
    events["det0"] = det0[accepted]
    events["det1"] = det1[accepted]
    events["tof"] = rng.integers(-8, 9, n)

    return events


def variants(events: np.ndarray, grid: Grid, rng: np.random.Generator) -> dict[str, Work]:
    """What is timed: forward, back, both and the fused step, of sorted and of unsorted events."""
    image = rng.random(grid.shape, dtype=np.float32)
    ordered = events[locality_order(events, SCANNER, grid)]

    return {
        **variants_of(ordered, image, "sorted"),
        **variants_of(events, image, "unsorted"),
        "sorting itself": lambda p: locality_order(events, SCANNER, grid),
    }


def variants_of(events: np.ndarray, image: np.ndarray, order: str) -> dict[str, Work]:
    """What is timed of events in one order."""
    ones = np.ones(len(events), np.float32)
    additive = np.full(len(events), 10.0, np.float32)
    det0 = np.ascontiguousarray(events["det0"])
    det1 = np.ascontiguousarray(events["det1"])
    tof = np.ascontiguousarray(events["tof"])

    def separate(p: Any) -> object:
        expected = p.forward(image, det0, det1, tof) + additive
        return p.back(1 / expected, det0, det1, tof)

    return {
        f"forward TOF, {order}": lambda p: p.forward(image, det0, det1, tof),
        f"back TOF, {order}": lambda p: p.back(ones, det0, det1, tof),
        f"EM step, fused, {order}": lambda p: p.em_back(image, events, additive),
        f"EM step, separate, {order}": separate,
        f"forward non-TOF, {order}": lambda p: p.forward(image, det0, det1),
        f"back non-TOF, {order}": lambda p: p.back(ones, det0, det1),
    }


@nb.njit(nogil=True)
def compute(n):  # type: ignore[no-untyped-def]
    """A loop within registers."""
    x = 0.5
    total = 0.5

    for _ in range(n):
        x = x * 1.0000001 + 0.5
        total += x

    return total


@nb.njit(nogil=True)
def random_reads(values, n):  # type: ignore[no-untyped-def]
    """Random reads from all over an array."""
    state = np.uint32(1)
    total = np.float32(0)

    for _ in range(n):
        state = np.uint32(state * np.uint32(1664525) + np.uint32(1013904223))
        total += values[(state >> np.uint32(8)) % np.uint32(values.size)]

    return total


def ceilings() -> dict[str, Work]:
    """Loops that share nothing: 16 equal pieces each."""
    image = np.ones(130 * 130 * 66, np.float32)
    memory = np.ones(30_000_000, np.float32)

    def on_all(piece: Callable[[], object]) -> Work:
        def work(p: Projector) -> None:
            with ThreadPoolExecutor(p.threads) as pool:
                list(pool.map(lambda _: piece(), range(16)))

        return work

    return {
        "ceiling: computing": on_all(lambda: compute(2_000_000)),
        "ceiling: random reads of 4.5 MB": on_all(lambda: random_reads(image, 2_000_000)),
        "ceiling: random reads of 120 MB": on_all(lambda: random_reads(memory, 500_000)),
    }


def held(events: np.ndarray, grid: Grid, rng: np.random.Generator) -> dict[str, Work]:
    """The fused step with events and additive term held on the device, as in reconstruction."""
    image = rng.random(grid.shape, dtype=np.float32)
    additive = np.full(len(events), 10.0, np.float32)
    kept: dict[int, tuple[Any, Any]] = {}

    def work(p: Any) -> object:
        if id(p) not in kept:
            kept[id(p)] = p.hold(events), p.hold(additive)

        held_events, held_additive = kept[id(p)]
        return p.em_back(image, held_events, held_additive)

    return {"EM step, fused, held": work}


def measure(works: dict[str, Work], one: Any, many: Any, n: int, repeats: int) -> None:
    """Time rounds of all works with both projectors, in turn, and print a line for each work."""
    for work in works.values():  # compiles
        work(one)
        work(many)

    wall_s = {name: np.empty((repeats, 2)) for name in works}
    cpu_s = {name: np.empty((repeats, 2)) for name in works}

    for i in range(repeats):
        for name, work in works.items():
            for j, projector in enumerate((one, many)):
                wall_start = time.perf_counter()
                cpu_start = time.process_time()
                work(projector)
                wall_s[name][i, j] = time.perf_counter() - wall_start
                cpu_s[name][i, j] = time.process_time() - cpu_start

    for name in works:
        print(line(name, wall_s[name], cpu_s[name], n))


def line(name: str, wall_s: np.ndarray, cpu_s: np.ndarray, n: int) -> str:
    """M events/s of the first projector and the second (median, half the range), their ratio.

    `wall_s`, `cpu_s` (rounds, 2).
    """
    rates = []
    for rate in (n / wall_s / 1e6).T:
        rates.append(f"{np.median(rate):6.2f} +- {np.ptp(rate) / 2:4.2f}")
    numbers = "  ".join(rates)
    if name.startswith("ceiling"):
        numbers = " " * len(numbers)

    ratio = wall_s[:, 0] / wall_s[:, 1]
    best = wall_s[:, 0].min() / wall_s[:, 1].min()
    cost = np.median(cpu_s[:, 1] / cpu_s[:, 0])

    return (
        f"{name:32s} {numbers}  x {np.median(ratio):.2f} +- {np.ptp(ratio) / 2:.2f}, "
        f"best runs x {best:.2f}, CPU time x {cost:.2f}"
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
        all_threads = Projector(SCANNER, grid, options.threads)

        if options.cuda:
            works |= held(events[locality_order(events, SCANNER, grid)], grid, rng)
            pair = (all_threads, on_device("cuda", SCANNER, grid))
            compared = f"{options.threads} threads, GPU"
        else:
            works = ceilings() | works
            pair = (Projector(SCANNER, grid, 1), all_threads)
            compared = f"1 thread, {options.threads}"

        print(
            f"{options.events} events, {grid.shape} voxels of {grid.voxel_mm} mm; "
            f"M events/s on {compared}"
        )
        measure(works, *pair, options.events, options.repeats)


if __name__ == "__main__":
    main()
