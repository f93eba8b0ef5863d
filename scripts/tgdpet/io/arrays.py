"""numpy files with a digest of their content: .npy, memory-mapped, and .npz.

An .npy file's digest is a comment in its header, which numpy skips; that of an .npz file is the
archive's comment.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import damage
from .digests import BYTES_AT_ONCE, KEY, PATTERN, Digest, compare, digest_of, identity_of
from .files import atomic

MAGIC = b"\x93NUMPY\x01\x00"
HEADER_BYTES = 256  # a multiple of 64: the values lie as numpy aligns them
COMMENT = re.compile(rf"\s*# {KEY} ({PATTERN.pattern})\s*")

# Files whose content this process has compared with its digest, as they were then.
_compared: set[tuple[int, ...]] = set()


class ArrayWriter:
    """Writes an .npy file of values (n, ...) that come in parts, and their digest."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any]) -> None:
        self._file = file
        self._dtype = dtype
        self._digest = Digest()
        file.write(bytes(HEADER_BYTES))

    def append(self, values: np.ndarray) -> None:
        """Write a part, C-ordered; bytes are hashed while they are in the cache."""
        flat = np.ascontiguousarray(values, self._dtype).reshape(-1)
        content = flat.view(np.uint8).data

        for start in range(0, len(content), BYTES_AT_ONCE):
            piece = content[start : start + BYTES_AT_ONCE]
            self._digest.update(piece)
            self._file.write(piece)

    def finish(self, shape: tuple[int, ...]) -> None:
        """Write the header of an array of this shape."""
        description = _description(self._dtype, shape)
        self._digest.update(description.encode())

        header = f"{description}  # {KEY} {self._digest.text()}"
        n_bytes = HEADER_BYTES - len(MAGIC) - 2
        self._file.seek(0)
        self._file.write(MAGIC + n_bytes.to_bytes(2, "little"))
        self._file.write(header.ljust(n_bytes - 1).encode("ascii") + b"\n")


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an .npy file with its digest, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        writer = ArrayWriter(file, array.dtype)
        writer.append(array)
        writer.finish(array.shape)


def map_array(path: str | Path, kind: str, *, foreign: bool = False) -> np.memmap:
    """Memory-map an .npy file; FileNotFoundError or ValueError naming it when it is missing,
    truncated or damaged.

    Its content is compared with its digest once in a process, in one pass over the file; `foreign`:
    a file of other programs, which has none.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such {kind}")

    with damage.readable(path, kind):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise ValueError("no .npy file")

    n_bytes = Path(path).stat().st_size
    expected = array.offset + array.nbytes
    if n_bytes != expected:
        sizes = f"shape {array.shape} takes {expected} bytes, the file has {n_bytes}"
        raise ValueError(f"{path}: damaged: {sizes}")

    _compare_once(path, foreign)
    return array


def _compare_once(path: str | Path, foreign: bool) -> None:
    """Compare an .npy file with its digest, unless this process did so since it was written."""
    with open(path, "rb") as file:
        identity = identity_of(file)
        if identity in _compared:
            return

        description, noted = _read_header(path, file)
        if noted is None and foreign:
            return

        digest = Digest()
        if noted is not None:
            digest.update_from(file)
            digest.update(description.encode())
        compare(path, noted, digest.text())

    _compared.add(identity)


def _read_header(path: str | Path, file: BinaryIO) -> tuple[str, str | None]:
    """The description of an array and the digest behind it, if any; `file` is then at the values.

    ValueError where something else stands there.
    """
    version = np.lib.format.read_magic(file)
    size_bytes = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(size_bytes), "little")
    header = file.read(length).decode("latin1")

    description, mark, _ = header.partition("#")
    if not mark:
        return description, None

    found = COMMENT.fullmatch(header, len(description.rstrip()))
    if found is None:
        raise ValueError(f"{path}: damaged: no digest in the header's comment")

    return description.rstrip(), found.group(1)


def _description(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return repr(
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": tuple(map(int, shape)),
        }
    )


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file with the digest of its names and arrays, whole or not at all.

    The same arrays give the same bytes.
    """
    with atomic(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

        # Behind the directory of names: one that lost some of them does not lose this.
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = _digest_of_arrays(arrays).encode()


def read_arrays(path: str | Path, kind: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, without the digest; FileNotFoundError or ValueError naming it.

    Takes no more memory than the file, whatever it claims.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such {kind}")

    arrays: dict[str, np.ndarray] = {}
    with damage.readable(path, kind), zipfile.ZipFile(path) as file:
        noted = file.comment.decode() or None
        n_bytes = Path(path).stat().st_size
        for member in file.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > n_bytes:
                raise ValueError(f"{name}: expected an array that is not compressed")
            if name in arrays:
                raise ValueError(f"{name} is there twice")

            arrays[name] = _array_of(file.read(member))

    compare(path, noted, _digest_of_arrays(arrays))

    return arrays


def _array_of(content: bytes) -> np.ndarray:
    """The array of an .npy file's bytes; ValueError where they are more or fewer than it claims."""
    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected format 1.0, got {version}")

    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    n_values = 1
    for n in shape:
        n_values *= n

    n_left = len(content) - file.tell()
    if dtype.hasobject or n_values * dtype.itemsize != n_left:
        raise ValueError(f"shape {shape} of {dtype} does not take {n_left} bytes")

    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    return digest_of(_parts_of(arrays))


def _parts_of(arrays: Mapping[str, np.ndarray]) -> Iterable[bytes]:
    for name in sorted(arrays):
        array = arrays[name]
        yield f"{name} {array.dtype.str} {array.shape}".encode()
        yield array.tobytes()
