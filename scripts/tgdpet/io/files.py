"""Writing files whole or not at all, and the sidecar that tells where a result came from."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    import pandas as pd

# A network's entry in the metadata of its safetensors file; here, as `networks.weights` needs
# torch.
NETWORK_KEY = "tgdpet"
PACKAGES = ("numpy", "numba", "torch", "snakemake")
JOB_IDS = ("SLURM_JOB_ID", "LSB_JOBID")  # of SLURM, LSF

# All files that `atomic` wrote in this process, in order: the outputs in a job's record of origin.
written: list[Path] = []


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block ends without an error.

    The temporary name keeps the suffixes of `path`, as writers choose a format by them. An OSError
    names `path`.
    """
    path = Path(path)
    # With the host's name, as folders are shared on a cluster.
    temporary = path.with_name(f".tmp-{platform.node()}-{os.getpid()}-{path.name}")

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary

            temporary.replace(path)
            written.append(path)
        finally:
            temporary.unlink(missing_ok=True)

    except OSError as error:
        reason = error.strerror or f"{error} (disk full?)"
        raise OSError(f"{path}: cannot be written: {reason}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; ValueError with file and place when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON at line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: no UTF-8 text: {error}") from error


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV (tab-separated when `path` ends in .tsv), whole or not at all."""
    separator = _separator(path)

    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, sep=separator, float_format="%.10g")


def read_csv(path: str | Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a table (tab-separated when `path` ends in .tsv); ValueError naming the file and the
    column it lacks.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, sep=_separator(path))
    except ValueError as error:  # not text, no columns, rows of different length
        raise ValueError(f"{path}: not a readable table: {error}") from error

    columns = list(columns)
    for column in columns:
        if column not in table:
            raise ValueError(f"{path}: column {column!r} is missing; expected {', '.join(columns)}")

    return table


def _separator(path: str | Path) -> str:
    return "\t" if Path(path).suffix.lower() == ".tsv" else ","


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sidecar(
    inputs: Iterable[str | Path],
    settings: Mapping[str, Any],
    seed: int | None,
    device: str,
    started: float,
) -> dict[str, Any]:
    """Provenance of a result: input hashes, settings, seed, versions, host, job, device, wall time
    and peak memory.

    `started` is `time.time()` at the job's beginning, in s. `job` is the scheduler's number of it,
    and `gpus` are those that it was given; None without one.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_units_per_mib = 2**20 if sys.platform == "darwin" else 2**10

    jobs = (os.environ[name] for name in JOB_IDS if name in os.environ)

    return {
        "inputs": {str(p): sha256(p) for p in inputs},
        "settings": dict(settings),
        "seed": seed,
        "software": software(),
        "host": platform.node(),
        "job": next(jobs, None),
        "device": device,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_s": round(time.time() - started, 2),
        "peak_memory_mib": round(peak / peak_units_per_mib, 1),
    }


def software() -> dict[str, str]:
    """Versions of this library, its commit, Python and the packages that decide a result."""
    versions = {"tgdpet": __version__, "commit": _commit(), "python": platform.python_version()}

    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue

    return versions


@functools.cache
def _commit() -> str:
    """The commit of this code, asked once a process: a job writes up to a hundred sidecars."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"

    return done.stdout.strip()
