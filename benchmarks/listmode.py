"""A long list mode streamed through subsampling: events per second and peak memory.

Writes a list mode of random events, then draws all samples of a role in one pass over it. Run by
hand: python benchmarks/listmode.py --events 1e9 --folder /tmp (12 GB on disk, a few minutes).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config.roles import samples_of
from tgdpet.config.sections import Sampling
from tgdpet.listmode import subsample
from tgdpet.listmode.events import EVENT, chunks, open_events, write_events
from tgdpet.scanner.cylinder import PRESETS

SEED = 0
STUDY = "long"
SCAN_S = 600.0


def random_events(n: int) -> Iterator[np.ndarray]:
    """Events of the clinical scanner, part by part."""
    scanner = PRESETS["clinical"]
    half = scanner.tof_half_bins
    rng = np.random.default_rng(0)

    for start in range(0, n, subsample.EVENTS_PER_PIECE):
        size = min(subsample.EVENTS_PER_PIECE, n - start)

        events = np.empty(size, EVENT)
        events["det0"] = rng.integers(0, scanner.n_detectors, size, dtype=np.uint32)
        events["det1"] = rng.integers(0, scanner.n_detectors, size, dtype=np.uint32)
        events["tof"] = rng.integers(-half, half + 1, size, dtype=np.int32)

        yield events


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream(path: Path, role: str, n: int) -> None:
    """Draw all samples of a role in one pass; print the rates."""
    samples = samples_of(role, Sampling(), SCAN_S)

    start = time.perf_counter()
    subsample.count_events(samples, n, SEED, STUDY)
    decided_s = time.perf_counter() - start

    start = time.perf_counter()
    totals = {sample.name: 0 for sample in samples}
    for first, events in chunks(open_events(path), subsample.EVENTS_PER_PIECE):
        for sample in samples:
            kept = subsample.keep(sample, first, len(events), SEED, STUDY)
            totals[sample.name] += len(events[kept])
    copied_s = time.perf_counter() - start

    subsample.check_counts(samples, totals, n)
    print(
        f"{role}, {len(samples)} samples, 1 thread: decided {n / decided_s / 1e6:.0f} M events/s, "
        f"decided and copied {n / copied_s / 1e6:.0f} M events/s, peak memory {peak_mb():.0f} MB, "
        "no disk beyond the list mode"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=float, default=1e8, help="events to write and stream")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/tmp"),
        help="where the list mode is written and removed",
    )
    args = parser.parse_args()

    path = args.folder / "benchmark-events.npy"
    n = int(args.events)
    try:
        start = time.perf_counter()
        write_events(path, random_events(n))
        written_s = time.perf_counter() - start
        print(f"wrote {n:.3g} events in {written_s:.0f} s, {path.stat().st_size / 1e9:.1f} GB")

        for role in ("adapt", "test_lesion", "test_bladder"):
            stream(path, role, n)
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
