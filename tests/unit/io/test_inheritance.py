"""Sidecars of a BIDS data set hold for the images below them; the nearest one's values count."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.io import nifti


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of a data set, without a sidecar of its own."""
    folder = tmp_path / "sub-1" / "ses-a" / "pet"
    folder.mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text("{}")
    path = folder / "sub-1_ses-a_trc-FDG_pet.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    return path


def write(path: Path, **content: object) -> None:
    path.write_text(json.dumps(content))


def test_the_nearest_value_counts(image: Path, tmp_path: Path) -> None:
    write(tmp_path / "pet.json", Units="kBq/mL", Manufacturer="A", BodyWeight=70)
    write(tmp_path / "sub-1" / "sub-1_pet.json", Units="Bq/mL", BodyWeight=71)
    found = nifti.read_converted(image).sidecar
    assert found == {"Units": "Bq/mL", "Manufacturer": "A", "BodyWeight": 71}

    write(nifti.sidecar_path(image), BodyWeight=72)
    assert nifti.read_converted(image).sidecar["BodyWeight"] == 72
    assert nifti.read_image(image).sidecar["Manufacturer"] == "A"


def test_what_belongs_to_others_does_not_count(image: Path, tmp_path: Path) -> None:
    write(tmp_path / "trc-PSMA_pet.json", Units="kBq/mL")  # another tracer
    write(tmp_path / "ct.json", Units="kBq/mL")  # another suffix
    write(tmp_path / "sub-1" / "ses-a" / "sub-1_pet.json", Units="Bq/mL")
    assert nifti.read_converted(image).data.max() == 1


def test_nothing_is_inherited_outside_of_a_data_set(image: Path, tmp_path: Path) -> None:
    write(tmp_path / "pet.json", Units="kBq/mL")
    (tmp_path / "dataset_description.json").unlink()
    with pytest.raises(ValueError, match="no sidecar .* says the units"):
        nifti.read_converted(image)


def test_two_that_apply_are_refused(image: Path, tmp_path: Path) -> None:
    write(tmp_path / "pet.json", Units="kBq/mL")
    write(tmp_path / "trc-FDG_pet.json", Units="Bq/mL")
    with pytest.raises(ValueError, match=r"pet\.json and trc-FDG_pet\.json both apply to sub-1"):
        nifti.read_converted(image)


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        (" Bq/mL ", 1), ("Bq/cc", 1), ("Bq.mL-1", 1), ("Bq/cm3", 1), ("Bq/cm^3", 1), ("BQML", 1),
        ("Bq mL^-1", 1), ("kBq/cc", 1000), ("kBq.ml-1", 1000), ("KBQML", 1000),
    ],
)  # fmt: skip
def test_spellings_of_a_unit(image: Path, units: str, factor: float) -> None:
    write(nifti.sidecar_path(image), Units=units)
    assert nifti.read_converted(image).data.max() == factor


@pytest.mark.parametrize("units", ["MBq/mL", "mBq/mL", "Bq", "Bq/mL-1", "Bq/L", "counts", 1])
def test_other_units_are_refused(image: Path, units: object) -> None:
    write(nifti.sidecar_path(image), Units=units)
    with pytest.raises(ValueError, match="Units: expected Bq/mL or kBq/mL"):
        nifti.read_converted(image)


@pytest.mark.parametrize("place", ["pet.json", "sub-1/ses-a/pet/sub-1_ses-a_trc-FDG_pet.json"])
def test_what_is_no_object_is_refused_wherever_it_lies(
    image: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).write_text('[["Units", "kBq/mL"]]')
    with pytest.raises(ValueError, match=r"pet\.json: expected a JSON object, got \[\["):
        nifti.read_converted(image)
