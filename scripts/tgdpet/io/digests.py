"""Digests of contents: written with a file, compared by whoever reads it.

XXH3 of 128 bits (Collet), which is as fast as memory. It finds damage; it does not keep anybody
from forging a file. Where it stands: in the header of an .npy file, as the comment of an .npz file,
as a key of a JSON object (a file's, or that in a safetensors file's metadata).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from .damage import shown

KEY = "digest"
ALGORITHM = "xxh3-128"
PATTERN = re.compile(ALGORITHM + r":[0-9a-f]{32}")
BYTES_AT_ONCE = 1 << 20  # hashed while they are in the processor's cache
LARGE_BYTES = 16 << 20

_of_large: dict[tuple[int, ...], str] = {}


class Digest:
    """The digest of bytes that come in parts."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._state.update(data)

    def update_from(self, file: BinaryIO) -> None:
        """Add what is left of a file, of which one piece at a time is in memory."""
        buffer = memoryview(bytearray(BYTES_AT_ONCE))

        while n_read := file.readinto(buffer):  # type: ignore[attr-defined]
            self._state.update(buffer[:n_read])

    def text(self) -> str:
        """The digest as it stands in files."""
        return f"{ALGORITHM}:{self._state.hexdigest()}"


def digest_of(parts: Iterable[bytes | memoryview]) -> str:
    """The digest of parts one after the other; each counts with its length."""
    digest = Digest()

    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    return digest.text()


def file_digest(path: str | Path) -> str:
    """The digest of a file's bytes; of a large one once in a process, unless it was changed."""
    with open(path, "rb") as file:
        identity = identity_of(file)
        if identity in _of_large:
            return _of_large[identity]

        digest = Digest()
        digest.update_from(file)
        if identity[1] >= LARGE_BYTES:
            _of_large[identity] = digest.text()

    return digest.text()


def identity_of(file: BinaryIO) -> tuple[int, ...]:
    """What tells an open file from others and from itself when it was changed."""
    status = os.fstat(file.fileno())

    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_dev)


def taken_from(path: str | Path, content: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The digest that an object holds, None without one, and the rest of the object.

    ValueError naming the file where one stands under another key.
    """
    rest = {key: value for key, value in content.items() if key != KEY}

    if KEY not in content:
        for key, value in rest.items():
            if isinstance(value, str) and PATTERN.fullmatch(value):
                raise ValueError(f"{path}: damaged: a digest under the key {shown(key)}")

    return content.get(KEY), rest


def compare(path: str | Path, noted: object, found: str) -> None:
    """Raise ValueError naming the file unless `found` is the digest that was `noted` in it.

    A file that holds none, as older versions wrote it, is taken with a line of warning.
    """
    if noted is None:
        unchecked = "no digest in it (an older version's file?): its content cannot be checked"
        print(f"{path}: {unchecked}", file=sys.stderr, flush=True)
        return

    if noted != found:
        raise ValueError(
            f"{path}: damaged: expected the digest {str(noted)[:60]!r}, got {found!r}; "
            "make the file again"
        )
