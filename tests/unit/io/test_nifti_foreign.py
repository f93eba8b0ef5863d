"""Images of other programs: units from the sidecar or the user, always Bq/mL afterwards; headers
that mean no mm.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.io import nifti

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def data() -> np.ndarray:
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A NIfTI file with unknown units of space and no sidecar."""
    path = tmp_path / "in.nii.gz"
    nib.save(nib.Nifti1Image(data(), AFFINE), path)
    return path


def beside(path: Path, **content: object) -> None:
    nifti.sidecar_path(path).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("said", "units", "factor"),
    [
        ("Bq/mL", None, 1), ("kBq/mL", None, 1000), ("BQML", None, 1), ("kBq/ml", "kBq/mL", 1000),
        (None, "Bq/mL", 1), (None, "kBq/mL", 1000),
    ],
)  # fmt: skip
def test_units_come_from_the_sidecar_or_the_user(
    foreign: Path, said: str | None, units: str | None, factor: float
):
    for content in (
        ({"Units": said, "Tracer": "FDG"}, {"Tracer": "FDG"})
        if said is None
        else ({"Units": said},)
    ):
        beside(foreign, **content)
        image = nifti.read_converted(foreign, units)
        assert (
            np.array_equal(image.data, data() * np.float32(factor))
            and image.data.dtype == np.float32
        )
        assert image.sidecar == {**content, "Units": "Bq/mL"}


def test_the_user_stands_in_for_a_missing_sidecar(foreign: Path) -> None:
    assert nifti.read_converted(foreign, "kBq/mL").data.max() == pytest.approx(23e3 / 8)
    with pytest.raises(
        ValueError,
        match=r"in\.nii\.gz: no sidecar in\.json says the units; give them: --units Bq/mL",
    ):
        nifti.read_converted(foreign)


@pytest.mark.parametrize(
    ("said", "units", "cause"),
    [
        ("SUV", None, r"in\.json: Units: .*'SUV'.*injected dose, body weight and times"),
        ("SUVbw", "Bq/mL", r"in\.json: .*'SUVbw'.*injected dose"),
        ("g/mL", None, r"in\.json: .*'g/mL'.*injected dose"),
        (None, "SUV", r"in\.nii\.gz: .*'SUV'.*injected dose"),
        ("Bq/mL", "SUV", r"--units: .*'SUV'.*injected dose"),
        ("counts", None, r"in\.json: Units: expected Bq/mL or kBq/mL, got 'counts'"),
        (None, "MBq/mL", r"in\.nii\.gz: Units: expected Bq/mL or kBq/mL, got 'MBq/mL'"),
        (7, None, r"in\.json: Units: expected Bq/mL or kBq/mL, got 7"),
        (
            "Bq/mL",
            "kBq/mL",
            r"in\.json: Units: the sidecar says 'Bq/mL', --units 'kBq/mL'; one of them is wrong",
        ),
    ],
)
def test_units_that_cannot_be_taken_are_refused(
    foreign: Path, said: object, units: str | None, cause: str
) -> None:
    if said is not None:
        beside(foreign, Units=said)
    with pytest.raises(ValueError, match=cause):
        nifti.read_converted(foreign, units)


def test_voxels_beyond_float32_after_the_conversion_are_refused(foreign: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 3, 4), 1e36, np.float32), AFFINE), foreign)
    assert np.isfinite(nifti.read_converted(foreign, "Bq/mL").data).all()
    with pytest.raises(ValueError, match=r"in\.nii\.gz: 24 of 24 voxels are NaN or infinite"):
        nifti.read_converted(foreign, "kBq/mL")


@pytest.mark.parametrize(("unit", "word"), [("meter", "metre"), ("micron", "micron")])
def test_a_grid_in_other_units_than_mm_is_refused(foreign: Path, unit: str, word: str) -> None:
    image = nib.load(foreign)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, foreign)
    for read in (
        nifti.read_plain,
        nifti.read_image,
        lambda path: nifti.read_converted(path, "Bq/mL"),
    ):
        with pytest.raises(ValueError, match=rf"in\.nii\.gz: xyzt_units: expected mm, got {word}"):
            read(foreign)


@pytest.mark.parametrize("time", ["sec", "msec", "unknown"])
def test_units_of_time_do_not_matter(foreign: Path, time: str) -> None:
    image = nib.load(foreign)
    image.header.set_xyzt_units("mm", time)
    nib.save(image, foreign)
    assert np.array_equal(nifti.read_plain(foreign)[0], data())


def test_frames_are_counted_and_not_read(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 6), np.float32), AFFINE), foreign)

    def read(*args: object, **kwargs: object) -> None:
        raise AssertionError("a dynamic study of gigabytes was read to be refused")

    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "__array__", read)
    with pytest.raises(
        ValueError, match=r"expected a 3-D image, got shape .*: 6 frame\(s\); take out a single one"
    ):
        nifti.read_converted(foreign, "Bq/mL")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Spm2AnalyzeImage(data(), AFFINE), tmp_path / "in.img")
    with pytest.raises(ValueError, match=r"in\.img: not a NIfTI file but Spm2AnalyzeImage"):
        nifti.read_converted(tmp_path / "in.img", "Bq/mL")


@pytest.mark.parametrize(
    "affine", [np.diag([2.0, 0, 4, 1]), np.diag([2.0, np.nan, 4, 1]), np.diag([np.inf, 1, 1, 1])]
)
def test_an_affine_without_three_axes_is_refused(foreign: Path, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data(), AFFINE)
    image.header["sform_code"] = 1
    for name, row in zip(("srow_x", "srow_y", "srow_z"), affine, strict=False):
        image.header[name] = row
    image.header.set_data_offset(352)
    plain = foreign.with_suffix("")  # by hand, as nibabel would repair the header
    plain.write_bytes(image.header.binaryblock + b"\0\0\0\0" + data().tobytes(order="F"))
    with pytest.raises(ValueError, match=r"in\.nii: expected an affine with three axes, mm"):
        nifti.read_converted(plain, "Bq/mL")


def test_a_damaged_header_is_an_error_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "in.nii"
    nifti.write_image(path, data(), AFFINE, {})
    content = path.read_bytes()
    for at in range(348):
        for mask in (0xFF, 0x80, 0x5A):
            path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
            try:
                nifti.read_image(path)
            except ValueError as error:
                assert "in.nii" in str(error)


@pytest.mark.parametrize("name", ["IN.NII.GZ", "IN.NII", "IN.nii.GZ"])
@pytest.mark.parametrize("ending", [".json", ".JSON"])
def test_names_in_capitals_have_a_sidecar_like_others(
    tmp_path: Path, name: str, ending: str
) -> None:
    path = tmp_path / name
    nib.save(nib.Nifti1Image(data(), AFFINE), path)
    (tmp_path / f"{name.split('.')[0]}{ending}").write_text(json.dumps({"Units": "kBq/mL"}))
    assert nifti.read_converted(path).data.max() == pytest.approx(23e3 / 8)
    with pytest.raises(ValueError, match=r"says 'kBq/mL', --units 'Bq/mL'; one of them is wrong"):
        nifti.read_converted(path, "Bq/mL")


def test_a_damaged_file_is_found_whatever_the_case_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "BAD.NII.GZ"
    rng = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(rng.random((20, 20, 20)).astype(np.float32), AFFINE), path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0x5A  # of the checksum
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"BAD\.NII\.GZ: not a readable NIfTI file"):
        nifti.read_converted(path, "Bq/mL")


@pytest.mark.parametrize("name", ["in.nii.bz2", "in.nii.zst", "in.mgz", "in"])
def test_names_of_no_nifti_file_are_refused(foreign: Path, name: str) -> None:
    path = foreign.rename(foreign.with_name(name))
    with pytest.raises(ValueError, match=rf"{name}: expected an image named \*\.nii\.gz or"):
        nifti.read_converted(path, "Bq/mL")


@pytest.mark.parametrize("units", ["", "  ", None])
def test_units_that_are_empty_are_as_good_as_none(foreign: Path, units: str | None) -> None:
    beside(foreign, Units=units)
    assert nifti.read_converted(foreign, "kBq/mL").data.max() == pytest.approx(23e3 / 8)
    with pytest.raises(ValueError, match=r"no sidecar in\.json says the units"):
        nifti.read_converted(foreign)
