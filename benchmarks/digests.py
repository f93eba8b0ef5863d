"""What comparing a list mode with its digest costs the jobs that open it, as a share of their work.

Writes a list mode of random events, opens it, counts a study's samples and takes one EM step; times
are this process's. Run by hand: python benchmarks/digests.py --events 5e7 --folder /tmp
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from listmode import SCAN_S, SEED, STUDY, random_events

from tgdpet.config.roles import samples_of
from tgdpet.config.sections import Grid, Sampling
from tgdpet.io.arrays import map_array
from tgdpet.io.digests import file_digest
from tgdpet.io.files import sha256
from tgdpet.listmode import subsample
from tgdpet.listmode.events import _check_ids, write_events
from tgdpet.recon.projector_cpu import Projector
from tgdpet.scanner.cylinder import PRESETS

SCANNER = PRESETS["clinical"]
GRID = Grid([128, 128, 64], [4.0, 4.0, 4.0])
PROJECTED = 1_000_000


def seconds(work: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=float, default=5e7, help="events to write")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="where they are written")
    args = parser.parse_args()

    path = args.folder / "benchmark-digests.npy"
    n = int(args.events)
    try:
        write_events(path, random_events(n))
        compared_s = seconds(lambda: map_array(path, "list mode"))
        events = map_array(path, "list mode")  # not compared again
        samples = samples_of("test_lesion", Sampling(), SCAN_S)

        projector = Projector(SCANNER, GRID, 1)
        part = np.array(events[:PROJECTED])
        image = np.ones(GRID.shape, np.float32)
        additive = np.ones(PROJECTED, np.float32)
        projector.em_back(image, part[:1000], additive[:1000])  # compiles

        measured = {
            "digest compared": compared_s,
            "digest of the file's bytes": seconds(lambda: file_digest(path)),
            "SHA-256, as before in the provenance": seconds(lambda: sha256(path)),
            "ids checked": seconds(lambda: _check_ids(events, SCANNER, path)),
            f"{len(samples)} samples counted": seconds(
                lambda: subsample.count_events(samples, n, SEED, STUDY)
            ),
            "one EM step": seconds(lambda: projector.em_back(image, part, additive))
            * (n / PROJECTED),
        }
    finally:
        path.unlink(missing_ok=True)

    print(f"{n:.3g} events, {12 * n / 1e9:.2g} GB; processor time of one thread")
    for what, took_s in measured.items():
        ratio = took_s / compared_s
        print(f"{what}: {took_s:.3g} s, {12 * n / took_s / 1e9:.3g} GB/s, {ratio:.3g} x the digest")


if __name__ == "__main__":
    main()
