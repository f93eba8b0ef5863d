"""NIfTI images keep position, orientation and unit; whatever is wrong with one is said with its
name.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.io import nifti

# right-handed and oblique: x to the left, a turn of 30 degrees about x, three voxel sizes
COS, SIN = 0.8660254, 0.5
AFFINE = np.array(
    [[-2.0, 0, 0, 31.5], [0, 3 * COS, -4 * SIN, -12], [0, 3 * SIN, 4 * COS, 7.25], [0, 0, 0, 1]]
)


# the same grid with its first axis turned round: to the right
AFFINE_RAS = AFFINE @ np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def asymmetric() -> np.ndarray:
    """(5, 6, 7) with a different value in every voxel."""
    return np.arange(210, dtype=np.float32).reshape(5, 6, 7) * 1.25 + 3


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "sub-a_trc-FDG_rec-v1_desc-60s_pet.nii.gz"
    nifti.write_image(path, asymmetric(), AFFINE, {"Study": "a", "ValidSlices": [1, 5]})
    return path


def test_round_trip_keeps_every_voxel_and_the_affine(written: Path) -> None:
    image = nifti.read_image(written)
    assert np.array_equal(image.data, asymmetric()[::-1]) and image.data.dtype == np.float32
    np.testing.assert_allclose(image.affine, AFFINE_RAS, atol=1e-5)
    np.testing.assert_allclose(image.stored.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.voxel_mm, [2, 3, 4], rtol=1e-6)
    assert image.sidecar == {"Study": "a", "ValidSlices": [1, 5], "Units": "Bq/mL"}


def test_other_programs_read_the_same_position(written: Path) -> None:
    header = nib.load(written).header
    assert header.get_xyzt_units()[0] == "mm"
    assert header["sform_code"] == header["qform_code"] == 1
    np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), AFFINE, atol=1e-4)
    assert header.get_data_dtype() == np.float32
    assert json.loads(nifti.sidecar_path(written).read_text())["Units"] == "Bq/mL"


def test_the_same_image_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    content = gzip.decompress(written.read_bytes())
    nifti.write_image(written, asymmetric(), AFFINE, {})
    assert gzip.decompress(written.read_bytes()) == content


def test_labels_and_plain_volumes_round_trip(tmp_path: Path) -> None:
    labels = (asymmetric() % 14).astype(int).astype(np.int16)
    nifti.write_labels(tmp_path / "l.nii.gz", labels, AFFINE)
    back, affine = nifti.read_labels(tmp_path / "l.nii.gz")
    assert np.array_equal(back, labels[::-1]) and back.dtype == np.int16
    np.testing.assert_allclose(affine, AFFINE_RAS, atol=1e-5)
    nifti.write_plain(tmp_path / "p.nii.gz", asymmetric() - 50, AFFINE)
    assert np.array_equal(nifti.read_plain(tmp_path / "p.nii.gz")[0], asymmetric()[::-1] - 50)
    with pytest.raises(ValueError, match=r"p\.nii\.gz: expected whole-number labels"):
        nifti.read_labels(tmp_path / "p.nii.gz")


def test_a_grid_is_centred_on_the_scanner() -> None:
    affine = nifti.grid_affine((4, 5, 7), (2.0, 3.0, 4.0))
    corners = affine @ np.array([[0, 0, 0, 1], [3, 4, 6, 1]], float).T
    np.testing.assert_allclose(corners[:3].mean(axis=1), 0)
    np.testing.assert_allclose(corners[:3, 1] - corners[:3, 0], [6, 12, 24])


@pytest.mark.parametrize("units", ["kBq/mL", "SUV", None])
def test_other_units_are_refused(written: Path, units: str | None) -> None:
    nifti.sidecar_path(written).write_text(json.dumps({} if units is None else {"Units": units}))
    with pytest.raises(ValueError, match=rf"60s_pet\.json: Units: expected 'Bq/mL', got {units!r}"):
        nifti.read_image(written)


def test_a_missing_sidecar_is_named(written: Path) -> None:
    nifti.sidecar_path(written).unlink()
    with pytest.raises(FileNotFoundError, match=r"desc-60s_pet\.json is missing.*Bq/mL"):
        nifti.read_image(written)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.nii\.gz: no such image"):
        nifti.read_image(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_number_are_counted(tmp_path: Path, bad: float) -> None:
    data = asymmetric()
    data[1, 2, 3] = data[4, 5, 6] = bad
    nifti.write_image(tmp_path / "a.nii.gz", data, AFFINE, {})
    with pytest.raises(ValueError, match=r"a\.nii\.gz: 2 of 210 voxels are NaN or infinite"):
        nifti.read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 2)])
def test_images_that_are_not_3d_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nifti.write_image(tmp_path / "a.nii.gz", np.ones(shape), AFFINE, {})
    with pytest.raises(ValueError, match=r"a\.nii\.gz: expected a 3-D image, got shape \(5, 6"):
        nifti.read_image(tmp_path / "a.nii.gz")


def test_an_image_without_an_affine_is_refused(written: Path) -> None:
    image = nib.Nifti1Image(asymmetric(), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, written)
    with pytest.raises(ValueError, match="no affine"):
        nifti.read_image(written)


def test_truncated_at_any_byte_is_an_error_with_the_name(written: Path) -> None:
    content = written.read_bytes()
    for length in range(len(content)):
        written.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"60s_pet\.nii\.gz: not a readable NIfTI file"):
            nifti.read_image(written)


def test_truncated_uncompressed_is_an_error_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nifti.write_image(path, asymmetric(), AFFINE, {})
    content = path.read_bytes()
    assert np.array_equal(nifti.read_image(path).data, asymmetric()[::-1])
    for length in (0, 100, 347, 352, 400, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(
            ValueError, match=r"a\.nii: (damaged: shape \(5, 6, 7\)|not a readable NIfTI file)"
        ):
            nifti.read_image(path)


def test_a_damaged_byte_never_gives_other_voxels(written: Path) -> None:
    content = written.read_bytes()
    for i in range(10, len(content), 3):  # behind the gzip header
        written.write_bytes(content[:i] + bytes([content[i] ^ 0x5A]) + content[i + 1 :])
        try:
            image = nifti.read_image(written)
        except ValueError as error:
            assert "60s_pet.nii.gz" in str(error)
        else:
            assert np.array_equal(image.data, asymmetric()[::-1])


def test_suv_follows_from_dose_weight_and_decay() -> None:
    sidecar = {
        "InjectedRadioactivity": 280.0,
        "BodyWeight": 70.0,
        "ScanStart": 6586.2,
        "TracerHalfLife": 6586.2,
    }
    assert nifti.suv_factor(sidecar) == pytest.approx(
        2000.0
    )  # 280 MBq in 70 kg: 4000 Bq/mL, after a half-life 2000
    for key in sidecar:
        with pytest.raises(ValueError, match=key):
            nifti.suv_factor({k: v for k, v in sidecar.items() if k != key})


def test_names_follow_bids() -> None:
    assert nifti.image_name("a", "v1", "60s") == "sub-a_trc-FDG_rec-v1_desc-60s_pet.nii.gz"
    assert nifti.sidecar_path("d/a.b_pet.nii.gz") == Path("d/a.b_pet.json")


@pytest.mark.parametrize("content", ["[1, 2]", '"Bq/mL"', "null"])
def test_a_sidecar_that_is_no_object_is_named(written: Path, content: str) -> None:
    nifti.sidecar_path(written).write_text(content)
    with pytest.raises(ValueError, match=r"pet\.json: expected a JSON object"):
        nifti.read_image(written)


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_of_several_numbers_are_refused(written: Path, dtype: object) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), dtype), AFFINE), written)
    with pytest.raises(ValueError, match=r"pet\.nii\.gz: expected one real number a voxel"):
        nifti.read_image(written)


def test_voxels_beyond_float32_are_refused(written: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((5, 6, 7), 1e300), AFFINE), written)
    with pytest.raises(ValueError, match=r"pet\.nii\.gz: 210 of 210 voxels are NaN or infinite"):
        nifti.read_image(written)


def test_a_full_disk_keeps_image_and_sidecar_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write_image(path, np.ones((2, 2, 2)), np.eye(4), {"Network": "old"})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti.nib, "save", full)
    for target in (path, tmp_path / "b.nii.gz"):
        with pytest.raises(OSError, match=r"[ab]\.nii\.gz: cannot be written: No space left"):
            nifti.write_image(target, np.zeros((2, 2, 2)), np.eye(4), {"Network": "new"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("change", [np.diag([-1, 1, 1, 1]), np.diag([1, 1, 1.1, 1])])
def test_voxels_of_another_grid_are_refused(
    tmp_path: Path, written: Path, change: np.ndarray
) -> None:
    image = nifti.read_image(written)
    assert np.array_equal(nifti.read_like(written, image, written), image.data)

    other = tmp_path / "other.nii.gz"
    nifti.write_image(other, asymmetric(), AFFINE @ change, {})
    with pytest.raises(ValueError, match=rf"other\.nii\.gz: .*, as in {written}"):
        nifti.read_like(other, image, written)


def test_an_image_that_is_not_there_is_not_asked_for_its_units(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.nii: no such image"):
        nifti.read_converted(tmp_path / "gone.nii")
