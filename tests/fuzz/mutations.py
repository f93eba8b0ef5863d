"""Damage to a file's bytes, and values in a text that nobody means."""

from __future__ import annotations

import gzip
import random
import re

# What may stand in place of a value: of JSON, of YAML, of a table.
VALUES = [
    b"",
    b"null",
    b"NaN",
    b"-1",
    b"0",
    b"1e999",
    b"-1e999",
    b"1" * 400,
    b"1" * 5000,
    b"2_1",
    b"1:30",
    b"true",
    b"[]",
    b"{}",
    b'"../../x"',
    b'"x\\u001b[2Jy"',
    b'"' + b"x" * 3000 + b'"',
    b"[" * 2000,
    b"*a",
    b"&a [*a]",
    b"\t",
    b"\xff\xfe",
    b'"',
    b"1.5",
    b"9007199254740993",
    b"<b>",
]
VALUE = re.compile(rb'"[^"]{0,200}"|-?\d[\w.+-]*|[A-Za-z_][\w.-]*')
MOST_BYTES = 1 << 20  # a repeated piece may double a file at each step

# What a step does, and the largest number that it takes.
KINDS = {
    "bit": 7,
    "byte": 255,
    "cut": 0,
    "delete": 64,
    "repeat": 4000,
    "insert": len(VALUES) - 1,
    "value": len(VALUES) - 1,
}
Step = tuple[str, float, int]


def drawn(rng: random.Random) -> list[Step]:
    """One to four steps of damage."""
    steps = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(list(KINDS))
        steps.append((kind, rng.random(), rng.randint(0, KINDS[kind])))

    return steps


def mutated(content: bytes, steps: list[Step]) -> bytes:
    """`content` after the steps, one after the other."""
    for kind, where, number in steps:
        content = _step(content, kind, where, number)[:MOST_BYTES]

    return content


def mutated_inside(content: bytes, steps: list[Step]) -> bytes:
    """As `mutated`, of what a gzip file holds."""
    return gzip.compress(mutated(gzip.decompress(content), steps), 1)


def _step(content: bytes, kind: str, where: float, number: int) -> bytes:
    at = int(where * len(content))

    if kind == "value":
        values = list(VALUE.finditer(content))
        if not values:
            return content
        chosen = values[int(where * len(values))]
        return content[: chosen.start()] + VALUES[number] + content[chosen.end() :]

    if kind == "insert":
        return content[:at] + VALUES[number] + content[at:]

    if kind == "cut":
        return content[:at]

    if kind == "delete":
        return content[:at] + content[at + number :]

    if kind == "repeat":
        return content[: at + number] + content[at:]

    changed = bytearray(content)
    if changed:
        changed[at] = changed[at] ^ (1 << number) if kind == "bit" else number
    return bytes(changed)
