"""Compiled kernels find a folder that can be written to, where package and home cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tgdpet.runtime import compiled

KERNEL = """
import numpy as np
from tgdpet.petsird.varint import encode_signed
print(bytes(encode_signed(np.array([1, -1, 2]))).hex())
"""


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that nobody can make, root neither: it is a file."""
    path = tmp_path / "read_only"
    path.write_text("")
    return path


def test_the_first_folder_that_can_be_written_to_is_taken(tmp_path: Path, read_only: Path) -> None:
    folders = [read_only, tmp_path / "home" / "cache", tmp_path / "other"]
    assert compiled.find_cache(folders, tmp_path) == folders[1]


def test_a_private_temporary_folder_stands_in(tmp_path: Path, read_only: Path) -> None:
    found = compiled.find_cache([read_only], tmp_path)
    assert found is not None and found.parent == tmp_path and found.stat().st_mode & 0o777 == 0o700
    assert compiled.find_cache([read_only], tmp_path) == found

    found.chmod(0o777)  # numba would unpickle what others put there
    assert compiled.find_cache([read_only], tmp_path) is None


def test_without_any_folder_a_line_says_so_and_kernels_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "find_cache", lambda folders, temporary: None)
    assert not compiled.set_cache()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "NUMBA_CACHE_DIR" in said

    monkeypatch.setattr(compiled, "HAS_CACHE", False)
    assert compiled.njit()(lambda x: x + 1)(1) == 2


def test_a_read_only_package_and_home_do_not_end_in_a_traceback(root: Path, tmp_path: Path) -> None:
    package = tmp_path / "tgdpet"
    shutil.copytree(root / "scripts/tgdpet", package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        (folder / "__pycache__").write_text("")  # in the way of the folder, as no rights would be

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    env = {**kept, "HOME": "/dev/null", "TMPDIR": str(temporary), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KERNEL], env=env, capture_output=True, text=True)

    assert done.stdout.strip() == "020104", done.stderr
    assert list(temporary.glob(f"tgdpet-numba-{os.getuid()}/**/*.nbi"))
