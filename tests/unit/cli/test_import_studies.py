"""`tgdpet import` with a folder as output: NIfTI and DICOM become studies of one table."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("pydicom")

import dicom_series
from tgdpet.cli import command
from tgdpet.config.studies import read_studies
from tgdpet.io.nifti import read_image


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`run(words)`: exit code, what was said."""
    monkeypatch.chdir(tmp_path)
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.float32), np.diag([-4.0, 4, 5, 1])), "in.nii.gz")

    def call(words: str) -> tuple[int, str]:
        try:
            command.main(["import", *words.split()])
            code = 0
        except SystemExit as end:
            code = int(str(end.code))
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def test_a_nifti_image_becomes_a_study(run):
    code, _ = run("in.nii.gz images --study p1 --protocol v1 --sample half1 --units kBq/mL")
    assert code == 0
    image = read_image("images/sub-p1/pet/sub-p1_trc-unknown_rec-v1_desc-half1_pet.nii.gz")
    assert image.data.max() == 1000 and image.sidecar["Sample"] == "half1"
    (study,) = read_studies("images/studies.tsv")
    assert (study.study, study.source, study.path) == ("p1", "images", "images")


def test_a_second_image_of_a_study_adds_no_row_and_edits_stay(run):
    run("in.nii.gz images --study p1 --units Bq/mL")
    table = Path("images/studies.tsv")
    table.write_text(table.read_text().replace("train_v1v2", "test_bladder"))
    run("in.nii.gz images --study p1 --sample 1in4 --units Bq/mL")
    run("in.nii.gz images --study p2 --role adapt --units Bq/mL")
    assert [(s.study, s.role) for s in read_studies(table)] == [
        ("p1", "test_bladder"),
        ("p2", "adapt"),
    ]


def test_a_dicom_series_becomes_a_study_with_its_tracer(run):
    isotope = dicom_series.isotope(Radiopharmaceutical="FES 18F")
    dicom_series.write(
        Path("pet"), dicom_series.volume(), RadiopharmaceuticalInformationSequence=[isotope]
    )
    assert run("pet images --study p1 --sample full")[0] == 0
    assert Path("images/sub-p1/pet/sub-p1_trc-FES18F_rec-v2_desc-full_pet.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("in.nii.gz images --units Bq/mL", "a folder as output needs --study"),
        ("in.nii.gz images --study p_1 --units Bq/mL", "--study: 'p_1' is not allowed"),
        ("in.nii.gz images --study p1 --sample a_b --units Bq/mL", "--sample: 'a_b' is not"),
        ("in.nii.gz images --study p1", "no sidecar in.json says the units"),
        ("in.nii.gz none/images --study p1 --units Bq/mL", "the folder none does not exist"),
        ("gone.nii.gz images --study p1 --units Bq/mL", "gone.nii.gz: no such image"),
        ("in.nii.gz file --study p1 --units Bq/mL", "file: exists and is no folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_line_and_leaves_no_table(run, words, cause):
    Path("file").write_text("")
    code, said = run(words)
    assert code == 1 and cause in said
    assert not Path("images/studies.tsv").exists() and not list(Path().rglob("*_pet.*"))


def test_what_exists_is_not_replaced_unless_asked(run):
    run("in.nii.gz images --study p1 --units Bq/mL")
    assert "exists; give --overwrite" in run("in.nii.gz images --study p1 --units Bq/mL")[1]
    assert run("in.nii.gz images --study p1 --units Bq/mL --overwrite")[0] == 0


def test_a_table_of_other_columns_is_not_touched(run):
    Path("images").mkdir()
    Path("images/studies.tsv").write_text("patient\tage\n")
    code, said = run("in.nii.gz images --study p1 --units Bq/mL")
    assert code == 1 and "row 1: expected columns study, role, source" in said
    assert Path("images/studies.tsv").read_text() == "patient\tage\n"


def test_a_tracer_that_nothing_names_is_unknown(run):
    run("in.nii.gz images --study p1 --units Bq/mL")
    (image,) = Path("images").rglob("*_pet.nii.gz")
    assert "_trc-unknown_" in image.name


def test_an_image_of_another_tracer_is_not_joined_by_a_second(run):
    run("in.nii.gz images --study p1 --units Bq/mL")
    Path("in.json").write_text('{"Units": "Bq/mL", "TracerName": "FES"}')
    code, said = run("in.nii.gz images --study p1")
    assert code == 1 and "trc-unknown" in said and "exists; give --overwrite" in said
    code, said = run("in.nii.gz images --study p1 --overwrite")
    assert code == 1 and "exists, of another tracer than" in said and "trc-FES" in said
    assert len(list(Path("images").rglob("*_pet.nii.gz"))) == 1


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("p1\ttest_bladder\timages\t\t\timages", "row 3: expected a study, each once, got 'p1'"),
        ("\tadapt\timages\t\t\timages", "row 3: expected a study, each once, got none"),
    ],
)
def test_rows_that_would_be_lost_are_refused(run, row, cause):
    run("in.nii.gz images --study p1 --units Bq/mL")
    table = Path("images/studies.tsv")
    table.write_text(f"{table.read_text()}{row}\n")
    before = table.read_text()
    code, said = run("in.nii.gz images --study p2 --units Bq/mL")
    assert code == 1 and cause in said
    assert table.read_text() == before


def test_a_nuclide_that_contradicts_the_half_life_is_refused(run):
    text = '{"Units": "Bq/mL", "TracerRadionuclide": "F18", "TracerHalfLife": 4062.6}'
    Path("in.json").write_text(text)
    code, said = run("in.nii.gz images --study p1")
    assert code == 1 and said.count("\n") == 1 and "in.nii.gz" in said and "4062.6" in said
    assert not list(Path("images").rglob("*_pet.*"))

    Path("in.json").write_text(text.replace("F18", "Ga68"))
    assert run("in.nii.gz images --study p1")[0] == 0
