#!/usr/bin/env python
"""Many damaged files for each reader: `python tests/fuzz/fuzz.py --inputs 20000 --seconds 60`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "scripts")]

from promise import try_reader
from readers import READERS


def main() -> None:
    """Parse, read, print a line a reader; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="damaged files for each reader")
    parser.add_argument("--seconds", type=float, default=60, help="at most, for each reader")
    parser.add_argument("--readers", nargs="+", default=list(READERS), help="these only")
    parser.add_argument("--keep", type=Path, help="folder for inputs that break a promise")
    parser.add_argument("--folder", type=Path, help="where to write the inputs (/dev/shm is fast)")
    args = parser.parse_args()

    broken = 0
    for name in args.readers:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            outcome = try_reader(READERS[name], Path(folder), args.inputs, args.seconds)

        counts = ", ".join(f"{n} {what}" for what, n in sorted(outcome.counts.items()))
        total = sum(outcome.counts.values())
        print(f"{name}: {total} inputs: {counts} ({time.monotonic() - started:.0f} s)", flush=True)

        for number, (verdict, content) in enumerate(outcome.broken.items()):
            broken += 1
            print(f"    {verdict}", flush=True)
            if args.keep is not None:
                args.keep.mkdir(parents=True, exist_ok=True)
                safe = "".join(c if c.isalnum() else "-" for c in name)
                (args.keep / f"{safe}-{number}-{READERS[name].file}").write_bytes(content)

    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
