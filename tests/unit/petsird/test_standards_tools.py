"""The standard's own programs read what we write; its own example is refused for a reason."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

petsird = pytest.importorskip("petsird")

from petsird_files import GRID, TINY, study
from tgdpet.petsird.read import import_study
from tgdpet.petsird.write import export_study


def run_helper(name, *words, stdin=None):
    """A program of the package, its warnings as errors; its output."""
    command = [sys.executable, "-W", "error", "-m", f"petsird.helpers.{name}", *map(str, words)]
    environment = {**os.environ, "MPLBACKEND": "template"}  # draws nothing, and shows nothing
    done = subprocess.run(command, stdin=stdin, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standard")
    events = study(folder / "s", n_events=40)
    export_study(folder / "s", folder / "x.petsird")
    return events, folder / "x.petsird"


def test_the_analysis_prints_our_events(exported):
    events, path = exported
    printed = run_helper("analysis", "-e", "-i", path).decode()

    assert f"Number of prompt events: {len(events)}" in printed
    weights = TINY.lor_weights(events["det0"], events["det1"])
    efficiencies = [
        float(line.split(":")[1]) for line in printed.splitlines() if "    efficiency:" in line
    ]
    assert sorted(efficiencies) == pytest.approx(sorted(weights.tolist()), rel=1e-6)


def test_the_scanner_is_plotted(exported):
    _, path = exported
    with path.open("rb") as file:
        run_helper("plot_scanner", stdin=file)


def test_the_standards_example_is_refused_for_its_tof(tmp_path):
    """As docs/how-to/list-mode.md says."""
    path = tmp_path / "example.petsird"
    path.write_bytes(run_helper("generator"))
    words = r"tof_bin_edges\[1\]\[0\]: only TOF bins that are the same for all pairs"
    with pytest.raises(ValueError, match=words):
        import_study(path, tmp_path / "i", "s", GRID, attenuation=False)
