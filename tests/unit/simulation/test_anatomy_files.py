"""What is wrong with a label map, its table or its CT is said with the file's name before anything
is simulated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import real_patient
from patient import BALLS, NUMBER, VOXEL, make, save, write
from tgdpet.config.sections import Simulation
from tgdpet.constants import ORGANS
from tgdpet.simulation import anatomy
from tgdpet.simulation.anatomy.resampling import resample
from tgdpet.simulation.anatomy.uptake import TISSUES, TOTAL_V2, draw_suv, mu_of_hu, stem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "patient")


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj).copy(), image.affine


def refused(folder: Path, message: str, role: str = "adapt") -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make(folder, role)


def test_labels_that_are_fractions_are_refused(folder: Path):
    labels, affine = load(folder / "labels.nii.gz")
    save(folder / "labels.nii.gz", labels * np.float32(0.5), affine)
    refused(folder, "labels.nii.gz: expected whole-number labels")


def test_unknown_numbers_are_listed_with_the_way_out(folder: Path):
    labels, affine = load(folder / "labels.nii.gz")
    labels[:2, 0, 0] = 200, 230
    save(folder / "labels.nii.gz", labels, affine)
    refused(
        folder,
        r"labels.nii.gz: unknown class numbers 200, 230.*labels\.tsv.*columns index and name",
    )


def table(folder: Path, text: str) -> None:
    (folder / "labels.tsv").write_text(text)


def test_a_table_names_the_numbers(folder: Path):
    plain = make(folder)
    labels, affine = load(folder / "labels.nii.gz")
    names = {number: name for name, number in NUMBER.items() if name in BALLS}
    new = {number: 1000 + i for i, number in enumerate(names)}
    for old, number in new.items():
        labels = np.where(labels == old, np.int16(number), labels.astype(np.int16))
    save(folder / "labels.nii.gz", labels, affine)
    table(folder, "index\tname\n" + "".join(f"{new[n]}\t{name}\n" for n, name in names.items()))
    np.testing.assert_array_equal(make(folder).suv, plain.suv)
    text = (folder / "labels.tsv").read_text()
    table(folder, text.replace("kidney_right", "kidny_right"))
    refused(folder, "labels.tsv: 'kidny_right'.*kidney")
    table(folder, text + "1000\tspleen\n")
    refused(folder, "labels.tsv: row 9: index 1000")
    table(folder, text.replace("1001", "1001.5"))
    refused(folder, "labels.tsv: column 'index', row 3: expected a whole number .* got 1001.5")
    table(folder, text + "\t\n\t\n")
    np.testing.assert_array_equal(make(folder).suv, plain.suv)
    table(folder, text + "\tspleen\n")
    refused(folder, "labels.tsv: column 'index', row 9: no value")
    table(folder, text.replace("name", "organ"))
    refused(folder, "labels.tsv: column 'name' is missing")


@pytest.mark.parametrize("name", ["labels", "ct"])
def test_volumes_must_be_three_dimensional_with_a_position(folder: Path, name: str):
    path = folder / f"{name}.nii.gz"
    data, affine = load(path)
    save(path, np.stack([data, data], axis=3), affine)
    refused(folder, f"{name}.nii.gz: expected a 3-D image")
    flat: Any = nib.Nifti1Image(data, None)
    nonsense = affine.copy()
    nonsense[:3, 2] = nonsense[:3, 1]
    flat.set_sform(nonsense, code=1)
    nib.save(flat, path)
    refused(folder, f"{name}.nii.gz: expected an affine with three axes")


def change_ct(folder: Path, change: Any) -> None:
    data, affine = load(folder / "ct.nii.gz")
    save(folder / "ct.nii.gz", change(data.astype(np.float32)), affine)


def with_nan(hu: np.ndarray) -> np.ndarray:
    hu[3, 4, 5] = np.nan
    return hu


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_nan, r"ct.nii.gz: 1 of \d+ voxels are NaN"),
        (lambda hu: hu + 1000, "ct.nii.gz: values from 0 to 1300 are not CT numbers in HU"),
        (lambda hu: hu / 1000, "are not CT numbers in HU"),
        (lambda hu: np.where(hu > 250, 2e5, hu), "from -1000 to 200000 are not CT numbers in HU"),
        (lambda hu: hu * 0 - 1000, "are not CT numbers in HU"),
        (
            lambda hu: np.where(hu < -500, hu, hu + 900),
            "the median over the organs of labels.nii.gz is .* HU",
        ),
    ],
)
def test_a_ct_that_is_not_in_hu_is_refused(folder: Path, change: Any, message: str):
    change_ct(folder, change)
    refused(folder, message)


def test_a_ct_elsewhere_is_refused(folder: Path):
    data, affine = load(folder / "ct.nii.gz")
    affine[2, 3] += 600
    save(folder / "ct.nii.gz", data, affine)
    refused(folder, "ct.nii.gz: its field of view holds none of the labelled voxels")


def test_without_labels_there_is_nothing_to_read(folder: Path):
    labels, affine = load(folder / "labels.nii.gz")
    save(folder / "labels.nii.gz", labels * 0, affine)
    refused(folder, "labels.nii.gz: every voxel is 0")
    (folder / "labels.nii.gz").unlink()
    refused(folder, "labels.nii.gz: no such image")


@pytest.mark.parametrize(
    ("organ", "role"),
    [
        ("liver", "test_lesion"),
        ("liver", "test_high_bmi"),
        ("urinary_bladder", "test_bladder"),
        ("urinary_bladder", "test_catheter"),
    ],
)
def test_a_role_needs_its_organs(folder: Path, organ: str, role: str):
    labels, affine = load(folder / "labels.nii.gz")
    save(folder / "labels.nii.gz", np.where(labels == NUMBER[organ], 0, labels), affine)
    refused(
        folder,
        rf"labels.nii.gz: no voxel is labelled {organ}, which a study with role '{role}'",
        role,
    )
    assert make(folder, "adapt").suv.any()


@pytest.mark.parametrize(
    ("organ", "role"), [("liver", "test_high_bmi"), ("bladder", "test_bladder")]
)
def test_a_short_grid_lies_about_what_the_role_is_for(folder: Path, organ: str, role: str):
    found = anatomy.read_anatomy(folder)
    labels = anatomy.make_phantom(
        found, role, 22.0, np.random.default_rng(1), Simulation(), (64, 52, 10), VOXEL
    ).labels
    assert (labels == ORGANS[organ])[:, :, 4:6].any()


def test_every_class_of_the_default_table_has_an_uptake():
    assert len(TOTAL_V2) == 117 and sorted(TOTAL_V2) == list(range(1, 118))
    assert all(stem(name) in TISSUES for name in TOTAL_V2.values())
    assert len(set(TOTAL_V2.values())) == 117
    assert (
        stem("rib_left_12") == "rib"
        and stem("vertebrae_T4") == "vertebrae"
        and stem("skin") == "skin"
    )
    for seed in range(50):
        assert min(draw_suv(np.random.default_rng(seed)).values()) > 0


@real_patient.needed
def test_the_default_table_is_totalsegmentators():
    rows = [
        line.split("\t")
        for line in (real_patient.FOLDER / "labels.tsv").read_text().splitlines()[1:]
    ]
    assert {int(index): name for index, name in rows} == TOTAL_V2


def test_attenuation_of_ct_numbers():
    hu = np.array([-3000, -1000, -500, 0, 46.999, 47.001, 1000])
    mu = [
        0,
        0,
        0.048,
        0.096,
        0.1005,
        0.1005,
        0.1491,
    ]  # Carney et al. 2006, 120 kVp; water 0.096, continuous at 47
    np.testing.assert_allclose(mu_of_hu(hu), mu, atol=1e-4)
    assert (np.diff(mu_of_hu(np.linspace(-1000, 3000, 4001))) > 0).all()
    assert mu_of_hu(hu).dtype == np.float32


def test_a_fine_ct_is_averaged_and_a_coarse_one_left_alone():
    noise = np.random.default_rng(0).normal(100, 50, (80, 80, 80)).astype(np.float32)
    fine, grid_mm = np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([5.0, 5.0, 5.0, 1.0])
    averaged = resample(noise, fine, grid_mm, (16, 16, 16), 1)
    assert averaged.mean() == pytest.approx(100, abs=1) and averaged.std() < 10
    assert np.array_equal(resample(noise, grid_mm, grid_mm, noise.shape, 1), noise)


@pytest.mark.parametrize("name", ["labels", "ct"])
def test_a_volume_in_both_forms_is_refused(folder: Path, name: str):
    volume, affine = load(folder / f"{name}.nii.gz")
    save(folder / f"{name}.nii", volume, affine)
    refused(folder, rf"patient: expected one of {name}\.nii, {name}\.nii\.gz, got 2")


@pytest.mark.parametrize("name", ["labels.nii.gz", "ct.nii.gz"])
def test_a_volume_whose_name_is_in_capitals_is_not_left_out(folder: Path, name: str):
    (folder / name).rename(folder / name.upper())
    refused(folder, rf"{name.upper()}: expected the name {name}")
