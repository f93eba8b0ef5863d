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
from tgdpet.simulation.background_emissions import emit_randoms
from tgdpet.simulation.detection import acceptance_of
from tgdpet.simulation.random_numbers import state_of

GRID = Grid([16, 16, 8], [40.0, 40.0, 40.0])
BACKGROUND = {
    "scatter_bq": 0.0,
    "scatter_centre_mm": [0, 0, 0],
    "scatter_sigma_mm": [100, 100, 100],
    "randoms_per_s": 0.0,
}
MEGA = 1 << 20
PACKAGE_EVENTS = 100_000
REPEATS = 3  # the first run compiles or loads the kernels


def fabricate(folder: Path, millions: int) -> None:
    """A study of random events on accepted LORs."""
    device = cylinder.PRESETS["clinical"]
    acceptance = tuple(acceptance_of(device))

    def parts():
        for i in range(millions):
            events = np.empty(1_000_000, EVENT)
            emit_randoms(events, acceptance, state_of(i))
            yield events

    n = write_events(folder / "events.npy", parts())
    cylinder.write_scanner(folder / "scanner.json", device)

    affine = nifti.grid_affine(tuple(GRID.shape), tuple(GRID.voxel_mm))
    nifti.write_plain(folder / "mu.nii.gz", np.zeros(GRID.shape, np.float32), affine)

    meta = {
        "study": "bench",
        "events": n,
        "scan_s": 60.0,
        "effective_s": 60.0,
        "grid": vars(GRID),
        "background": BACKGROUND,
        "injected_mbq": 250.0,
        "weight_kg": 70.0,
        "scan_start_s": 3600.0,
        "half_life_s": FDG_HALF_LIFE_S,
    }
    write_json(folder / "listmode.json", meta)


def report(name: str, n_events: int, seconds: float, size: int) -> None:
    # Linux; getrusage's peak would be inherited from the parent
    status = Path("/proc/self/status").read_text()
    peak_mib = int(status.split("VmHWM:")[1].split()[0]) / 1024
    millions = n_events / 1e6

    print(
        f"{name:26s} {millions:6.1f} M events, file {size / MEGA:7.1f} MiB, {seconds:6.2f} s, "
        f"{millions / seconds:6.2f} M events/s, peak {peak_mib:5.0f} MiB",
        flush=True,
    )


def read_by_package(file: Path) -> None:
    """Time the petsird package's own reader on the first events."""
    import petsird

    start = time.perf_counter()
    reader = petsird.BinaryPETSIRDReader(str(file), skip_completed_check=True)
    reader.read_header()
    header_s = time.perf_counter() - start

    n_events = 0
    start = time.perf_counter()
    for block in reader.read_time_blocks():
        n_events += len(block.value.prompt_events[0][0])
        if n_events >= PACKAGE_EVENTS:
            break

    report("package's reader", n_events, time.perf_counter() - start, file.stat().st_size)
    print(f"{'':26s} its header alone {header_s:.2f} s")


def measure(operation: str, folder: Path, file: Path) -> None:
    """One measurement, in a process of its own so that the peak memory is its own."""
    if operation == "package":
        read_by_package(file)
        return

    n_events = len(study_folder.read_study(folder).events)
    for repeat in range(REPEATS):
        start = time.perf_counter()
        if operation == "write":
            export_study(folder, file)
        else:
            import_study(file, folder.parent / "imported", "bench", GRID)
        seconds = time.perf_counter() - start

        report(f"{operation}, run {repeat + 1}", n_events, seconds, file.stat().st_size)


def main() -> None:
    if len(sys.argv) > 2:
        operation, folder, file = sys.argv[1:]
        measure(operation, Path(folder), Path(file))
        return

    most = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as temporary:
        for millions in (max(most // 4, 1), most):
            folder = Path(temporary) / f"{millions}"
            file = Path(temporary) / f"{millions}.petsird"
            fabricate(folder, millions)

            operations = ["write", "read"]
            if millions == most:
                operations.append("package")
            for operation in operations:
                command = [sys.executable, __file__, operation, str(folder), str(file)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
