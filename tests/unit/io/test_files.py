"""Files appear whole or not at all, errors name the file, and a sidecar tells where a result came
from.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tgdpet.io import files


def test_atomic_writes_the_file_and_nothing_else(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "new" / "a.nii.gz") as temporary:
        assert temporary.name.endswith("a.nii.gz"), "writers choose a format by the suffix"
        assert temporary.parent == tmp_path / "new", "renaming is atomic within a folder only"
        temporary.write_text("content")
        assert not (tmp_path / "new" / "a.nii.gz").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "new" / "a.nii.gz").read_text() == "content"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_half_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError), files.atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert not list(tmp_path.iterdir())


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "é": "ü"}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }\n')
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON at line 2"):
        files.read_json(path)


def test_json_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.json"):
        files.read_json(path)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables_are_separated_as_their_name_says(tmp_path: Path, name: str, separator: str) -> None:
    table = pd.DataFrame({"study": ["x", "y"], "value": [0.1234567891, 1e-7]})
    files.write_csv(tmp_path / name, table)
    assert (tmp_path / name).read_text().splitlines()[0] == separator.join(["study", "value"])
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / name, sep=separator), table, check_exact=False, rtol=1e-9
    )


def test_sidecar_tells_where_a_result_came_from(tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(b"events")
    started = time.time() - 5
    content = json.loads(json.dumps(files.sidecar([source], {"iterations": 3}, 7, "cpu", started)))
    assert content["inputs"] == {str(source): hashlib.sha256(b"events").hexdigest()}
    assert (
        content["settings"] == {"iterations": 3}
        and content["seed"] == 7
        and content["device"] == "cpu"
    )
    assert (
        content["software"]["tgdpet"]
        and content["software"]["numpy"]
        and content["software"]["commit"]
    )
    assert 5 <= content["wall_s"] < 60
    assert 10 < content["peak_memory_mib"] < 1e6


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        files.sidecar([tmp_path / "gone.bin"], {}, None, "cpu", time.time())


def test_a_full_disk_names_the_file_and_the_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"a\.txt: cannot be written: No space left"),
        files.atomic(tmp_path / "a.txt"),
    ):
        raise OSError(28, "No space left on device")
    with (
        pytest.raises(OSError, match=r"b\.npy: .* 9 requested and 3 written"),
        files.atomic(tmp_path / "b.npy"),
    ):
        raise OSError("9 requested and 3 written")  # as numpy puts it
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"\xc8\xc9\xca\n", b"a,b\n1,2\n1,2,3,4\n"])
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv: not a readable table"):
        files.read_csv(path, ["a"])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n1\t2\n")
    assert list(files.read_csv(path, ["b", "a"])["b"]) == [2]
    with pytest.raises(ValueError, match=r"t\.tsv: column 'c' is missing; expected a, c"):
        files.read_csv(path, ["a", "c"])


def test_a_process_asks_for_its_commit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files._commit.cache_clear()
    run = files.subprocess.run
    asked = []

    def counted(*words: Any, **options: Any) -> Any:
        asked.append(words)
        return run(*words, **options)

    monkeypatch.setattr(files.subprocess, "run", counted)
    assert files.software() == files.software()
    assert len(asked) == 1
