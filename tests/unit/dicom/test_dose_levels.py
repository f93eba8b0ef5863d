"""The folders of the ultra-low-dose PET challenge, as both of its scanners name them."""

from __future__ import annotations

import pytest

from tgdpet.dicom.dose_levels import dose_patients, level_of
from tgdpet.dicom.series import DicomError

SIEMENS = ("Full_dose", "1-2 dose", "1-4 dose", "1-10 dose", "1-20 dose", "1-50 dose", "1-100 dose")
UNITED = [f"2.886 x 600 WB {name}" for name in ("NORMAL", "D2", "D4", "D10", "D20", "D50", "D100")]
UNITED_2023 = [f"2.886 x 600 WB {name}" for name in ("normal", "D2", "DRF_4", "DRF_10", "DRF_20")]
LEVELS = ["full", "1in2", "1in4", "1in10", "1in20", "1in50", "1in100"]


def folders(parent, names):
    for name in names:
        (parent / name).mkdir(parents=True)


@pytest.mark.parametrize("names", [SIEMENS, UNITED, UNITED_2023])
def test_every_level_is_known(tmp_path, names):
    folders(tmp_path / "part/Anonymous_1", names)
    (patient,) = dose_patients(tmp_path)
    assert list(patient.levels) == LEVELS[: len(names)]
    assert patient.folder.name == "Anonymous_1"


@pytest.mark.parametrize("name", ["PET WB", "3D", "CT 1-2", "D", "dose", "normality", "AC D1"])
def test_other_names_say_no_level(name):
    assert level_of(name) is None


def test_patients_of_both_scanners_lie_beside_each_other(tmp_path):
    folders(tmp_path / "Subject_1", SIEMENS)
    folders(tmp_path / "Subject_2", UNITED)
    folders(tmp_path / "Subject_3", ["CT"])
    assert [p.folder.name for p in dose_patients(tmp_path)] == ["Subject_1", "Subject_2"]


def test_a_patient_without_full_dose_or_with_two_of_one_level(tmp_path):
    folders(tmp_path / "a", SIEMENS[1:3])
    with pytest.raises(DicomError, match="a: dose levels 1in2, 1in4 but no full dose"):
        dose_patients(tmp_path)
    folders(tmp_path / "b", ["Full_dose", "1-4 dose", "x DRF_4"])
    with pytest.raises(DicomError, match="1in4 is already that of '1-4 dose'"):
        dose_patients(tmp_path / "b")


def test_a_folder_of_a_single_series_has_no_dose_patients(tmp_path):
    folders(tmp_path / "scan", ["PET WB"])
    assert dose_patients(tmp_path) == []
