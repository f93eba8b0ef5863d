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

SEED, STUDY, SCAN_S = 0, "long", 600.0


def random_events(n: int) -> Iterator[np.ndarray]:
    """Events of the clinical scanner, part by part."""
    scanner, rng = PRESETS["clinical"], np.random.default_rng(0)
    for start in range(0, n, subsample.EVENTS_AT_ONCE):
        part = np.empty(min(subsample.EVENTS_AT_ONCE, n - start), EVENT)
        for key in ("det0", "det1"):
            part[key] = rng.integers(0, scanner.n_detectors, len(part), dtype=np.uint32)
        part["tof"] = rng.integers(
            -scanner.tof_half_bins, scanner.tof_half_bins + 1, len(part), dtype=np.int32
        )
        yield part


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    path, n = args.folder / "benchmark-events.npy", int(args.events)
    try:
        start = time.perf_counter()
        write_events(path, random_events(n))
        print(
            f"wrote {n:.3g} events in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e9:.1f} GB"
        )
        for role in ("adapt", "test_lesion", "test_bladder"):
            samples = samples_of(role, Sampling(), SCAN_S)
            start = time.perf_counter()
            subsample.count(samples, n, SEED, STUDY)
            counted = time.perf_counter() - start
            totals, start = dict.fromkeys((s.name for s in samples), 0), time.perf_counter()
            for first, part in chunks(open_events(path), subsample.EVENTS_AT_ONCE):
                for sample in samples:
                    totals[sample.name] += len(
                        part[subsample.keep(sample, first, len(part), SEED, STUDY)]
                    )
            drawn = time.perf_counter() - start
            subsample.check_counts(samples, totals, n)
            print(
                f"{role}, {len(samples)} samples, 1 thread: decided {n / counted / 1e6:.0f} M events/s, decided and "
                f"copied {n / drawn / 1e6:.0f} M events/s, peak memory {peak_mb():.0f} MB, no disk beyond the list mode"
            )
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
