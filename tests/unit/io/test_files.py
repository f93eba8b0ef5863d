"""Files appear whole or not at all, errors name the file, and a sidecar tells where a result came
from.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tgdpet.io import files
from tgdpet.io.digests import file_digest


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
    assert content["inputs"] == {str(source): file_digest(source)}
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


def test_files_that_belong_together_are_both_there_or_none(tmp_path: Path) -> None:
    image, beside = tmp_path / "a.nii", tmp_path / "a.json"
    image.write_text("old image")
    beside.write_text("old sidecar")
    with pytest.raises(OSError), files.atomic_together(image, beside) as (one, two):
        two.write_text("new sidecar")
        one.write_text("half of the n")
        raise OSError(28, "No space left on device")
    assert (image.read_text(), beside.read_text()) == ("old image", "old sidecar")

    with files.atomic_together(image, beside) as (one, two):
        one.write_text("new image")
        two.write_text("new sidecar")
    assert (image.read_text(), beside.read_text()) == ("new image", "new sidecar")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.nii"]


def test_temporary_names_cannot_be_guessed_and_take_no_link(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with files.atomic(tmp_path / "a.txt") as temporary:
            assert temporary.exists() and not temporary.is_symlink()
            names.add(temporary.name)
    assert len(names) == 20


def test_what_a_killed_process_left_is_removed_by_the_next_try(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], text=True,
                          capture_output=True, check=True)  # fmt: skip
    ended = int(done.stdout)
    host = platform.node()
    left = tmp_path / f".tmp-{host}-{ended}-0123456789abcdef-a.npy"
    kept = [
        tmp_path / f".tmp-{host}-{os.getpid()}-0123456789abcdef-a.npy",  # of a process at work
        tmp_path / f".tmp-{host}-{ended}-0123456789abcdef-b.npy",  # of another file
        tmp_path / f".tmp-elsewhere-{ended}-0123456789abcdef-a.npy",
    ]
    for path in (left, *kept):
        path.write_bytes(b"half")
    files.write_text(tmp_path / "a.npy", "whole")
    assert not left.exists() and all(path.exists() for path in kept)


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": float("nan"), "b": [1.5, float("-inf")], "c": (1, 2)})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, None],
        "c": [1, 2],
    }


def test_what_json_does_not_have_is_read_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": NaN, "b": Infinity, "c": 1e999, "d": 1.5}')
    assert files.read_json(path) == {"a": None, "b": None, "c": None, "d": 1.5}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is given twice"),
        ("[" * 100_000, "recursion"),
        ('{"a": ' + "1" * 5000 + "}", "digit"),
    ],
)
def test_json_that_cannot_be_meant_is_one_line(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json: not valid JSON: .*{cause}") as caught:
        files.read_json(path)
    assert len(str(caught.value)) < 600


def test_a_changed_value_of_json_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_checked_json(path, {"seconds": 600.0, "shape": (1, 2), "name": "é"})
    assert files.read_checked_json(path) == {"seconds": 600.0, "shape": [1, 2], "name": "é"}

    reordered = dict(reversed(json.loads(path.read_text()).items()))
    path.write_text(json.dumps(reordered, indent=7))
    files.read_checked_json(path)

    path.write_text(path.read_text().replace("600.0", "600.5"))
    with pytest.raises(ValueError, match=r"a\.json: damaged: expected the digest 'xxh3-128:"):
        files.read_checked_json(path)


def test_json_without_a_digest_is_read_with_a_line(tmp_path: Path, capsys) -> None:
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert files.read_checked_json(tmp_path / "a.json") == {"a": 1}
    assert capsys.readouterr().err.count("\n") == 1


def test_the_digest_is_xxh3(tmp_path: Path) -> None:
    """Of no bytes, as in the test vectors of xxHash."""
    (tmp_path / "empty").write_bytes(b"")
    assert file_digest(tmp_path / "empty") == "xxh3-128:99aa06d3014798d86001c324468d497f"


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


def test_rows_of_more_cells_than_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=r"t\.csv: not a readable table.* Length of header"):
        files.read_csv(path, ["a"])


def test_a_digest_under_a_damaged_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_checked_json(path, {"a": 1})
    path.write_text(path.read_text().replace('"digest"', '"diges4"'))
    with pytest.raises(ValueError, match=r"a\.json: damaged: a digest under the key 'diges4'"):
        files.read_checked_json(path)


def test_a_link_in_the_temporary_files_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    link = tmp_path / f".tmp-{platform.node()}-{os.getpid()}-{'0' * 16}-a.txt"
    link.symlink_to(victim)
    with pytest.raises(OSError, match=r"a\.txt: cannot be written: File exists"):
        files.write_text(tmp_path / "a.txt", "theirs")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(("name", "heads"), [("t.csv", "a,b,a"), ("t.tsv", "b\ta\ta")])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, name: str, heads: str) -> None:
    path = tmp_path / name
    path.write_text(f"{heads}\n{heads.replace('a', '1').replace('b', '2')}\n")
    with pytest.raises(ValueError, match=rf"{name}: column 'a' is there twice"):
        files.read_csv(path, ["a"])


def test_checked_json_that_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.json: expected a JSON object, got a list"):
        files.read_checked_json(tmp_path / "a.json")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"t\.csv: no such table$"):
        files.read_csv(tmp_path / "t.csv", ["a"])
