"""Writing files whole or not at all, and the sidecar that tells where a result came from."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import math
import os
import platform
import resource
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from . import damage, digests

if TYPE_CHECKING:
    import pandas as pd

# A network's entry in the metadata of its safetensors file; here, as `networks.weights` needs
# torch.
NETWORK_KEY = "tgdpet"
PACKAGES = ("numpy", "numba", "torch", "snakemake")
TEMPORARY = ".tmp-"  # how the name of a file begins that is being written
JOB_IDS = ("SLURM_JOB_ID", "LSB_JOBID")  # of SLURM, LSF

# All files that `atomic` wrote in this process, in order: the outputs in a job's record of origin.
written: list[Path] = []


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block ends without an error.

    The temporary name keeps the suffixes of `path`, as writers choose a format by them. An OSError
    names `path`.
    """
    with atomic_together(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_together(*paths: str | Path) -> Iterator[list[Path]]:
    """As `atomic` for files that belong together: all are renamed, in their order, or none is."""
    finals = [Path(path) for path in paths]
    temporaries: list[Path] = []

    try:
        try:
            for path in finals:
                path.parent.mkdir(parents=True, exist_ok=True)
                _remove_left_over(path)
                temporaries.append(_new_temporary(path))

            yield temporaries

            for temporary, path in zip(temporaries, finals, strict=True):
                temporary.replace(path)
                written.append(path)
        finally:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)

    except OSError as error:
        named = {str(temporary): path for temporary, path in zip(temporaries, finals, strict=False)}
        path = named.get(str(error.filename), finals[0])
        reason = error.strerror or f"{error} (disk full?)"
        raise OSError(f"{path}: cannot be written: {reason}") from error


def _new_temporary(path: Path) -> Path:
    """A new, empty file beside `path` of a name that nobody can guess and lay a link in place of.

    With host and process, by which a killed one's are found.
    """
    owner = f"{TEMPORARY}{platform.node()}-{os.getpid()}-"
    temporary = path.with_name(f"{owner}{secrets.token_hex(8)}-{path.name}")

    # O_EXCL: never an existing file, and never through a link.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))

    return temporary


def left_over(folder: Path, name: str = "*") -> list[Path]:
    """Temporary files in `folder`, of files of this name, whose process on this host has ended."""
    mine = f"{TEMPORARY}{platform.node()}-"
    ended = []

    for temporary in folder.glob(f"{glob.escape(mine)}*-{name}"):
        number = temporary.name.removeprefix(mine).split("-")[0]
        if number.isdecimal() and not _is_running(int(number)):
            ended.append(temporary)

    return ended


def _remove_left_over(path: Path) -> None:
    """Remove what a killed process left of an earlier try to write `path`."""
    for temporary in left_over(path.parent, glob.escape(path.name)):
        temporary.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True

    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """`content` as indented JSON that every reader takes: what is no finite number is null."""
    return json.dumps(strict(content), indent=2, allow_nan=False) + "\n"


def strict(content: Any) -> Any:
    """`content` with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None

    if isinstance(content, Mapping):
        return {key: strict(value) for key, value in content.items()}

    if isinstance(content, (list, tuple)):
        return [strict(value) for value in content]

    return content


def write_checked_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write a JSON object with the digest of its content, whole or not at all."""
    content = strict(content)

    write_json(path, {**content, digests.KEY: _digest_of_json(content)})


def read_checked_json(path: str | Path) -> dict[str, Any]:
    """Read what `write_checked_json` wrote, without the digest.

    ValueError naming the file when it is no JSON object or its content is not what was written.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}")

    noted, content = digests.taken_from(path, content)
    digests.compare(path, noted, _digest_of_json(content))

    return content


def _digest_of_json(content: dict[str, Any]) -> str:
    """Of the values, however they are written: indented, in any order of the keys."""
    # Through text and back, as a file goes: tuples are lists then.
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)

    return digests.digest_of([text.encode()])


def read_json(path: str | Path) -> Any:
    """Read a JSON file; NaN and infinities, which JSON does not have, are None.

    ValueError with file and place when it is not JSON or an object has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return parsed_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON at line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: no UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {damage.reason(error)}") from error


def parsed_json(text: str) -> Any:
    """The content of JSON text, as `read_json`; ValueError, or RecursionError where it is nested
    too deep.
    """
    return json.loads(
        text,
        parse_constant=lambda name: None,
        parse_float=lambda digits: strict(float(digits)),
        object_pairs_hook=_each_key_once,
    )


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)

    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = max(keys, key=keys.count)
        raise ValueError(f"the key {damage.shown(twice)} is given twice")

    return content


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

    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such table")

    # not text, no columns, rows of different length
    with damage.readable(path, "table"), warnings.catch_warnings():
        # Rows of more cells than names: pandas takes the first for an index, or drops the last.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(path, sep=_separator(path), low_memory=False, index_col=False)
        heads = pd.read_csv(path, sep=_separator(path), header=None, nrows=1, dtype=str)

    # pandas gives the second of two equal names another one.
    names = heads.iloc[0].dropna()
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(f"{path}: column {damage.shown(twice.iloc[0])} is there twice")

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
    """Provenance of a result: digests of the inputs, settings, seed, versions, host, job, device,
    wall time and peak memory.

    `started` is `time.time()` at the job's beginning, in s. `job` is the scheduler's number of it,
    and `gpus` are those that it was given; None without one.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_units_per_mib = 2**20 if sys.platform == "darwin" else 2**10

    jobs = (os.environ[name] for name in JOB_IDS if name in os.environ)

    return {
        "inputs": {str(p): digests.file_digest(p) for p in inputs},
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
