"""Damaged PETSIRD files: an error that names file and byte, or events whose ids all exist; never
anything else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

petsird = pytest.importorskip("petsird")

from petsird_files import GRID, TINY, block, header, read_all, study, write
from tgdpet.petsird.read import import_study
from tgdpet.petsird.stream import read_header
from tgdpet.petsird.varint import varint_bytes
from tgdpet.scanner.cylinder import Scanner

LIMIT_S = 1.0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(content, where the header's fields begin, where the blocks begin) of a file with blocks of
    every kind.
    """
    folder = tmp_path_factory.mktemp("damage")
    interval, whole = (petsird.TimeInterval(start=0, stop=ms) for ms in (10, 2000))
    alive = petsird.AliveTimeFractions(singles_alive_time_fractions=[np.ones(24, np.float32)])
    still = petsird.RigidTransformation(matrix=np.eye(4, dtype=np.float32)[:3])
    many = [
        (int(a), int(b), int(t)) for a, b, t in np.random.default_rng(0).integers(0, 5, (20, 3))
    ]
    single = [[petsird.SingleEvent(detection_bin=3, time_offset_in_time_block=70_000)]]
    path = write(
        folder / "x.petsird",
        with_tables(header()),
        [
            block(0, 1000, *many, single_events=single),
            petsird.TimeBlock.ExternalSignalTimeBlock(
                petsird.ExternalSignalTimeBlock(
                    time_interval=interval, signal_id=1, signal_values=[1.0, 2.0]
                )
            ),
            petsird.TimeBlock.BedMovementTimeBlock(
                petsird.BedMovementTimeBlock(time_interval=interval, transform=still)
            ),
            petsird.TimeBlock.GantryMovementTimeBlock(
                petsird.GantryMovementTimeBlock(time_interval=interval, transforms=[still])
            ),
            petsird.TimeBlock.DeadTimeTimeBlock(
                petsird.DeadTimeTimeBlock(time_interval=whole, alive_time_fractions=alive)
            ),
            petsird.TimeBlock.SinglesHistogramTimeBlock(
                petsird.SinglesHistogramTimeBlock(
                    time_interval=interval,
                    singles_per_detection_bin_histogram=[[5, 1 << 40], [300]],
                )
            ),
            block(1000, 2000, *many, delayed_events=block(0, 1, *many[:5]).value.prompt_events),
        ],
    )
    content = path.read_bytes()
    fields = content.index(petsird.BinaryPETSIRDWriter.schema.encode()) + len(
        petsird.BinaryPETSIRDWriter.schema
    )
    assert len(read_all(path)[0]) == 40
    return content, fields, read_header(path, np.frombuffer(content, np.uint8))[1]


def with_tables(head):
    """A header with efficiencies of bins and of pairs of modules in two groups."""
    n = len(head.scanner.scanner_geometry.replicated_modules[0].transforms)
    given = head.scanner.detection_efficiencies
    given.calibration_factor = 1.0
    given.detection_bin_efficiencies = [[1.0] * (3 * n)]
    given.module_pair_sgidlut = [[[[(i + j) % 2 for j in range(i + 1)] for i in range(n)]]]
    given.module_pair_efficiencies_vectors = [
        [[petsird.ModulePairEfficiencies(values=[[1.0] * 3] * 3, sgid=g) for g in range(2)]]
    ]
    return head


def attempt(path, content):
    """Read it: True when it reads with ids in range, False when it is refused by name; anything
    else fails.
    """
    path.write_bytes(content)
    start = time.process_time()
    try:
        events, _ = read_all(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: "), error
        return False
    finally:
        assert time.process_time() - start < LIMIT_S
    assert not len(events) or (
        events[:, :2].min() >= 0 and events[:, :2].max() < 24 and np.abs(events[:, 2]).max() <= 2
    )
    return True


def test_a_file_cut_at_any_byte_is_refused(small, tmp_path):
    content, fields, _ = small
    path = tmp_path / "cut.petsird"
    for size in [*range(0, fields, 97), *range(fields, len(content))]:
        assert not attempt(path, content[:size]), size


def test_bytes_behind_the_end_are_refused(small, tmp_path):
    path = tmp_path / "more.petsird"
    path.write_bytes(small[0] + b"\0")
    with pytest.raises(
        ValueError, match=r"expected the end of the file behind the last time block, got 1 more"
    ):
        read_all(path)


@pytest.mark.parametrize("part", ["header", "blocks"])
def test_changed_bytes_are_refused_or_read_in_range(small, tmp_path, part):
    content, fields, blocks = small
    low, high = (fields, blocks) if part == "header" else (blocks, len(content))
    rng = np.random.default_rng(5)
    read = 0
    for trial in range(1000):
        changed = bytearray(content)
        at = int(rng.integers(low, high))
        changed[at] = (
            int(rng.integers(256)) if trial % 2 else changed[at] ^ (1 << int(rng.integers(8)))
        )
        read += attempt(tmp_path / "changed.petsird", bytes(changed))
    assert 0 < read < 1000


def test_changed_bytes_never_break_an_import(small, tmp_path):
    content, fields, blocks = small
    rng = np.random.default_rng(6)
    path = write(tmp_path / "x.petsird", header(), [])
    imported = 0
    for _ in range(100):
        changed = bytearray(content)
        changed[int(rng.integers(fields, len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            imported += (
                import_study(path, tmp_path / "i", "s", GRID, attenuation=False)["events"] > 0
            )
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
    assert imported > 0


def events_of(tail):
    """Blocks: one list of prompts whose bytes are `tail`, and what closes the block and the
    stream.
    """
    return b"\1\0\0\1\0\1\1" + tail + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (
            events_of(b"\1\5\1\x80\x80\x80\x80\x80\x01"),
            "integer below 2.32 in at most five bytes, got a longer one",
        ),
        (
            events_of(b"\1\xff\xff\xff\xff\x1f\1\1"),
            "integer below 2.32 in at most five bytes, got a longer one",
        ),
        (
            events_of(b"\xff\xff\xff\xff\x0f\1\1\1"),
            r"count of at most \d+ prompt events.*got 4294967295",
        ),
        (events_of(b"\4\1\1\1"), r"count of at most 2 prompt events.*got 4"),
        (events_of(b"\1\x18\0\0"), "detection bin below 24 in prompt events, got 24"),
        (events_of(b"\1\0\x18\0"), "detection bin below 24 in prompt events, got 24"),
        (events_of(b"\1\5\1\5"), "TOF index below 5 in prompt events, got 5"),
        (b"\1\0\0\1\0\2", r"at most 1 lists of prompt events \(1 module types\), got 2"),
        (b"\1\0\0\1\0\1\2", r"at most 1 lists of prompt events \(1 module types\), got 2"),
        (b"\1\0\0\1\2", r"at most 1 lists of single events \(1 module types\), got 2"),
        (b"\1\0\0\1\1\1\x18\0\0\0\0\0\0", "detection bin below 24 in single events, got 24"),
        (b"\1\6", "tag of a time block, 0 to 5, got 6"),
        (b"\1\0\5\4", "at 5 ms or later.*got 4 ms"),
        (b"\2\0\5\6\0\0\0\0\0\0\4\5", "at 5 ms or later.*got 4 ms"),
        (b"\xff\x7f", "count of at most 0 time blocks"),
        (b"\1\1\0\1\5\xff\xff\xff\x7f", r"count of at most 0 signal values"),
        (b"\1\5\0\1\xff\x7f", "a singles histogram, got"),
        (b"\1\4\0\1\0\1\1\2\xff\xff\xff\x7f\xff\xff\xff\x7f", "array that fits in the bytes left"),
    ],
)
def test_damaged_numbers_are_named_with_their_byte(tmp_path, blocks, message):
    path = write(tmp_path / "x.petsird", header(), [])
    content = path.read_bytes()[:-1]
    path.write_bytes(content + blocks)
    with pytest.raises(ValueError, match=rf"x\.petsird: byte (\d+): expected.*{message}") as caught:
        read_all(path)
    at = int(str(caught.value).split("byte ")[1].split(":")[0])
    assert len(content) <= at <= len(content) + len(blocks)


def test_an_id_out_of_range_is_named_where_it_stands(tmp_path):
    events = [(5, 1, 0)] * 1000 + [(24, 1, 0)] + [(5, 1, 0)] * 1000
    path = write(tmp_path / "x.petsird", header(), [block(0, 1, *events)])
    at = path.read_bytes().index(b"\x18\1\0")
    for size in (1, 64, 1 << 16):
        with pytest.raises(
            ValueError,
            match=rf"byte {at}: expected a detection bin below 24 in prompt events, got 24",
        ):
            read_all(path, size)


def test_header_with_a_huge_count_is_refused_at_once(tmp_path):
    path = write(tmp_path / "x.petsird", header(), [block(0, 1, (5, 1, 0))])
    content = path.read_bytes()
    at = (
        content.index(b"\x04ring") + 5 + 1
    )  # number of module types, then the first vector of corners
    path.write_bytes(content[: at - 1] + varint_bytes(1 << 62) + content[at:])
    with pytest.raises(ValueError, match=rf"byte {at - 1}: expected a count of at most \d+ items"):
        read_all(path)


def test_another_schema_is_refused_with_what_to_do(tmp_path):
    path = write(tmp_path / "x.petsird", header(), [])
    path.write_bytes(path.read_bytes().replace(b'"AliveTimeFractions"', b'"AliveTimeFractionz"'))
    with pytest.raises(
        ValueError, match=r"byte 9: expected the schema of petsird 0\.12.*write it again with 0\.12"
    ):
        read_all(path)
    path.write_bytes(b"yardl\2\0\0\0" + path.read_bytes()[9:])
    with pytest.raises(ValueError, match="byte 5: expected version 1 of the binary format, got 2"):
        read_all(path)


MEASURE = """
import sys; sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from petsird_files import read_all, GRID
from tgdpet.petsird.read import import_study
from tgdpet.petsird.write import export_study
folder = Path(sys.argv[3])
for name in ("few", "few", "many"):  # the first time compiles
    export_study(folder / name, folder / f"{name}.petsird", 1000.0)
    import_study(folder / f"{name}.petsird", folder / "i", "s", GRID)
    status = Path("/proc/self/status").read_text()  # getrusage's peak is inherited from the parent
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_file(root, tmp_path):
    wide = Scanner(**{**vars(TINY), "crystals_per_ring": 400, "rings": 10})
    study(tmp_path / "few", 3_000_000, wide)
    study(tmp_path / "many", 15_000_000, wide)
    command = [sys.executable, "-c", MEASURE, root / "scripts", root / "tests/helpers", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    _, few, many = map(int, done.stdout.split())
    assert (tmp_path / "many.petsird").stat().st_size > 70 << 20
    assert (
        many - few < 70
    )  # MiB, for 70 MiB more of PETSIRD and 140 MiB more of events; 130 when pages are kept
