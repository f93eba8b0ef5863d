"""A PETSIRD file in memory-mapped bytes: the header by the `petsird` package, bounded, with errors
that name the byte.

The package's serializers are the grammar; the stream they read from is ours, so that a damaged
count or length is refused before anything is allocated for it.
"""

from __future__ import annotations

import io
import mmap
import struct
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import varint

MAGIC = b"yardl"
BINARY_VERSION = 1
# bytes; far above real headers (10 MB), so that a damaged one cannot eat a file of events
HEADER_LIMIT = 256 << 20
PACKAGE_VERSION = "0.12"  # of the petsird package, whose schema is read and written
RELEASE_EVERY = 32 << 20  # bytes read, before their pages are let go


def package() -> ModuleType:
    """The `petsird` package; ValueError saying what to install when it is missing or has another
    schema.
    """
    try:
        import petsird.binary  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(
            f"PETSIRD needs the package petsird {PACKAGE_VERSION}: "
            f"pip install 'petsird=={PACKAGE_VERSION}.*'"
        ) from error

    version = metadata.version("petsird")
    if not version.startswith(PACKAGE_VERSION + "."):
        raise ValueError(
            f"PETSIRD is read and written with petsird {PACKAGE_VERSION}, found {version}: "
            "install that version"
        )

    return petsird


class MappedStream:
    """A file as (n,) uint8, memory-mapped; what was read can be let go, so that memory stays
    flat.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: no such PETSIRD file") from error
        except ValueError as error:  # an empty file cannot be mapped
            raise ValueError(
                f"{path}: byte 0: expected a PETSIRD file, got an empty one"
            ) from error

        self.data = np.frombuffer(self._map, np.uint8)
        self._released = 0

    def release(self, position: int) -> None:
        """Take the pages before `position` out of memory, now and then."""
        read = position - self._released

        if read >= RELEASE_EVERY and hasattr(mmap, "MADV_DONTNEED"):
            whole_pages = read // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, self._released, whole_pages)
            self._released += whole_pages


class Stream:
    """What `petsird`'s serializers need of their `CodedInputStream`, over (n,) uint8 from
    `position` up to `limit`.

    Every read is checked; ValueError names the file, the byte, what was expected and what came.
    """

    def __init__(
        self, path: str | Path, data: np.ndarray, position: int = 0, limit: int | None = None
    ) -> None:
        self.path = path
        self.data = data
        self.position = position
        self.end = len(data) if limit is None else min(len(data), limit)
        self._view = data.data

    def error(self, expected: str, got: object, at: int | None = None) -> ValueError:
        """The error to raise about the byte `at` (or the present one)."""
        byte = self.position if at is None else at
        return ValueError(f"{self.path}: byte {byte}: expected {expected}, got {got}")

    def take(self, count: int, items: str = "bytes") -> memoryview:
        """The next `count` bytes."""
        left = self.end - self.position
        if count > left:
            raise self.error(f"{count} more {items}", f"{left} (truncated or damaged)")

        start = self.position
        self.position += count
        return self._view[start : self.position]

    def read_unsigned_varint(self) -> int:
        """An unsigned varint of at most 64 bits."""
        at = self.position
        value = 0

        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value

        raise self.error("a variable-length integer of at most 64 bits", "a longer one", at)

    def read_signed_varint(self) -> int:
        """A zigzag-encoded varint."""
        value = self.read_unsigned_varint()
        return (value >> 1) ^ -(value & 1)

    def uint32(self, quantity: str) -> int:
        """An unsigned varint of at most 32 bits."""
        at = self.position
        value = self.read_unsigned_varint()
        if value >= 1 << 32:
            raise self.error(f"{quantity} below 2^32", value, at)

        return value

    def count(self, items: str, item_bytes: int = 1) -> int:
        """The number of items that follow, each of at least `item_bytes`."""
        at = self.position
        value = self.read_unsigned_varint()
        most = (self.end - self.position) // item_bytes
        if value > most:
            raise self.error(
                f"a count of at most {most} {items}, which the bytes left can hold", value, at
            )

        return value

    def floats(self, count: int) -> np.ndarray:
        """The next `count` numbers, float32."""
        return np.frombuffer(self.take(4 * count), "<f4")

    def rows(self, count: int) -> list[np.ndarray] | None:
        """The next `count` vectors of numbers when all are of one length (most tables are), else
        None.
        """
        start = self.position
        length = self.count("numbers", 4)
        count_bytes = self.position - start
        row_bytes = count_bytes + 4 * length
        self.position = start

        stop = start + count * row_bytes
        if stop > self.end:
            return None
        table = self.data[start:stop].reshape(count, row_bytes)
        if (table[:, :count_bytes] != table[0, :count_bytes]).any():
            return None

        self.position = stop
        return list(np.ascontiguousarray(table[:, count_bytes:]).view("<f4"))

    def integers(self, count: int) -> np.ndarray:
        """The next `count` zigzag-encoded varints of at most 32 bits, int64."""
        values, position = varint.decode_signed(self.data, self.position, self.end, count)
        if len(values) < count:
            raise self.error(
                f"{count} integers of 32 bits",
                f"{len(values)}, then a damaged one",
                int(position),
            )

        self.position = int(position)
        return np.asarray(values)

    def read(self, formatter: struct.Struct) -> tuple[Any, ...]:
        """Unpack the next bytes."""
        return formatter.unpack(self.take(formatter.size))

    def read_byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def read_view(self, count: int) -> memoryview:
        """The next `count` bytes."""
        return self.take(count)

    def read_bytearray(self, count: int) -> bytearray:
        """A copy of the next `count` bytes."""
        return bytearray(self.take(count))


def read_header(path: str | Path, data: np.ndarray) -> tuple[Any, int]:
    """The `petsird.Header` of a file's bytes (n,) uint8, and the byte where its time blocks
    begin.
    """
    wheel = package()
    stream = Stream(path, data, 0, HEADER_LIMIT)
    _check_schema(stream, wheel)

    start = stream.position
    serializer = _bounded(wheel.binary.HeaderSerializer(), wheel)
    try:
        header = serializer.read(stream)
    except (UnicodeDecodeError, LookupError, TypeError, OverflowError, struct.error) as error:
        raise ValueError(
            f"{path}: the header at bytes {start} to {stream.position} is damaged: {error}"
        ) from error

    return header, stream.position


def write_header(header: Any) -> bytes:
    """The first bytes of a file with this `petsird.Header`, up to its time blocks."""
    wheel = package()
    binary = wheel.binary._binary
    serializer = _bounded(wheel.binary.HeaderSerializer(), wheel)

    buffer = io.BytesIO()
    stream = binary.CodedOutputStream(buffer)
    stream.write_bytes(MAGIC + struct.pack("<i", BINARY_VERSION))
    binary.string_serializer.write(stream, wheel.BinaryPETSIRDWriter.schema)
    serializer.write(stream, header)
    stream.flush()

    return buffer.getvalue()


def _check_schema(stream: Stream, wheel: ModuleType) -> None:
    magic = bytes(stream.take(len(MAGIC)))
    if magic != MAGIC:
        raise stream.error(f"{MAGIC!r}, with which PETSIRD's binary files begin", repr(magic), 0)

    (version,) = stream.read(struct.Struct("<i"))
    if version != BINARY_VERSION:
        raise stream.error(f"version {BINARY_VERSION} of the binary format", version, len(MAGIC))

    at = stream.position
    schema = bytes(stream.take(stream.count("characters of the schema")))
    if schema != wheel.BinaryPETSIRDWriter.schema.encode():
        installed = metadata.version("petsird")
        raise stream.error(
            f"the schema of petsird {PACKAGE_VERSION} (found here: {installed})",
            f"another one of {len(schema)} bytes; read the file with the petsird release it was "
            f"written with and write it again with {PACKAGE_VERSION}",
            at,
        )


def _bounded(serializer: Any, wheel: ModuleType) -> Any:
    """The serializer with counts checked by `Stream.count`, and lists of numbers read and written
    as arrays.
    """
    binary = wheel.binary._binary

    class Vector(binary.VectorSerializer):  # type: ignore[name-defined]
        def read(self, stream: Stream) -> Any:
            element = self._element_serializer
            if element is binary.float32_serializer:
                return stream.floats(stream.count("numbers", 4))
            if element is binary.int32_serializer:
                return stream.integers(stream.count("integers"))

            count = stream.count("items")
            if count > 1 and is_numbers(element):
                rows = stream.rows(count)
                if rows is not None:
                    return rows

            return [element.read(stream) for _ in range(count)]

        def write(self, stream: Any, value: Any) -> None:
            element = self._element_serializer
            stream.write_unsigned_varint(len(value))

            if element is binary.float32_serializer:
                numbers = np.asarray(value, "<f4")
                stream.write_bytes(numbers.tobytes())
            elif element is binary.int32_serializer:
                integers = np.asarray(value, np.int64)
                stream.write_bytes(varint.encode_signed(integers).tobytes())
            else:
                for item in value:
                    element.write(stream, item)

    def is_numbers(element: Any) -> bool:
        if not isinstance(element, Vector):
            return False
        return element._element_serializer is binary.float32_serializer

    def replace(old: Any) -> Any:
        if isinstance(old, binary.VectorSerializer):
            return Vector(replace(old._element_serializer))

        if isinstance(old, binary.RecordSerializer):
            fields = [(name, replace(field)) for name, field in old._field_serializers]
            old._field_serializers = fields
        elif isinstance(old, binary.OptionalSerializer):
            old._element_serializer = replace(old._element_serializer)
        return old

    return replace(serializer)
