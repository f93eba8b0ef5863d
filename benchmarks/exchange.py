"""Events per second of writing and reading PETSIRD, peak memory by file size, and the petsird
package's own reader.

Run by hand: python benchmarks/exchange.py [millions of events, 20 by default]. The study is random
events of the clinical scanner in 1 s blocks; the package's reader is timed on the first 1e5 of
them. Times hold the header, the check of every event against the efficiencies, and the files; the
machine may be shared.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config.sections import Grid
from tgdpet.constants import FDG_HALF_LIFE_S
from tgdpet.io import nifti
from tgdpet.io.files import write_json
from tgdpet.listmode import study_folder
from tgdpet.listmode.events import EVENT, write_events
from tgdpet.petsird.read import import_study
from tgdpet.petsird.write import export_study
from tgdpet.scanner import cylinder
from tgdpet.simulation.monte_carlo_kernels import acceptance_of, emit_randoms

GRID = Grid([16, 16, 8], [40.0, 40.0, 40.0])
MEGA = 1 << 20


def fabricate(folder: Path, millions: int) -> None:
    """A study of random events on accepted LORs."""
    device = cylinder.PRESETS["clinical"]
    acceptance = acceptance_of(device)

    def parts():
        for i in range(millions):
            out = np.empty(1_000_000, EVENT)
            emit_randoms(out, acceptance, np.array([i], np.uint64))
            yield out

    n = write_events(folder / "events.npy", parts())
    cylinder.write(folder / "scanner.json", device)
    affine = nifti.grid_affine(tuple(GRID.shape), tuple(GRID.voxel_mm))
    nifti.write_plain(folder / "mu.nii.gz", np.zeros(GRID.shape, np.float32), affine)
    write_json(folder / "listmode.json", {
        "study": "bench", "events": n, "scan_s": 60.0, "effective_s": 60.0, "grid": vars(GRID),
        "background": {
            "scatter_bq": 0.0, "scatter_centre_mm": [0, 0, 0], "scatter_sigma_mm": [100, 100, 100],
            "randoms_per_s": 0.0,
        }, "injected_mbq": 250.0, "weight_kg": 70.0, "scan_start_s": 3600.0, "half_life_s": FDG_HALF_LIFE_S,
    })  # fmt: skip


def report(what: str, events: int, seconds: float, size: int) -> None:
    status = Path(
        "/proc/self/status"
    ).read_text()  # Linux; getrusage's peak would be inherited from the parent
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(
        f"{what:26s} {events / 1e6:6.1f} M events, file {size / MEGA:7.1f} MiB, {seconds:6.2f} s, "
        f"{events / seconds / 1e6:6.2f} M events/s, peak {peak:5.0f} MiB",
        flush=True,
    )


def once(what: str, folder: Path, file: Path) -> None:
    """One measurement, in a process of its own so that the peak memory is its own."""
    if what == "package":
        import petsird

        events, wanted, start = 0, 100_000, time.perf_counter()
        reader = petsird.BinaryPETSIRDReader(str(file), skip_completed_check=True)
        reader.read_header()
        header_s = time.perf_counter() - start
        for block in reader.read_time_blocks():
            events += len(block.value.prompt_events[0][0])
            if events >= wanted:
                break
        report(
            "package's reader", events, time.perf_counter() - start - header_s, file.stat().st_size
        )
        print(f"{'':26s} its header alone {header_s:.2f} s")
        return
    n = len(study_folder.read(folder).events)
    for repeat in range(3):  # the first run compiles or loads the kernels
        start = time.perf_counter()
        if what == "write":
            export_study(folder, file)
        else:
            import_study(file, folder.parent / "imported", "bench", GRID)
        report(f"{what}, run {repeat + 1}", n, time.perf_counter() - start, file.stat().st_size)


def main() -> None:
    if len(sys.argv) > 2:
        once(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as place:
        for millions in (max(most // 4, 1), most):
            folder, file = Path(place) / f"{millions}", Path(place) / f"{millions}.petsird"
            fabricate(folder, millions)
            for what in ("write", "read", "package")[: 3 if millions == most else 2]:
                subprocess.run([sys.executable, __file__, what, str(folder), str(file)], check=True)


if __name__ == "__main__":
    main()
