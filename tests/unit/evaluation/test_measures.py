"""Measures against values known in closed form."""

import numpy as np
import pytest
from scipy import ndimage

from tgdpet.evaluation import measures as m

ORGANS = {"air": 0, "body": 1, "liver": 5, "lesion": 12, "bladder": 10}
BOX = np.zeros((20, 20, 20), bool)
BOX[4:16, 4:16, 4:16] = True


def test_lesion_bias_is_the_mean_relative_deviation() -> None:
    reference = np.full(BOX.shape, 10.0)
    realisations = np.stack([reference * f for f in (0.8, 0.9, 1.0)])
    assert m.lesion_bias(realisations, BOX, reference) == pytest.approx(-10.0)


def test_ensemble_cov_is_the_noise_and_ignores_structure() -> None:
    generator = np.random.default_rng(0)
    structure = np.where(np.arange(20) % 2, 50.0, 150.0)[:, None, None] * np.ones(BOX.shape)
    realisations = structure + generator.normal(0, 8, (60, *BOX.shape))
    assert m.ensemble_cov(realisations, BOX) == pytest.approx(8.0, rel=0.03)
    assert m.spatial_cov(structure, BOX) == pytest.approx(50.0, rel=0.01)
    assert m.ensemble_cov(np.stack([structure, structure]), BOX) == 0


def test_rmse_psnr_ssim_of_known_images() -> None:
    reference = np.random.default_rng(1).uniform(0, 100, BOX.shape)
    reference[10, 10, 10] = 100
    assert m.rmse(reference + 5, reference, BOX) == pytest.approx(5)
    assert m.psnr(reference + 5, reference, BOX) == pytest.approx(20 * np.log10(100 / 5))
    assert m.psnr(reference, reference, BOX) == np.inf
    assert m.ssim(reference, reference, BOX) == pytest.approx(1)
    shuffled = np.random.default_rng(2).permutation(reference.ravel()).reshape(BOX.shape)
    assert m.ssim(shuffled, reference, BOX) < 0.2


def test_errors_outside_the_volume_do_not_count() -> None:
    reference = np.ones(BOX.shape)
    image = np.where(BOX, 1.0, 99.0)
    assert m.rmse(image, reference, BOX) == 0
    assert m.relative_error(image, reference, BOX) == 0
    assert m.relative_error(image, reference, m.rim(BOX, 2)) == pytest.approx(9800)


def test_texture_of_filtered_white_noise_is_sqrt2_times_the_filter() -> None:
    voi, fwhm_voxels, spacing_mm = np.ones((48, 48, 48), bool), 3.0, 2.0
    white = np.random.default_rng(3).standard_normal(voi.shape)
    noise = ndimage.gaussian_filter(white, (fwhm_voxels / 2.3548, 0, 0))
    along = m.autocorrelation(noise, voi, axis=0)
    across = m.autocorrelation(noise, voi, axis=1)
    assert along[0] == pytest.approx(1)
    assert m.texture_fwhm(along, spacing_mm) == pytest.approx(
        np.sqrt(2) * fwhm_voxels * spacing_mm, rel=0.05
    )
    assert abs(across[1]) < 0.05


def test_liver_voi_keeps_two_voxels_from_liver_edge_and_lesion() -> None:
    labels = np.where(BOX, ORGANS["liver"], ORGANS["body"])
    labels[9:11, 9:11, 9:11] = ORGANS["lesion"]
    voi = m.liver_voi(labels, ORGANS, at_least=1)
    assert voi.any() and not (voi & (labels != ORGANS["liver"])).any()
    away = ndimage.distance_transform_cdt(labels == ORGANS["liver"], "taxicab")
    assert away[voi].min() > 2


def test_liver_voi_leaves_out_the_axial_ends() -> None:
    labels = np.full((20, 20, 40), ORGANS["liver"])
    assert np.flatnonzero(m.liver_voi(labels, ORGANS).any(axis=(0, 1))).tolist() == list(
        range(5, 35)
    )
    labels[:, :, 5:] = ORGANS["body"]
    with pytest.raises(
        m.MeasureError, match="liver without the lesion's margin and the axial ends"
    ):
        m.liver_voi(labels, ORGANS)


def test_missing_organs_empty_volumes_and_other_grids_are_refused() -> None:
    labels = np.where(BOX, ORGANS["body"], 0)
    with pytest.raises(m.MeasureError, match="'liver'.*has no voxel"):
        m.liver_voi(labels, ORGANS)
    with pytest.raises(m.MeasureError, match="'spleen' is unknown"):
        m.organ(labels, ORGANS, "spleen")
    image = np.ones(BOX.shape)
    with pytest.raises(m.MeasureError, match="no voxel"):
        m.rmse(image, image, np.zeros_like(BOX))
    with pytest.raises(m.MeasureError, match="grids differ"):
        m.rmse(image, image[:-1], BOX)
    with pytest.raises(m.MeasureError, match="at least 2 realisations"):
        m.ensemble_cov(image[None], BOX)
    with pytest.raises(m.MeasureError, match="needs it positive"):
        m.lesion_bias(image[None], BOX, 0 * image)


def test_body_leaves_out_air_and_the_noisy_end_slices() -> None:
    labels = np.ones((4, 4, 32), int)
    labels[0] = 0
    inside = m.body(labels)
    assert not inside[0].any() and inside[1:, :, 4:28].all() and inside.sum() == 3 * 4 * 24
