"""Labels that a CT or the body's order speaks against are refused, in one line that says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import real_patient
from patient import NUMBER, grid, make, patient, save, write
from tgdpet.simulation import anatomy
from tgdpet.simulation.anatomy import uptake

V1_NUMBER = {name: number for number, name in uptake.TOTAL_V1.items()}
LOOK_LIKE = "look like those of totalsegmentator-v1: say so with `labels: totalsegmentator-v1`"


def in_v1(labels: np.ndarray, names: dict[int, str]) -> np.ndarray:
    """The same structures with the numbers of v1; those that v1 lacks are background."""
    size = max(names) + 1
    table = np.zeros(size, np.int16)
    for number, name in names.items():
        table[number] = V1_NUMBER.get(name, 0)
    return table[labels]


def rewrite(folder: Path, change, affine_shift=(0, 0, 0)) -> None:
    image = nib.load(folder / "labels.nii.gz")
    affine = image.affine.copy()
    affine[:3, 3] += affine_shift
    labels = np.asarray(image.dataobj).astype(np.int16)
    save(folder / "labels.nii.gz", np.ascontiguousarray(change(labels)), affine)


def message(folder: Path, table: str | None = None) -> str:
    with pytest.raises(ValueError) as raised:
        anatomy.read_anatomy(folder, table)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{folder / 'labels.nii.gz'}: ")
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "patient")


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A copy of the real patient without its table of names."""
    folder = tmp_path / "real"
    folder.mkdir()
    for name in ("ct.nii.gz", "labels.nii.gz"):
        shutil.copy(real_patient.FOLDER / name, folder)
    return folder


def test_numbers_of_the_first_version_are_known_by_their_name(folder: Path):
    before = make(folder)
    names = {number: name for name, number in NUMBER.items()}
    rewrite(folder, lambda labels: in_v1(labels, names))

    assert LOOK_LIKE in message(folder)
    named = anatomy.read_anatomy(folder, "totalsegmentator-v1")
    np.testing.assert_array_equal(make(named).suv, before.suv)


def test_a_table_beside_the_labels_and_a_named_one_are_one_too_many(folder: Path):
    (folder / "labels.tsv").write_text("index\tname\n5\tliver\n")
    with pytest.raises(ValueError, match=r"labels.tsv: names the class numbers, and so does"):
        anatomy.read_anatomy(folder, "totalsegmentator-v2")


def test_both_versions_tables_hold_known_structures():
    assert len(uptake.TOTAL_V1) == len(set(uptake.TOTAL_V1.values())) == 104
    assert all(uptake.stem(name) in uptake.TISSUES for name in uptake.TOTAL_V1.values())
    assert uptake.TABLES == {
        "totalsegmentator-v1": uptake.TOTAL_V1,
        "totalsegmentator-v2": uptake.TOTAL_V2,
    }
    assert (uptake.TOTAL_V1[7], uptake.TOTAL_V1[92]) == ("aorta", "sacrum")


@real_patient.needed
def test_a_real_patients_labels_pass(real: Path):
    found = anatomy.read_anatomy(real)
    assert set(found.names) == set(np.unique(found.labels)) - {0} and len(found.names) > 60


@real_patient.needed
def test_a_real_patient_in_the_wrong_numbers_is_refused_and_told_which(real: Path):
    names = anatomy.read_anatomy(real).names
    rewrite(real, lambda labels: in_v1(labels, names))

    line = message(real)
    assert "has a median of -6 HU in the CT, expected -950 to -500 HU" in line
    assert LOOK_LIKE in line
    anatomy.read_anatomy(real, "totalsegmentator-v1")


@real_patient.needed
@pytest.mark.parametrize(
    ("axis", "words"), [(0, "left to right"), (1, "back to front"), (2, "feet to head")]
)
def test_real_labels_mirrored_against_their_ct_are_refused(real: Path, axis: int, words: str):
    rewrite(real, lambda labels: np.flip(labels, axis))
    assert f"with the labels mirrored, {words}" in message(real)


@real_patient.needed
@pytest.mark.parametrize(
    ("shift_mm", "words"),
    [
        ((12, 0, 0), "10 mm nearer to the left"),
        ((0, -21, 0), "20 mm nearer to the front"),
        ((0, 0, 21), "20 mm nearer to the feet"),
    ],
)
def test_real_labels_shifted_against_their_ct_are_refused(real: Path, shift_mm, words: str):
    rewrite(real, lambda labels: labels, shift_mm)
    assert words in message(real)


@pytest.mark.parametrize("with_ct", [True, False])
@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (1, "liver lies .* nearer to the back than vertebrae, expected in front of it"),
        (2, "liver lies .* nearer to the feet than urinary_bladder, expected above it"),
    ],
)
def test_a_body_that_lies_wrong_is_refused_with_and_without_a_ct(
    tmp_path: Path, axis: int, words: str, with_ct: bool
):
    folder = write(tmp_path / "patient", ct=with_ct)
    for name in ("labels", "ct") if with_ct else ("labels",):
        image = nib.load(folder / f"{name}.nii.gz")
        flipped = np.flip(np.asarray(image.dataobj), axis)
        save(folder / f"{name}.nii.gz", flipped, image.affine)

    with pytest.raises(ValueError, match=words):
        anatomy.read_anatomy(folder)


def test_left_and_right_are_told_apart(tmp_path: Path):
    folder = write(tmp_path / "patient", ct=False)
    right = NUMBER["kidney_right"]
    left = NUMBER["kidney_left"]

    def swapped(labels: np.ndarray) -> np.ndarray:
        other_side = np.roll(labels == right, 10, axis=0)  # 40 mm further to the right
        return np.where(other_side, left, labels)

    rewrite(folder, swapped)
    assert "kidney_right lies" in message(folder)
    assert "nearer to the left than kidney_left, expected on the right of it" in message(folder)


def test_a_ct_that_ends_before_the_roles_organ_is_refused_with_the_millimetres(folder: Path):
    image = nib.load(folder / "ct.nii.gz")
    hu = np.asarray(image.dataobj)
    n_cut = 16  # of 4 mm, from the feet: the bladder's lowest voxel is cut by 36 mm
    affine = image.affine.copy()
    affine[2, 3] += 4.0 * n_cut
    save(folder / "ct.nii.gz", hu[:, :, n_cut:], affine)

    labels = np.asarray(nib.load(folder / "labels.nii.gz").dataobj)
    lowest = np.flatnonzero((labels == NUMBER["urinary_bladder"]).any(axis=(0, 1)))[0]
    missing_mm = 4 * (n_cut - lowest)
    assert missing_mm > 20
    words = rf"urinary_bladder, .* goes on for {missing_mm} mm beyond the CT towards the feet"
    with pytest.raises(ValueError, match=words):
        make(folder, "test_bladder")
    make(folder, "test_lesion")  # needs the liver, which is all there


@real_patient.needed
def test_a_body_cut_at_the_ends_is_said():
    found = anatomy.read_anatomy(real_patient.FOLDER)
    painted = make(found, "test_high_bmi")

    said = anatomy.notes(found, "liver", painted.labels, (5.0, 5.0, 5.0))
    assert "liver reaches the CT's end towards the head, and may go on" in said
    assert anatomy.notes(found, None, painted.labels[:, :, 10:20], (5.0, 5.0, 5.0)) == []


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_padding_outside_the_bore_is_air(folder: Path, padding: int):
    """The padding reaches the skin, so that interpolation would mix it in."""
    before = make(folder, "test_high_bmi")
    image = nib.load(folder / "ct.nii.gz")
    hu = np.asarray(image.dataobj)
    save(folder / "ct.nii.gz", np.where(hu == -1000, padding, hu).astype(np.int16), image.affine)

    padded = make(folder, "test_high_bmi")
    np.testing.assert_array_equal(padded.mu_per_cm, before.mu_per_cm)
    np.testing.assert_array_equal(padded.suv, before.suv)


def test_small_structures_are_no_witnesses(tmp_path: Path):
    """A few voxels with the CT numbers of their surroundings do not condemn a label map."""
    folder = write(tmp_path / "patient")
    affine, points = grid()
    labels, _ = patient(points)
    at = np.argwhere(labels == NUMBER["liver"])[:40]
    labels[tuple(at.T)] = NUMBER["lung_upper_lobe_right"]
    save(folder / "labels.nii.gz", labels.astype(np.uint8), affine)
    assert len(anatomy.read_anatomy(folder).names) == 8


@pytest.mark.parametrize(
    ("shift_mm", "words"),
    [((12, 0, 0), "10 mm nearer to the left"), ((0, 12, 0), "mirrored, back to front")],
)
def test_labels_beside_their_body_are_refused_though_each_of_them_fits(
    folder: Path, shift_mm, words: str
):
    """No median leaves its tissue's range and the order is right: the edges alone tell."""
    rewrite(folder, lambda labels: labels, shift_mm)
    line = message(folder)
    assert f"does not lie on the body in {folder / 'ct.nii.gz'}: CT numbers within" in line
    assert f"with the labels {words}" in line


def test_organs_of_nearly_the_same_ct_number_tell_no_shift(folder: Path):
    """The liver's 60 HU and its neighbours' 50 HU: less than noise, whatever fits better."""
    soft = [NUMBER["liver"], NUMBER["kidney_right"]]
    rewrite(folder, lambda labels: np.where(np.isin(labels, soft), labels, 0), (-12, 0, 0))
    assert len(anatomy.read_anatomy(folder).names) == 2
