"""Who holds a folder, and whether results can be written to it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tgdpet.workflow import lock


@pytest.fixture
def locked(tmp_path):
    (tmp_path / lock.LOCKS).mkdir(parents=True)
    (tmp_path / lock.LOCKS / "0.output.lock").write_text(
        "results/listmode/a/events.npy\nresults/report.html"
    )
    return tmp_path


def holds(place, results=("results",), **changes):
    lock.hold(place, results)
    (path,) = (place / lock.HOLDERS).glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_no_lock_no_holder(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    holds(tmp_path, pid=1)
    assert lock.holder(tmp_path) is None


def test_a_living_snakemake_is_named(locked):
    words = [sys.executable, "-c", "import time; time.sleep(60)", "snakemake"]
    process = subprocess.Popen(words)
    try:
        while not Path(
            f"/proc/{process.pid}/cmdline"
        ).read_bytes():  # for a moment after its start it has no words
            time.sleep(0.01)
        holds(locked, pid=process.pid, user="ada")
        told = lock.holder(locked)
    finally:
        process.kill()
        process.wait()
    assert told is not None and f"process {process.pid} of ada" in told and "at work" in told


def test_a_dead_one_says_unlock(locked):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    holds(locked, pid=process.pid)
    assert "snakemake --unlock" in str(lock.holder(locked))


def test_a_number_used_by_another_program_is_not_snakemake(locked):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        holds(locked, pid=process.pid)
        assert "was killed" in str(lock.holder(locked))
    finally:
        process.kill()
        process.wait()


def test_one_on_another_host_cannot_be_seen_from_here(locked):
    holds(locked, pid=1, host="elsewhere")
    assert "on elsewhere" in str(lock.holder(locked))


def test_a_run_into_another_folder_is_no_holder_of_this_one(locked):
    holds(locked, results=["results"], pid=1, host="elsewhere")
    assert "on elsewhere" in str(lock.holder(locked, ["other", "results"]))
    assert lock.holder(locked, ["other"]) is None
    (locked / lock.LOCKS / "0.output.lock").write_text("other/report.html")  # its own lock is gone
    assert lock.holder(locked, ["results"]) is None and lock.holder(locked) is None


def test_make_demo_leaves_the_lock_of_another_host_alone_and_clears_a_dead_ones(locked, root):
    command = [sys.executable, root / "scripts/run_alone.py", sys.executable, "-c", "print('ran')"]
    holds(locked, pid=1, host="elsewhere")
    done = subprocess.run(command, cwd=locked, capture_output=True, text=True, check=False)
    assert (
        done.returncode == 1 and done.stderr.startswith("error: ") and "on elsewhere" in done.stderr
    )
    assert (locked / lock.LOCKS).exists()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    holds(locked, pid=process.pid)
    done = subprocess.run(command, cwd=locked, capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n" and not (locked / lock.LOCKS).exists()


def test_the_run_itself_and_a_damaged_note_are_nobody(locked):
    lock.hold(locked, ["results"])
    assert lock.holder(locked) is None
    (note,) = (locked / lock.HOLDERS).glob("*.json")
    note.write_text("{")
    assert lock.holder(locked) is None


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    lock.check_writable(tmp_path / "not/yet/there")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder"):
        lock.check_writable(tmp_path / "file")
    if os.path.isdir("/proc/self"):  # nothing can be made there, even by root
        with pytest.raises(ValueError, match="/proc: cannot be written"):
            lock.check_writable("/proc/results")


def test_room(tmp_path):
    assert lock.room(tmp_path / "results", 1e-9) is None
    assert "a whole run takes up to 1e+09 GB" in str(lock.room(tmp_path / "results", 1e9))


def test_what_killed_jobs_left_is_removed_and_nothing_else(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    host = platform.node()
    folder = tmp_path / "listmode" / "a"
    folder.mkdir(parents=True)
    left = folder / f".tmp-{host}-{done.stdout.strip()}-0123456789abcdef-events.npy"
    kept = [
        folder / "events.npy",
        folder / f".tmp-{host}-{os.getpid()}-0123456789abcdef-events.npy",
        folder / f".tmp-elsewhere-{done.stdout.strip()}-0123456789abcdef-events.npy",
        folder / ".tmp-mine",
    ]
    for path in (left, *kept):
        path.touch()
    lock.remove_left_over(tmp_path)
    assert not left.exists() and all(path.exists() for path in kept)
