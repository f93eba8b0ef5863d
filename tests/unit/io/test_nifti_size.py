"""What an image's header claims is compared with what is there, before memory is taken."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.io import nifti

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])
DATA = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def written(path: Path, kind: type = nib.Nifti1Image) -> bytes:
    nib.save(kind(DATA, AFFINE), path)
    nifti.sidecar_path(path).write_text('{"Units": "Bq/mL"}')
    return path.read_bytes()


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_whole_file_is_read(tmp_path: Path, name: str, kind: type) -> None:
    written(tmp_path / name, kind)
    np.testing.assert_array_equal(nifti.read_image(tmp_path / name).data, DATA)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(DATA, AFFINE, header), tmp_path / "a.nii")
    np.testing.assert_array_equal(nifti.read_plain(tmp_path / "a.nii")[0], DATA)


def test_another_shape_by_one_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    content = written(path)
    as_written = nifti.read_image(path)
    for bit in range(8 * 40, 8 * 48):  # dim[0] to dim[3]
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            image = nifti.read_image(path)
        except ValueError as error:
            assert f"{path}: " in str(error)
        else:  # more axes, of length 1: the same image
            assert changed[40] in (4, 5, 6, 7) and np.array_equal(image.data, as_written.data)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("extra", [b"\0", b"\1" * 5000])
def test_bytes_that_are_left_over_are_refused(tmp_path: Path, name: str, extra: bytes) -> None:
    path = tmp_path / name
    content = written(path)
    more = (
        gzip.compress(gzip.decompress(content) + extra) if name.endswith("gz") else content + extra
    )
    path.write_bytes(more)
    with pytest.raises(
        ValueError, match=rf"{name}: damaged: shape \(2, 3, 4\) of float32 takes 448"
    ):
        nifti.read_image(path)


MEASURE = """
import resource, sys
from tgdpet.io import nifti
try:
    nifti.read_image(sys.argv[1])
except ValueError as error:
    print(error)
"""


def refused_with(path: Path, root: Path, limit_mib: int) -> str:
    """What a process with so much memory for data says of a file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_mib << 20, limit_mib << 20))

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(root / "scripts"), "OPENBLAS_NUM_THREADS": "1", "PATH": ""},
        preexec_fn=limit,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_file_that_claims_gigabytes_takes_none(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "claims.nii.gz"
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((1000, 1000, 800))
    header.set_sform(AFFINE, 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(100)))
    nifti.sidecar_path(path).write_text('{"Units": "Bq/mL"}')

    said = refused_with(path, root, limit_mib=1500)
    assert "claims.nii.gz: damaged: shape (1000, 1000, 800) of float32 takes 3200000352" in said


def test_zeros_behind_an_image_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    content = written(path)
    zeros = gzip.compress(bytes(32 << 20))
    path.write_bytes(content + zeros * 30)  # 0.9 MB that hold 1 GB
    with pytest.raises(ValueError, match=r"a\.nii\.gz: damaged: .*the file has 540 or more"):
        nifti.read_image(path)


def test_an_image_without_voxels_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((24, 20, 0), np.float32), AFFINE), path)
    nifti.sidecar_path(path).write_text(json.dumps({"Units": "Bq/mL"}))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: expected .*voxels, got shape \(24, 20, 0\)"):
        nifti.read_converted(path)


def test_nibabel_keeps_its_remarks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A refusal, or a reading, says nothing on the screen beside its one line."""
    path = tmp_path / "a.nii"
    content = written(path)
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * 352, 300, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            nifti.read_image(path)
        except ValueError as error:
            assert str(error).startswith(str(tmp_path)) and "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_negative_size_is_refused_as_such(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = bytearray(written(path) if name == "a.nii" else gzip.decompress(written(path)))
    content[42:46] = np.array([-2, -3], "<i2").tobytes()  # the product is that of 2 and 3
    path.write_bytes(bytes(content) if name == "a.nii" else gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match=rf"{name}: .*a negative size in the shape \[-2, -3, 4\]"):
        nifti.read_image(path)


def test_a_header_whose_voxels_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    content = bytearray(written(path))
    content[344:348] = b"ni1\0"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nii: .*expected header and voxels in one file"):
        nifti.read_image(path)
