"""Organs of studies of images: labels of any grid on the images' own, lesions, other voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.config.spheres import Sphere
from tgdpet.constants import ORGANS
from tgdpet.io import nifti
from tgdpet.io.nifti import Image, grid_affine
from tgdpet.simulation.anatomy import uptake
from tgdpet.simulation.anatomy.image_organs import organs_of_image, resampled
from tgdpet.simulation.anatomy.resampling import points_mm

NUMBER = {name: number for number, name in uptake.TOTAL_V2.items()}
SHAPE = (40, 32, 24)
LIVER_MM, SPLEEN_MM = (30.0, 5.0, 10.0), (-35.0, 0.0, 10.0)


def at_mm(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """RAS mm of every voxel, (X, Y, Z, 3)."""
    index = np.indices(shape).reshape(3, -1).T
    return points_mm(index, affine).reshape(*shape, 3)


def ball(points: np.ndarray, centre: tuple[float, ...], radius_mm: float) -> np.ndarray:
    return np.linalg.norm(points - np.array(centre), axis=-1) <= radius_mm


@pytest.fixture
def image() -> Image:
    """A body of 5 kBq/mL with a liver, on voxels of 4 x 4 x 5 mm."""
    affine = grid_affine(SHAPE, (4.0, 4.0, 5.0))
    points = at_mm(affine, SHAPE)
    body = (points[..., 0] / 70) ** 2 + (points[..., 1] / 50) ** 2 <= 1
    data = 5000.0 * body + 7000.0 * ball(points, LIVER_MM, 22)
    return Image(data.astype(np.float32), affine)


def segmentation(path: Path, order: str = "LPS", shift_mm: float = 0.0) -> Path:
    """Liver and spleen with TotalSegmentator's numbers, on finer voxels of another order."""
    shape = (64, 50, 60)
    affine = grid_affine(shape, (2.5, 2.5, 2.0))
    points = at_mm(affine, shape)
    affine[1, 3] += shift_mm
    labels = np.zeros(shape, np.uint8)
    labels[ball(points, LIVER_MM, 20)] = NUMBER["liver"]
    labels[ball(points, SPLEEN_MM, 12)] = NUMBER["spleen"]

    stored = nib.Nifti1Image(labels, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(order)
    )
    nib.save(stored.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("order", ["RAS", "LPS", "PIR"])
def test_a_segmentation_on_a_grid_of_its_own_lies_where_the_organs_are(image, tmp_path, order):
    organs = organs_of_image(image, segmentation(tmp_path / "ct_labels.nii.gz", order))
    points = at_mm(image.affine, SHAPE)
    for name, centre, radius_mm in (("liver", LIVER_MM, 20), ("spleen", SPLEEN_MM, 12)):
        found = organs == ORGANS[name]
        expected = ball(points, centre, radius_mm)
        assert (found ^ expected).sum() <= 0.2 * expected.sum(), name
    assert set(np.unique(organs)) == {ORGANS[n] for n in ("air", "body", "liver", "spleen")}


def test_without_labels_the_body_is_found_and_its_holes_are_filled(image):
    data = image.data.copy()
    data[18:21, 15:18] = 0  # a hole, as of the lungs
    data[0, 0, 0] = 9000  # noise outside
    organs = organs_of_image(Image(data, image.affine), None)
    assert np.array_equal(organs > 0, image.data > 0)


def test_lesions_are_spheres_in_mm(image):
    sphere = Sphere((-20.0, 8.0, -15.0), 24.0)
    organs = organs_of_image(image, None, [sphere])
    inside = ball(at_mm(image.affine, SHAPE), sphere.centre_mm, 12)
    assert np.array_equal(organs == ORGANS["lesion"], inside) and inside.sum() > 50
    with pytest.raises(ValueError, match=r"lesion at \(500.0, .*no voxel of the body"):
        organs_of_image(image, None, [Sphere((500.0, 0.0, 0.0), 20.0)])


def test_labels_of_a_run_are_taken_as_they_are(image, tmp_path):
    path = tmp_path / "organs.nii.gz"
    labels = np.zeros(SHAPE, np.int16)
    labels[8:30, 8:25, 2:20] = ORGANS["body"]
    labels[20:28, 12:20, 8:16] = ORGANS["liver"]
    nifti.write_labels(path, labels, image.affine)
    assert np.array_equal(organs_of_image(image, path), labels)

    nifti.write_labels(path, labels * 9, image.affine)
    with pytest.raises(ValueError, match=r"organs\.nii\.gz: expected labels 0 to 13, got"):
        organs_of_image(image, path)


@pytest.mark.parametrize(
    ("shift_mm", "cause"),
    [(1000.0, "no labelled organ lies in the image"), (57.0, "% of the labelled organs lie in")],
)
def test_labels_of_another_patient_are_refused(image, tmp_path, shift_mm, cause):
    path = segmentation(tmp_path / "labels.nii.gz", shift_mm=shift_mm)
    with pytest.raises(ValueError, match=rf"labels\.nii\.gz: .*{cause}.*another patient"):
        organs_of_image(image, path)


def test_other_voxels_over_the_same_field_of_view(image):
    coarse = resampled(image, (8.0, 8.0, 10.0))
    assert coarse.data.shape == (20, 16, 12)
    np.testing.assert_allclose(coarse.voxel_mm, (8, 8, 10))
    assert coarse.data.mean() == pytest.approx(image.data.mean(), rel=0.02)

    middles = [points_mm((np.array([i.data.shape]) - 1) / 2, i.affine)[0] for i in (image, coarse)]
    np.testing.assert_allclose(*middles, atol=1e-9)

    back = resampled(coarse, image.voxel_mm)
    inside = np.s_[8:-8, 8:-8, 4:-4]
    assert np.abs(back.data[inside] - image.data[inside]).mean() < 0.1 * image.data.mean()
