"""The projector beside parallelproj's C library, in one run: events per second, memory, agreement.

Run by hand: python benchmarks/parallelproj.py LIBRARY [--events N] [--rounds N].
LIBRARY is built anywhere outside of this repository from parallelproj's sources, of which nothing
is kept here:

    gcc -O3 -march=native -fopenmp -shared -fPIC -Ic/include c/src/*.c -lm -o LIBRARY

Both run on one thread. Every round runs them in turn; rates are events a processor second, ratios
medians over rounds, as others may keep the machine busy. Memory is the peak beyond what stood
before the call, inputs included.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.ctypeslib import ndpointer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from projector import GRIDS, SCANNER, events_of

from tgdpet.config.sections import Grid
from tgdpet.recon.locality import locality_order
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.tof import SIGMAS

FLOATS = ndpointer(np.float32, flags="C")
INTS = ndpointer(np.int32, flags="C")
SHORTS = ndpointer(np.int16, flags="C")
BQML_MM = 10.0  # additive term of every event


class Peer:
    """parallelproj's list-mode projectors of some events on one grid."""

    def __init__(self, library: Any, events: np.ndarray, grid: Grid) -> None:
        voxel_mm = np.array(grid.voxel_mm, np.float32)
        shape = np.array(grid.shape, np.int32)
        detectors_mm = SCANNER.detector_mm().astype(np.float32)

        self._library = library
        self._n = len(events)
        self._start_mm = detectors_mm[events["det0"]]
        self._end_mm = detectors_mm[events["det1"]]
        self._bins = events["tof"].astype(np.int16)
        self._image = ((-(shape - 1) / 2 * voxel_mm).astype(np.float32), voxel_mm)
        self._shape = shape

        sigma_mm = np.array([SCANNER.tof_sigma_mm], np.float32)
        offset_mm = np.zeros(1, np.float32)
        bins = (SCANNER.tof_bin_mm, sigma_mm, offset_mm, SIGMAS, self._bins, 0, 0)
        self._tof = bins

    def forward(self, image: np.ndarray, use_tof: bool) -> np.ndarray:
        """Line integrals (n,) of `image` (X, Y, Z)."""
        values = np.empty(self._n, np.float32)
        self._project("fwd", image, values, use_tof)
        return values

    def back(self, values: np.ndarray, use_tof: bool) -> np.ndarray:
        """Values (n,) spread into an image (X, Y, Z)."""
        image = np.zeros(self._shape, np.float32)
        self._project("back", image, values, use_tof)
        return image

    def _project(self, way: str, image: np.ndarray, values: np.ndarray, use_tof: bool) -> None:
        common = (self._start_mm, self._end_mm, image, *self._image, values, self._n, self._shape)

        if use_tof:
            getattr(self._library, f"joseph3d_{way}_tof_lm")(*common, *self._tof)
        else:
            getattr(self._library, f"joseph3d_{way}")(*common)


class Work(NamedTuple):
    """The same work by both libraries."""

    name: str
    ours: Callable[[], np.ndarray]
    peers: Callable[[], np.ndarray]


def load(path: Path) -> Any:
    """The C library with the types of its functions."""
    library = ctypes.CDLL(str(path))
    common = [FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, ctypes.c_longlong, INTS]
    bins = [ctypes.c_float, FLOATS, FLOATS, ctypes.c_float, SHORTS, ctypes.c_ubyte, ctypes.c_ubyte]

    for way in ("fwd", "back"):
        getattr(library, f"joseph3d_{way}").argtypes = common
        getattr(library, f"joseph3d_{way}_tof_lm").argtypes = common + bins

    return library


def test_image(grid: Grid) -> np.ndarray:
    """A smooth image within the transaxial circle that the grid holds."""
    axes = [np.linspace(-1, 1, n) for n in grid.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    r2 = x**2 + y**2

    return (np.exp(-4 * r2) * (1.2 + z) * (r2 < 0.95)).astype(np.float32)


def works(library: Any, events: np.ndarray, grid: Grid) -> list[Work]:
    """Forward, back and the EM step, with TOF and without."""
    image = test_image(grid)
    ones = np.ones(len(events), np.float32)
    additive = np.full(len(events), BQML_MM, np.float32)
    det0 = np.ascontiguousarray(events["det0"])
    det1 = np.ascontiguousarray(events["det1"])
    tof = np.ascontiguousarray(events["tof"])
    peer = Peer(library, events, grid)

    def em_step() -> np.ndarray:
        expected = peer.forward(image, True) + np.float32(BQML_MM)
        return peer.back(1 / expected, True)

    # a projector of its own for each call, which keeps no memory from call to call
    def fresh() -> Projector:
        return Projector(SCANNER, grid)

    return [
        Work(
            "forward, TOF",
            lambda: fresh().forward(image, det0, det1, tof),
            lambda: peer.forward(image, True),
        ),
        Work(
            "back, TOF",
            lambda: fresh().back(ones, det0, det1, tof),
            lambda: peer.back(ones, True),
        ),
        Work("EM step, TOF", lambda: fresh().em_back(image, events, additive), em_step),
        Work(
            "forward, no TOF",
            lambda: fresh().forward(image, det0, det1),
            lambda: peer.forward(image, False),
        ),
        Work(
            "back, no TOF",
            lambda: fresh().back(ones, det0, det1),
            lambda: peer.back(ones, False),
        ),
    ]


def agreement(work: Work) -> str:
    """Mean difference as a share of the largest value, and the ratio of the sums."""
    ours, peers = work.ours(), work.peers()
    difference = np.abs(ours - peers).mean() / np.abs(peers).max()

    return f"differ {difference:.0e}, sums x {peers.sum() / ours.sum():.5f}"


def peak_mib(run: Callable[[], object]) -> float:
    """Peak of resident memory beyond what is resident before `run`, MiB (Linux, glibc)."""
    ctypes.CDLL(None).malloc_trim(0)  # gives freed memory back, which would be taken again
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = _status_kib("VmRSS")
    run()

    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


def compare(work: Work, n: int, rounds: int) -> str:
    """A line: M events a processor second of both, their ratio with half its range, memory."""
    text = agreement(work)  # compiles, and fills the caches
    memory_mib = [peak_mib(work.ours), peak_mib(work.peers)]
    cpu_s = np.empty((rounds, 2))

    for i in range(rounds):
        for j, run in enumerate((work.ours, work.peers)):
            start = time.process_time()
            run()
            cpu_s[i, j] = time.process_time() - start

    rate = n / np.median(cpu_s, axis=0) / 1e6
    ratio = cpu_s[:, 1] / cpu_s[:, 0]

    return (
        f"{work.name:16s} {rate[0]:6.2f} and {rate[1]:5.2f} M events/s:"
        f" x {np.median(ratio):4.1f} +- {np.ptp(ratio) / 2:.1f}"
        f"   {memory_mib[0]:4.0f} and {memory_mib[1]:3.0f} MiB   {text}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    library = load(options.library)
    ctypes.CDLL("libgomp.so.1").omp_set_num_threads(1)

    for grid in GRIDS:
        events = events_of(options.events, np.random.default_rng(0))
        ordered = events[locality_order(events, SCANNER, grid)]

        for order, some in (("sorted", ordered), ("random", events)):
            print(f"{len(some)} events, {order}, {grid.shape} voxels of {grid.voxel_mm} mm")
            for work in works(library, some, grid):
                print(compare(work, len(some), options.rounds), flush=True)


if __name__ == "__main__":
    main()
