"""List mode on disk: what was written comes back, whatever is wrong is said with file and event."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tgdpet.listmode import events as events_module
from tgdpet.listmode.events import EVENT, chunks, open_events, part, write_events
from tgdpet.scanner.cylinder import PRESETS

SCANNER = PRESETS["demo"]


def some_events(n: int = 1000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    events = np.empty(n, EVENT)

    for key in ("det0", "det1"):
        events[key] = rng.integers(0, SCANNER.n_detectors, n)

    events["tof"] = rng.integers(-SCANNER.tof_half_bins, SCANNER.tof_half_bins + 1, n)

    return events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.npy"


def test_an_event_takes_twelve_bytes() -> None:
    assert EVENT.itemsize == 12


@pytest.mark.parametrize("sizes", [[], [0], [1], [300, 0, 700], [1] * 37])
def test_round_trip_in_parts(path: Path, sizes: list[int]) -> None:
    events = some_events(sum(sizes))
    bounds = np.cumsum([0, *sizes])
    parts = (events[first:stop] for first, stop in pairwise(bounds))

    assert write_events(path, parts) == len(events)

    back = open_events(path, SCANNER)
    assert np.array_equal(back, events) and back.dtype == EVENT
    assert isinstance(back, np.memmap)
    assert np.array_equal(np.load(path), events), "any program that reads .npy can read it"


def test_a_failed_write_leaves_nothing(path: Path) -> None:
    def parts():  # type: ignore[no-untyped-def]
        yield some_events(10)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_events(path, parts())

    assert not list(path.parent.iterdir())


def test_truncated_at_any_place_is_an_error_with_the_name(path: Path) -> None:
    write_events(path, [some_events(20)])
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(
            ValueError, match=r"events\.npy: not a readable list mode \(truncated\?\)"
        ):
            open_events(path)


def test_a_damaged_header_is_an_error_with_the_name_or_harmless(path: Path) -> None:
    events = some_events(20)
    write_events(path, [events])
    content = path.read_bytes()

    for i in range(128):
        for bits in (0x01, 0x20, 0x5A, 0x80):
            path.write_bytes(content[:i] + bytes([content[i] ^ bits]) + content[i + 1 :])

            try:
                back = open_events(path)
            except ValueError as error:
                assert "events.npy" in str(error)
            else:
                assert np.array_equal(back, events[: len(back)])


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"events\.npy: no such list mode"):
        open_events(path)


def test_another_array_is_no_list_mode(path: Path) -> None:
    for array in (
        np.zeros((5, 3), np.int32),
        np.zeros((2, 5), EVENT),
        np.zeros(3, [("det0", "<u4"), ("det1", "<u4")]),
    ):
        np.save(path, array)
        with pytest.raises(ValueError, match=r"events\.npy: expected a list of"):
            open_events(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("det0", SCANNER.n_detectors),
        ("det1", 2**32 - 1),
        ("tof", SCANNER.tof_half_bins + 1),
        ("tof", -SCANNER.tof_half_bins - 1),
        ("tof", -(2**31)),
    ],
)
def test_ids_out_of_range_are_named_with_their_event(
    path: Path, key: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "CHUNK", 100)
    monkeypatch.setattr(chunks, "__defaults__", (100,))
    events = some_events(1000)
    events[key][[737, 801]] = value
    write_events(path, [events])

    with pytest.raises(
        ValueError, match=rf"events\.npy: event 737 = .*{value}.*below {SCANNER.n_detectors}"
    ):
        open_events(path, SCANNER)

    assert len(open_events(path)) == 1000, "without a scanner there is nothing to check against"


def test_chunks_cover_everything_once() -> None:
    events = some_events(1001)
    parts = list(chunks(events, 250))
    assert [start for start, _ in parts] == [0, 250, 500, 750, 1000]
    assert np.array_equal(np.concatenate([part for _, part in parts]), events)


def test_parts_of_a_map_and_of_its_views_are_the_right_events(path: Path) -> None:
    events = some_events(1001)
    write_events(path, [events])
    mapped = open_events(path)

    for array in (mapped, mapped[100:], mapped[::3], mapped["tof"], np.asarray(mapped)):
        pieces = [part(array, start, 250) for start in range(0, 1250, 250)]
        assert np.array_equal(np.concatenate(pieces), array)

    assert part(mapped, 0, 250).base is not mapped.base, "a map of its own, which memory can let go"
