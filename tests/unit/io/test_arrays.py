"""Arrays keep a digest of their content: a changed bit is found, old files are read with a word."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tgdpet.io import arrays

VALUES = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize(
    "array",
    [
        VALUES,
        np.asfortranarray(VALUES),
        VALUES[:, ::2],
        np.zeros(0, np.int32),
        np.array(2.5),
        np.zeros(3, [("det0", "<u4"), ("tof", "<i4")]),
    ],
)
def test_what_is_written_is_read_by_us_and_by_numpy(tmp_path: Path, array: np.ndarray) -> None:
    arrays.write_array(tmp_path / "a.npy", array)

    for again in (np.load(tmp_path / "a.npy"), np.load(tmp_path / "a.npy", mmap_mode="r")):
        np.testing.assert_array_equal(again, array)
        assert again.dtype == array.dtype
    if array.size:
        np.testing.assert_array_equal(arrays.map_array(tmp_path / "a.npy", "array"), array)


def test_values_lie_as_numpy_aligns_them(tmp_path: Path) -> None:
    arrays.write_array(tmp_path / "a.npy", VALUES)
    assert arrays.map_array(tmp_path / "a.npy", "array").offset % 64 == 0


def test_every_changed_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    arrays.write_array(path, VALUES)
    content = path.read_bytes()
    used = len(content[:256].rstrip())  # blanks behind say nothing

    for bit in range(8 * len(content)):
        byte = bit // 8
        if used <= byte < 256:
            continue
        changed = bytearray(content)
        changed[byte] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            array = arrays.map_array(path, "array")
        except ValueError as error:
            assert "a.npy: " in str(error)
        else:  # another spelling of the same header
            np.testing.assert_array_equal(array, VALUES)


def test_an_older_file_is_read_with_one_line(tmp_path: Path, capsys) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    np.testing.assert_array_equal(arrays.map_array(path, "array"), VALUES)
    arrays.map_array(path, "array")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"{path}: no digest in it")


def test_another_programs_file_needs_no_digest(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    arrays.map_array(tmp_path / "a.npy", "array", foreign=True)
    assert capsys.readouterr().err == ""


def test_a_file_that_changed_since_it_was_compared_is_compared_again(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    arrays.write_array(path, VALUES)
    arrays.map_array(path, "array")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"a\.npy: damaged: expected the digest 'xxh3-128:"):
        arrays.map_array(path, "array")


def test_npz_round_trip_and_every_changed_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    written = {"v1/net": VALUES[0], "names": np.array(["a", "bc"]), "n": np.array(3)}
    arrays.write_arrays(path, written)
    content = path.read_bytes()
    again = arrays.read_arrays(path, "npz file")
    assert list(again) == list(written)

    rng = np.random.default_rng(1)
    for bit in rng.choice(8 * len(content), 3000, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            again = arrays.read_arrays(path, "npz file")
        except ValueError as error:
            assert "a.npz: " in str(error)
            continue
        for name, array in written.items():  # a date, say
            np.testing.assert_array_equal(again[name], array)


def test_an_npz_file_of_an_older_version_is_read(tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "a.npz", a=VALUES)
    np.testing.assert_array_equal(arrays.read_arrays(tmp_path / "a.npz", "npz file")["a"], VALUES)
    assert "a.npz: no digest" in capsys.readouterr().err


def test_arrays_that_claim_more_than_is_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"a\.npz: .*not compressed"):
        arrays.read_arrays(path, "npz file")

    arrays.write_arrays(path, {"a": VALUES})
    path.write_bytes(path.read_bytes().replace(b"(3, 4, 5)", b"(3, 4, 9)"))
    with pytest.raises(ValueError, match=r"a\.npz: not a readable npz file"):
        arrays.read_arrays(path, "npz file")


@pytest.mark.parametrize("read", [arrays.map_array, arrays.read_arrays])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, read) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone: no such array$"):
        read(tmp_path / "gone", "array")


def test_an_archive_in_an_arrays_place_is_refused(tmp_path: Path) -> None:
    arrays.write_arrays(tmp_path / "a.npz", {"a": VALUES})
    with pytest.raises(ValueError, match=r"a\.npz: not a readable array .*no \.npy file"):
        arrays.map_array(tmp_path / "a.npz", "array")


def test_a_name_that_an_archive_has_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays.write_arrays(path, {"a": VALUES, "b": VALUES})
    path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(ValueError, match=r"a\.npz: .*a is there twice"):
        arrays.read_arrays(path, "npz file")


def test_bytes_behind_the_values_are_refused_of_other_programs_too(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    with open(path, "ab") as file:
        file.write(bytes(4))
    with pytest.raises(ValueError, match=r"a\.npy: damaged: .*takes 368 bytes, the file has 372"):
        arrays.map_array(path, "array", foreign=True)


def test_a_comment_that_holds_no_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    arrays.write_array(path, VALUES)
    path.write_bytes(path.read_bytes().replace(b"# digest", b"# digesd"))
    with pytest.raises(ValueError, match=r"a\.npy: damaged: no digest in the header's comment"):
        arrays.map_array(path, "array", foreign=True)


def test_members_of_another_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    content = BytesIO()
    np.lib.format.write_array(content, VALUES, version=(2, 0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz: .*expected format 1\.0, got \(2, 0\)"):
        arrays.read_arrays(path, "npz file")
