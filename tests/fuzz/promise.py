"""What is promised of any file: the right value, or one line with its name; soon, and with no more
memory than the file is worth.
"""

from __future__ import annotations

import contextlib
import io
import random
import resource
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import drawn, mutated, mutated_inside
from readers import Reader

LIMIT_S = 10.0
BATCH = 20  # inputs of one draw of hypothesis, which takes as long as reading some
SPARE_MIB = 64  # what Python and its libraries take now and then; beyond it, twice the file


@dataclass
class Outcome:
    """Counts of a reader's inputs, and the first ones that broke the promise, by what they did."""

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    broken: dict[str, bytes] = field(default_factory=dict)


def try_reader(reader: Reader, folder: Path, n_inputs: int, seconds: float = 1e9) -> Outcome:
    """Read `n_inputs` damaged files, or as many as `seconds` allow."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / reader.file
    reader.write(path)
    whole = path.read_bytes()
    right = _plain(_quietly(reader, path))

    outcome = Outcome(reader.name)
    end = time.monotonic() + seconds
    change = mutated_inside if reader.inside_gzip else mutated

    @settings(
        max_examples=-(-n_inputs // BATCH),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def one(seed: int) -> None:
        rng = random.Random(seed)

        for _ in range(BATCH):
            if time.monotonic() > end:
                return

            content = change(whole, drawn(rng))
            path.write_bytes(content)
            verdict = judge(reader, path, content, right)
            outcome.counts[verdict.split(":")[0]] += 1
            if verdict not in ("read", "refused"):
                outcome.broken.setdefault(verdict, content)

    one()
    path.write_bytes(whole)
    return outcome


def judge(reader: Reader, path: Path, content: bytes, right: Any) -> str:
    """`read`, `refused`, or how the promise was broken."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    said = io.StringIO()

    try:
        value = _plain(_quietly(reader, path, said))
    except (ValueError, OSError) as error:
        verdict = _of_refusal(str(error), path)
    except Exception:
        last = traceback.format_exc().strip().splitlines()
        return f"traceback: {last[-1][:200]} {last[-3][:100] if len(last) > 2 else ''}"
    else:
        # A file that lost its digest is read as an older one, which is said.
        compared = reader.is_digested and "no digest in it" not in said.getvalue()
        misread = compared and value != right
        verdict = "misread: another value than was written" if misread else "read"

    took_s = time.monotonic() - start
    more_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    if took_s > LIMIT_S:
        return f"slow: {took_s:.0f} s"
    if more_kib > SPARE_MIB * 1024 + 2 * len(content) / 1024:
        return f"memory: {more_kib // 1024} MiB for {len(content)} bytes"

    return verdict


def _of_refusal(message: str, path: Path) -> str:
    if path.name not in message and path.parent.name not in message:
        return f"nameless: {message[:200]}"

    if "\n" in message or not message.isprintable() or len(message) > 3000:
        return f"not one line: {message[:200]!r}"

    return "refused"


def _quietly(reader: Reader, path: Path, said: io.StringIO | None = None) -> Any:
    said = said or io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return reader.read(path)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bytes, tuple, list, dict)) else repr(type(value))
