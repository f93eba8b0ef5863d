"""A working folder, Snakemake on the one-node SLURM in it, and the ways to interrupt it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE_S = 900.0  # machines may be busy; a test that waits in vain is a failed one anyway
NETWORKS = (
    "v1-net",
    "v2-net",
    "TGD-net",
    "TGD-N2N",
)  # of config.yaml: every rule has one of them to work on
RECONSTRUCT = [f"reconstruct_{of}" for of in ("training", "lesion", "high_bmi", "online")]
# Where a local run gives the same bytes every time; the rest tells hosts, times and speeds.
SAME = (
    "recon/**/*.nii.gz",
    "dataset/**/*.npy",
    "dataset/**/index.tsv",
    "models/**/*.safetensors",
    "adapted/**/*.safetensors",
    "kse/**/*.csv",
    "kse/**/*.nii.gz",
    "denoised/**/*.nii.gz",
    "metrics/*.csv",
    "figures/*.csv",
)
CLOCK = {"timing.csv", "training.csv"}


@dataclass
class Row:
    """What one fault did: seconds of computing lost, and whether the results are those of a run
    left alone.
    """

    fault: str
    happened: str
    lost_s: float
    equal: bool | None = None


def slurm(*words: str) -> str:
    """What a SLURM command prints."""
    return subprocess.run(words, text=True, capture_output=True, check=True).stdout


def wait_for(what: str, found: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `found()`, asked five times a second."""
    limit = time.monotonic() + patience_s
    while not (value := found()):
        assert time.monotonic() < limit, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.2)
    return value


def scripts(place: Path, *words: str) -> list[psutil.Process]:
    """The scripts that run in the folder `place` with all these words in their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = process.info["cmdline"] or []
        ours = len(line) > 1 and "python" in Path(line[0]).name and line[1].startswith("scripts/")
        if (
            ours
            and process.info["cwd"] == str(place)
            and all(word in line or word in line[1] for word in words)
        ):
            found.append(process)
    return found


def script(place: Path, *words: str) -> psutil.Process | None:
    """The first such script, if there is one."""
    return next(iter(scripts(place, *words)), None)


@dataclass
class Folder:
    """A checkout to work in, made of links, with a profile of its own."""

    place: Path
    profile: dict[str, Any] = field(default_factory=dict)
    runs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    configs: tuple[str, ...] = ("config/smoke.yaml", "tests/cluster/tiny.yaml")

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True)
        for name in ("workflow", "scripts", "tests"):
            (self.place / name).symlink_to(ROOT / name)
        (self.place / "config").mkdir()
        for path in (ROOT / "config").iterdir():
            (self.place / "config" / path.name).symlink_to(path)
        own, shared = (
            self.place / "config/config.yaml",
            yaml.safe_load((ROOT / "config/config.yaml").read_text()),
        )
        shared["networks"] = {
            name: shared["networks"][name] for name in NETWORKS
        }  # other files only add to these
        own.unlink()
        own.write_text(yaml.safe_dump(shared))
        (self.place / "Snakefile").write_text((ROOT / "Snakefile").read_text())
        self.profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
        self.profile |= {
            "slurm-init-seconds-before-status-checks": 1,
            "latency-wait": 10,
            "cores": 2,
        }
        # Each job costs seconds of two Snakemakes' start: more of them go together than on a larger
        # cluster.
        self.profile["groups"] |= dict.fromkeys(("corrections", *RECONSTRUCT), "subsample")
        self.profile["group-components"] |= {"subsample": 2}
        self.set()

    def set(self, **rules: dict[str, Any]) -> None:
        """Write the profile, with other resources for some rules."""
        changed = {**self.profile["set-resources"]}
        for rule, words in rules.items():
            changed[rule] = {**changed.get(rule, {}), **words}
        gpus = {"gpu": max(words.get("gpu", 1) for words in changed.values())}
        folder = self.place / "profiles/mine"
        folder.mkdir(parents=True, exist_ok=True)
        profile = {**self.profile, "set-resources": changed, "resources": gpus}
        (folder / "profile.yaml").write_text(yaml.safe_dump(profile))

    def command(self, results: Path, *words: str) -> list[str]:
        """Snakemake's command line for this folder."""
        tail = ["--configfile", *self.configs, "--config", f"results={results}", *words]
        return [sys.executable, "-m", "snakemake", *tail]

    def environment(self) -> dict[str, str]:
        """As on a login node: the environment's Python first, one thread for each library."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def start(
        self, results: Path, *words: str, log: str = "snakemake.log"
    ) -> subprocess.Popen[bytes]:
        """Start Snakemake in a session of its own; its words go to `log`, after those that are
        there.
        """
        profile = () if "--cores" in words else ("--workflow-profile", "profiles/mine")
        with open(self.place / log, "ab") as file:
            self.runs += [
                subprocess.Popen(
                    self.command(results, *profile, *words),
                    cwd=self.place,
                    env=self.environment(),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_hear_sigint,
                )
            ]
        return self.runs[-1]

    def stop(self) -> None:
        """End what a failed test left."""
        for run in self.runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()

    def finish(self, run: subprocess.Popen[bytes], log: str = "snakemake.log") -> None:
        """Wait for the end of a run, which has to be a good one."""
        assert run.wait(timeout=PATIENCE_S * 4) == 0, self.log(log)[-6000:]

    def unlock(self, results: Path) -> None:
        """The documented step after a killed Snakemake."""
        words = self.command(results, "--workflow-profile", "profiles/mine", "--unlock")
        subprocess.run(
            words, cwd=self.place, env=self.environment(), check=True, capture_output=True
        )

    def log(self, name: str = "snakemake.log") -> str:
        """What Snakemake said so far."""
        path = self.place / name
        return path.read_text(errors="replace") if path.exists() else ""

    def job_of(self, *words: str, state: str = "R") -> str:
        """SLURM's number of the running (or, PD, pending) job whose comment has these words."""

        def found() -> str | None:
            for line in slurm("squeue", "-h", f"--states={state}", "-o", "%i|%k").splitlines():
                number, comment = line.split("|", 1)
                if all(word in comment for word in words):
                    return number
            return None

        return str(wait_for(f"a job {words} in state {state}", found))


def _hear_sigint() -> None:
    """What a shell runs in its background ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill(process: psutil.Process | subprocess.Popen[bytes]) -> None:
    """kill -9, of this process alone."""
    os.kill(process.pid, signal.SIGKILL)


def lost_s(process: psutil.Process | None, checkpoint: Path) -> float:
    """Wait for the process to end; seconds that it computed since its last checkpoint."""
    assert process is not None
    process.wait(timeout=PATIENCE_S)
    return max(0.0, time.time() - checkpoint.stat().st_mtime)


def resumed(log: Path, before: int = 0) -> int:
    """The step after `before` that a training went on at; 0 if it did not yet, or began again."""
    found = re.findall(r"resumes at step (\d+) of", log.read_text()) if log.exists() else []
    return int(found[-1]) if found and int(found[-1]) > before else 0


def differing(one: Path, two: Path) -> list[str]:
    """Files that should be the same bytes in both result folders, and are not."""
    names = {
        str(p.relative_to(r))
        for r in (one, two)
        for glob in SAME
        for p in r.glob(glob)
        if p.name not in CLOCK
    }
    assert len(names) > 80, len(names)
    return [n for n in sorted(names) if not _same(one / n, two / n)]


def _same(one: Path, two: Path) -> bool:
    return one.exists() and two.exists() and _content(one) == _content(two)


def _content(path: Path) -> list[bytes]:
    """The lines of a file; without finding 7, which is time saved."""
    lines = path.read_bytes().splitlines(keepends=True)
    return (
        [line for line in lines if not line.startswith(b"7,")]
        if path.name == "findings.csv"
        else lines
    )


@contextlib.contextmanager
def watched() -> Iterator[list[set[str]]]:
    """Collect, twice a second, which jobs run in the partition of the GPUs."""
    seen: list[set[str]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            with contextlib.suppress(subprocess.SubprocessError):
                seen.append(
                    set(slurm("squeue", "-h", "-p", "gpu", "--states=R", "-o", "%i").split())
                )

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
