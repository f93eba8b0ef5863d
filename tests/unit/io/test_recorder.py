"""Records of jobs whose results have no sidecar, and the chain that is read from them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tgdpet.io import files, provenance, recorder
from tgdpet.io.digests import file_digest

SCRIPT = """
import sys
from pathlib import Path
from tgdpet.cli import arguments
from tgdpet.io import files
def main():
    read = []
    for given in map(Path, sys.argv[3:]):
        read += [given] if given.is_file() else sorted(given.glob("*.txt"))
    text = "".join(path.read_text() for path in read)
    if "--fail" in sys.argv:
        files.write_text(sys.argv[2], text)
        raise ValueError("no")
    files.write_text(sys.argv[2], text + "!")
    return read
sys.argv = sys.argv[:1] + ["--out"] + sys.argv[1:]
arguments.run(main)
"""


def run_script(folder, out, *words):
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "script.py", out, *words],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )


def record(words, write, read=()):
    """The record of a job with this command line: what `write` writes is its output."""
    before = len(files.written)
    write()
    recorder.write_records(files.written[before:], read, words, time.time())


@pytest.fixture
def chain(tmp_path):
    """a.txt and in/*.txt -> b.txt -> c.txt."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a")
    (tmp_path / "in/.hidden").write_text("h")
    for out, *words in (("b.txt", "in"), ("c.txt", "b.txt")):
        done = run_script(tmp_path, out, *words)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_record_names_inputs_outputs_and_where(chain, monkeypatch):
    monkeypatch.chdir(chain)
    record = files.read_json("b.txt" + recorder.SUFFIX)
    assert record["outputs"] == {"b.txt": file_digest("b.txt")}
    told = record["provenance"]
    assert told["inputs"] == {"in/a.txt": file_digest("in/a.txt")}
    assert {"host", "job", "device", "seed", "software", "wall_s", "gpus"} <= set(told)


def test_a_failed_script_leaves_no_record(chain):
    done = run_script(chain, "d.txt", "b.txt", "--fail")
    assert done.returncode == 1 and done.stderr == "error: no\n"
    assert not (chain / ("d.txt" + recorder.SUFFIX)).exists()


def test_the_tree_follows_the_chain(chain, monkeypatch):
    monkeypatch.chdir(chain)
    lines = list(provenance.tree(Path("c.txt")))
    assert [re.search(r"[\w/.]+", line)[0] for line in lines] == ["c.txt", "b.txt", "in/a.txt"]
    assert "original" in lines[2]
    (chain / "in/a.txt").write_text("other")
    assert "[CHANGED SINCE]" in list(provenance.tree(Path("c.txt")))[2]
    (chain / "in/a.txt").unlink()
    assert "[gone]" in list(provenance.tree(Path("c.txt")))[2]
    assert list(provenance.tree(Path("c.txt"), depth=1))[-1].endswith("1 inputs")


def test_what_was_shown_is_not_shown_again(chain, monkeypatch):
    monkeypatch.chdir(chain)
    assert run_script(chain, "e.txt", "b.txt", "c.txt").returncode == 0
    lines = list(provenance.tree(Path("e.txt")))
    assert sum("b.txt" in line for line in lines) == 2
    assert sum("in/a.txt" in line for line in lines) == 1
    assert sum("(see above)" in line for line in lines) == 1


def test_results_with_a_sidecar_get_no_record(tmp_path):
    text = SCRIPT.replace(
        'files.write_text(sys.argv[2], text + "!")',
        'files.write_json(sys.argv[2], {"provenance": {}})',
    )
    (tmp_path / "script.py").write_text(text)
    subprocess.run([sys.executable, "script.py", "a.json"], cwd=tmp_path, check=True)
    assert {p.name for p in tmp_path.iterdir()} == {"script.py", "a.json"}


def test_files_that_the_command_line_names_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.safetensors").write_bytes(b"weights")

    words = ["--network", "net.safetensors", "--seed", "5", "--out", "a.txt"]
    record(words, lambda: files.write_text("a.txt", "a"))

    told = files.read_json("a.txt" + recorder.SUFFIX)["provenance"]
    assert list(told["inputs"]) == ["net.safetensors"] and told["seed"] == 5
    assert told["settings"] == {"words": words}


def test_an_input_is_noted_once_and_outputs_are_none(tmp_path, monkeypatch):
    """A table that a script reads and writes anew, a file that it names and the user too."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).write_text(name)

    read = [Path("b"), tmp_path / "b", Path("a")]
    record(["b"], lambda: files.write_text("a", "new"), read)

    (noted,) = files.read_json("a" + recorder.SUFFIX)["provenance"]["inputs"]
    assert Path(noted).name == "b"


def test_an_input_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="gone"):
        record([], lambda: files.write_text("a", "a"), [Path("gone")])


def test_outputs_in_two_folders_have_a_record_in_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("noisy", "target"):
        Path(name).write_text(name)

    def write():
        files.write_text("cache/a", "a")
        files.write_text("out/b", "b")

    record(["--pairs", "lesion:60s:noisy:target"], write, [Path("noisy"), Path("target")])

    for path in ("cache/a", "out/b"):
        lines = list(provenance.tree(Path(path)))
        assert [re.search(r"[\w/.]+", line)[0] for line in lines] == [path, "noisy", "target"]


def test_a_sidecar_is_not_shown_beside_the_file_that_it_tells_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_json("image.json", {"provenance": {"inputs": {}}})
    Path("image.nii.gz").write_text("image")
    Path("other.json").write_text("{}")

    words = ["image.json", "image.nii.gz", "other.json"]
    record(words, lambda: files.write_text("a", "a"))

    assert [re.search(r"[\w/.]+", line)[0] for line in provenance.tree(Path("a"))] == [
        "a",
        "image.nii.gz",
        "other.json",
    ]


def test_writers_on_other_hosts_have_other_temporary_names(tmp_path, monkeypatch):
    names = []
    for host in ("node1", "node2"):
        monkeypatch.setattr(files.platform, "node", lambda host=host: host)
        with files.atomic(tmp_path / "a.txt") as temporary:
            names.append(temporary.name)
            temporary.touch()
    assert len(set(names)) == 2


def test_jobs_of_schedulers_are_named(monkeypatch):
    for name in files.JOB_IDS:
        monkeypatch.delenv(name, raising=False)
    assert files.sidecar([], {}, None, "cpu", 0.0)["job"] is None
    monkeypatch.setenv("LSB_JOBID", "8")
    assert files.sidecar([], {}, None, "cpu", 0.0)["job"] == "8"
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    told = files.sidecar([], {}, None, "cpu", 0.0)
    assert (told["job"], told["gpus"]) == ("17", "3")
