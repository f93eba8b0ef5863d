"""A segmented body becomes the same phantom however its files are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from patient import OFFSET, SHAPE, VOXEL, at, grid, make, patient, save, write
from tgdpet.constants import ORGANS
from tgdpet.io import nifti
from tgdpet.simulation import anatomy
from tgdpet.simulation.phantom import Phantom


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 5 mm voxels on 3 mm ones: many centres lie midway between two
    return write(tmp_path_factory.mktemp("patient"), voxel=(3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def whole(folder: Path) -> Phantom:
    return make(folder, "test_high_bmi")


def test_organs_take_up_and_stop_what_they_should(whole: Phantom):
    assert whole.suv.shape == whole.labels.shape == whole.mu_per_cm.shape == SHAPE
    assert whole.suv.dtype == whole.mu_per_cm.dtype == np.float32
    assert 24 * 1.5**2 <= whole.weight_kg <= 24 * 1.9**2
    for name, suv, mu in (
        ("liver", 2.2, 0.1007),
        ("marrow", 1.3, 0.1134),
        ("lung", 0.45, 0.0192),
        ("fat", 0.25, 0.0864),
    ):
        where = whole.labels == ORGANS[name]
        assert where.any()
        assert whole.suv[where].mean() == pytest.approx(suv, rel=0.45)
        assert np.median(whole.mu_per_cm[where]) == pytest.approx(mu, rel=0.02)
    air = whole.labels == ORGANS["air"]
    assert not whole.suv[air].any() and (whole.suv[~air] >= 0).all()


def test_the_liver_lies_on_the_patients_right(whole: Phantom):
    x, _y, z = (v.mean() for v in np.nonzero(whole.labels == ORGANS["liver"]))
    affine = nifti.grid_affine(SHAPE, VOXEL)
    assert affine[0, 0] * x + affine[0, 3] == pytest.approx(
        60, abs=3
    )  # RAS: +x is the patient's right
    spleen = np.nonzero(whole.labels == ORGANS["spleen"])[0].mean()
    assert x > spleen and abs(z - np.nonzero(whole.labels == ORGANS["spleen"])[2].mean()) < 3


def test_the_couch_stops_photons_and_takes_up_nothing(whole: Phantom):
    couch = at(whole, 0, -109, 0)
    assert whole.labels[couch] == 0 and whole.suv[couch] == 0
    assert whole.mu_per_cm[couch] == pytest.approx(9.6e-5 * 850, rel=1e-3)
    assert whole.labels[at(whole, 0, -86, 0)] == ORGANS["fat"]  # the skin above it


def test_gas_takes_up_nothing(whole: Phantom):
    bowel = whole.labels == ORGANS["bowel"]
    assert (whole.suv[bowel] == 0).sum() in range(10, 30)
    assert (whole.mu_per_cm[bowel & (whole.suv == 0)] < 0.06).all()


def flip(
    array: np.ndarray, affine: np.ndarray, axes: tuple[int, ...], order: tuple[int, ...]
) -> tuple[Any, Any]:
    """The same volume with some axes backwards and in another order."""
    change = np.eye(4)
    for a in axes:
        change[a, a], change[a, 3] = -1, array.shape[a] - 1
    return np.flip(array, axes).transpose(order), affine @ change @ np.eye(4)[:, [*order, 3]]


@pytest.mark.parametrize("ct", [True, False], ids=["ct", "labels alone"])
@pytest.mark.parametrize(
    ("axes", "order"), [((0, 1), (0, 1, 2)), ((2,), (2, 0, 1)), ((0, 1, 2), (1, 0, 2))]
)
def test_orientation_does_not_matter(
    folder: Path, tmp_path: Path, whole: Phantom, ct: bool, axes: Any, order: Any
):
    for name in ("labels", "ct") if ct else ("labels",):
        image: Any = nib.load(folder / f"{name}.nii.gz")
        save(
            tmp_path / f"{name}.nii.gz", *flip(np.asarray(image.dataobj), image.affine, axes, order)
        )
    if not ct:
        whole = make(write(tmp_path / "plain", ct=False, voxel=(3.0, 3.0, 3.0)), "test_high_bmi")
    turned = make(tmp_path, "test_high_bmi")
    assert (turned.labels != whole.labels).mean() < 1e-3  # nearest voxels at equal distances
    assert np.abs(turned.mu_per_cm - whole.mu_per_cm).max() < 1e-4 if ct else True


@pytest.mark.parametrize(
    "how", [{"voxel": (2.0, 3.5, 5.0)}, {"rotate": 0.2}, {"rotate": -0.1, "voxel": (4.0, 2.0, 3.0)}]
)
def test_voxel_size_and_oblique_grids_do_not_matter(tmp_path: Path, folder: Path, how: Any):
    found = []
    for path in (folder, write(tmp_path, **how)):
        affine = anatomy.grid_to_mm(anatomy.read_anatomy(path), "test_high_bmi", SHAPE, VOXEL)
        found.append((make(path, "test_high_bmi").labels, affine))
    for name in ("liver", "spleen", "kidney", "marrow"):
        count, centre_mm = [], []
        for labels, affine in found:
            where = np.argwhere(labels[:, :, 8:-8] == ORGANS[name]) + [
                0,
                0,
                8,
            ]  # a turned box ends elsewhere
            count.append(len(where))
            centre_mm.append(affine[:3, :3] @ where.mean(axis=0) + affine[:3, 3])
        assert count[1] == pytest.approx(count[0], rel=0.12)
        assert np.abs(centre_mm[1] - centre_mm[0]).max() < 5


def test_a_ct_on_another_grid_is_sampled_where_it_lies(
    folder: Path, tmp_path: Path, whole: Phantom
):
    (tmp_path / "labels.nii.gz").write_bytes((folder / "labels.nii.gz").read_bytes())
    affine, points = grid(voxel=(4.0, 3.0, 2.5))
    save(tmp_path / "ct.nii", patient(points)[1].astype(np.float32), affine)
    other = make(tmp_path, "test_high_bmi")
    assert (other.labels != whole.labels).mean() < 0.02
    assert np.abs(other.mu_per_cm - whole.mu_per_cm).mean() < 0.002


def test_labels_alone_give_soft_tissue_and_a_rim_of_fat(tmp_path: Path):
    phantom = make(write(tmp_path, ct=False) / "labels.nii.gz", "test_high_bmi")
    for name, mu in (
        ("liver", 0.096),
        ("lung", 0.028),
        ("marrow", 0.12),
        ("fat", 0.09),
        ("body", 0.096),
        ("air", 0),
    ):
        where = phantom.labels == ORGANS[name]
        assert where.any() and (phantom.mu_per_cm[where] == np.float32(mu)).all()
    liver = phantom.labels == ORGANS["liver"]
    right = np.nonzero(liver.any(axis=(1, 2)))[0][-1]
    assert phantom.labels[right + 2].max() == ORGANS["fat"] and not phantom.labels[right + 5].any()


@pytest.mark.parametrize("role", ["test_lesion", "adapt", "test_bladder", "test_catheter"])
def test_where_the_grid_ends(folder: Path, role: str):
    found = anatomy.read_anatomy(folder)
    for n in (20, 44, 60):
        affine = anatomy.grid_to_mm(found, role, (*SHAPE[:2], n), VOXEL)
        middle = (
            affine[:3, :3] @ [(SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2, (n - 1) / 2]
            + affine[:3, 3]
            - OFFSET
        )
        assert middle[:2] == pytest.approx([0, 0], abs=3)
        low, high = middle[2] - n * 2.5, middle[2] + n * 2.5
        if "bladder" in role or "catheter" in role:
            assert n == 20 or low <= -75 - 28 - anatomy.BLADDER_MARGIN_MM + 4
            assert n > 20 or middle[2] == pytest.approx(-75, abs=3)
        else:
            assert n == 20 or (
                low <= 60 - anatomy.LIVER_MARGIN_MM + 3 and high >= 60 + anatomy.LIVER_MARGIN_MM - 3
            )
            assert n > 20 or middle[2] == pytest.approx(60, abs=3)


def test_the_grid_stays_within_long_data(tmp_path: Path):
    found = anatomy.read_anatomy(write(tmp_path, length=400.0))
    affine = anatomy.grid_to_mm(found, "test_lesion", (*SHAPE[:2], 60), VOXEL)
    assert affine[2, 3] - OFFSET[2] + 59.5 * 5 == pytest.approx(
        205, abs=4
    )  # 200 mm about +5; the liver lies at 60


def test_beyond_the_data_there_is_air(folder: Path):
    phantom = make(folder, "test_bladder")
    empty = ~phantom.labels.any(axis=(0, 1))
    assert 1 < empty.sum() < 12 and empty[0] and not phantom.mu_per_cm[:, :, empty].any()


def test_studies_vary_and_repeat(folder: Path):
    first, again, other = (make(folder, "adapt", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.suv, again.suv)
    liver = first.labels == ORGANS["liver"]
    assert first.suv[liver].mean() != pytest.approx(other.suv[liver].mean(), rel=1e-3)
    assert 0.03 < first.suv[liver].std() / first.suv[liver].mean() < 0.08
    assert (first.labels == ORGANS["tumour"]).any()
    assert not np.array_equal(first.labels == ORGANS["tumour"], other.labels == ORGANS["tumour"])
