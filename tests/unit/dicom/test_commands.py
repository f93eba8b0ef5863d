"""`tgdpet import` and `tgdpet denoise` as a user types them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from dicom_series import OBLIQUE, volume, write
from tgdpet.cli import command
from tgdpet.dicom.read import read_series


@pytest.fixture
def run(capsys):
    """Run the command; its exit code, standard output and errors."""

    def call(*words):
        try:
            command.main([str(word) for word in words])
            code = 0
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def model(root):
    return root / "tests/data/network-0.1.safetensors"


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_import_writes_image_and_sidecar(tmp_path, run):
    folder = write(tmp_path / "pet", volume(), OBLIQUE)
    code, out, _ = run("import", folder, tmp_path / "x.nii.gz")
    assert code == 0 and "10 x 8 x 6 voxels in Bq/mL, of 6 DICOM files" in out
    image = nib.load(tmp_path / "x.nii.gz")
    assert image.get_data_dtype() == np.float32 and nib.aff2axcodes(image.affine) == tuple("RAS")
    sidecar = (tmp_path / "x.json").read_text()
    assert json.loads(sidecar)["Units"] == "Bq/mL"
    assert str(tmp_path) not in sidecar and "Doe" not in sidecar
    code, _, error = run("import", folder, tmp_path / "x.nii.gz")
    assert code == 1 and "exists; give --overwrite" in error
    assert run("import", folder, tmp_path / "x.nii.gz", "--overwrite")[0] == 0


def test_what_cannot_be_imported_is_one_line_and_writes_nothing(tmp_path, run):
    folder = write(tmp_path / "pet", volume(), Modality="CT")
    code, _, error = run("import", folder, tmp_path / "x.nii.gz")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert listing(tmp_path) == ["pet"]


def test_denoise_takes_dicom_and_gives_dicom_or_nifti(tmp_path, run, model):
    data = volume((9, 24, 20)) * 3
    folder = write(tmp_path / "pet", data, OBLIQUE)
    code, out, error = run("denoise", "--model", model, folder, tmp_path / "out")
    assert code == 0, error
    assert "voxels in Bq/mL" in out
    assert run("denoise", "--model", model, folder, tmp_path / "out.nii.gz")[0] == 0
    assert run("import", folder, tmp_path / "in.nii.gz")[0] == 0
    assert run("denoise", "--model", model, tmp_path / "in.nii.gz", tmp_path / "two.nii.gz")[0] == 0

    series = read_series(tmp_path / "out").image
    nifti, two = (nib.load(tmp_path / name) for name in ("out.nii.gz", "two.nii.gz"))
    np.testing.assert_array_equal(nifti.get_fdata(), two.get_fdata())
    np.testing.assert_allclose(series.affine, nifti.affine, atol=1e-5)
    worst = np.abs(series.data - nifti.get_fdata()).max()
    assert worst < 1e-4 * np.abs(series.data).max()
    assert not np.allclose(series.data, read_series(folder).image.data, rtol=1e-3)


def test_nothing_that_exists_is_lost(tmp_path, run, model):
    folder = write(tmp_path / "pet", volume((9, 24, 20)))
    words = ("denoise", "--model", model, folder)
    for place, message in (
        (folder, "holds the input"),
        (tmp_path, "holds the input"),
        (tmp_path / "none/out", "does not exist"),
    ):
        code, _, error = run(*words, place, "--overwrite")
        assert code == 1 and message in error, error

    assert run(*words, tmp_path / "out")[0] == 0
    assert "exists; give --overwrite" in run(*words, tmp_path / "out")[2]
    assert run(*words, tmp_path / "out", "--overwrite")[0] == 0
    (tmp_path / "out/notes.txt").write_text("mine")
    assert "holds other files" in run(*words, tmp_path / "out", "--overwrite")[2]
    assert (tmp_path / "out/notes.txt").exists()


def test_options_of_the_other_kind_of_input_are_refused(tmp_path, run, model):
    folder = write(tmp_path / "pet", volume((9, 24, 20)))
    run("import", folder, tmp_path / "in.nii.gz")
    words = ("denoise", "--model", model)
    end = (tmp_path / "in.nii.gz", tmp_path / "x.nii.gz", "--series", "4")
    assert "choose among DICOM files" in run(*words, *end)[2]
    end = (folder, tmp_path / "x.nii.gz", "--units", "Bq/mL")
    assert "says its units itself" in run(*words, *end)[2]
