"""One 60 s bed of the clinical scanner (about 10^7 events): time and peak memory of each stage up
to the image.

Runs the pipeline's own scripts in a temporary folder. Run by hand: python
benchmarks/clinical_bed.py (some minutes).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
GRID = "--shape 192 192 68 --voxel-mm 3.0 3.0 4.0"


def run(stage: str, command: str) -> None:
    """Run one script; print its wall time and the largest resident memory of its process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command.split()], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start

    if status:
        raise SystemExit(f"{stage} failed: {command}")

    print(f"{stage:<40} {wall_s:6.0f} s {usage.ru_maxrss / 1024:8.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="threads to use")
    parser.add_argument(
        "--efficiency", type=float, default=0.41, help="decides the number of events"
    )
    args = parser.parse_args()

    threads = f"--threads {args.threads}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bed"

        run(
            "simulate",
            f"{SCRIPTS}/01_simulate.py --study bed --role test_high_bmi --bmi 24 --study-seed 1 "
            f"--preset clinical --efficiency {args.efficiency} --scan-s 60 {GRID} "
            f"--out-dir {folder} {threads}",
        )
        n = ((folder / "events.npy").stat().st_size - 128) // 12
        print(f"{n:.3g} events")

        run(
            "subsample",
            f"{SCRIPTS}/02_subsample.py --listmode {folder} --role adapt "
            f"--out {folder}/samples.json",
        )

        run(
            "sensitivity and background",
            f"{SCRIPTS}/03_corrections.py --listmode {folder} "
            f"--out-sensitivity {folder}/s.nii.gz --out-additive {folder}/additive.npy {threads}",
        )

        run(
            "reconstruct, 3 x 10 subsets",
            f"{SCRIPTS}/03_reconstruct.py --listmode {folder} --samples {folder}/samples.json "
            f"--only 60s --protocol v2 --sensitivity {folder}/s.nii.gz "
            f"--iterations 3 --subsets 10 --psf-fwhm-mm 5 5 5 --out-dir {folder} {threads}",
        )


if __name__ == "__main__":
    main()
