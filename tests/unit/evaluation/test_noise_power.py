"""Noise power spectra against noise whose spectrum is known in closed form."""

import numpy as np
import pytest
from scipy import ndimage

from tgdpet.evaluation import noise_power
from tgdpet.evaluation.measures import MeasureError

VOXEL_MM = (2.0, 2.0, 5.0)
SD = 3.0
BALL = (
    np.sum(
        np.square(np.mgrid[-24:24, -24:24, -6:6] / np.array([20, 16, 6])[:, None, None, None]),
        axis=0,
    )
    < 1
)


def white(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SD, (n, *BALL.shape))


def test_white_noise_is_flat_at_its_variance_times_the_pixels_area() -> None:
    frequency, power = noise_power.radial_power(white(40), BALL, VOXEL_MM)
    assert np.all(np.abs(power.mean(axis=0) / (SD**2 * 4) - 1) < 0.06)
    assert frequency[0] > 0 and frequency[-1] < 0.25
    assert noise_power.mean_frequency(frequency, power.mean(axis=0)) == pytest.approx(
        0.125, rel=0.02
    )


@pytest.mark.parametrize("voxel_mm", [VOXEL_MM, (2.0, 3.0, 5.0)])
def test_the_spectrums_integral_is_the_variance_in_the_region(voxel_mm: tuple[float, ...]) -> None:
    noise = ndimage.gaussian_filter(white(3), (0, 1.5, 0.8, 0))
    u, v, power = noise_power.plane_power(noise, BALL, voxel_mm)
    integral = power.sum(axis=(1, 2)) * (u[1] - u[0]) * (v[1] - v[0])
    assert integral == pytest.approx((noise[:, BALL] ** 2).mean(axis=1), rel=1e-9)


def test_filtered_noise_has_the_filters_squared_transfer_function() -> None:
    sigma_voxels = 1.0
    noise = ndimage.gaussian_filter(white(40), (0, sigma_voxels, sigma_voxels, 0), mode="wrap")
    frequency, power = noise_power.radial_power(noise, np.ones_like(BALL), VOXEL_MM)
    transfer = np.exp(-((2 * np.pi * frequency * sigma_voxels * VOXEL_MM[0]) ** 2))
    low = frequency < 0.12
    assert power.mean(axis=0)[low] == pytest.approx(SD**2 * 4 * transfer[low], rel=0.1)


def test_ensemble_noise_has_no_structure_and_the_full_variance() -> None:
    structure = np.where(np.arange(48) % 2, 50.0, 150.0)[:, None, None]
    noise = noise_power.ensemble_noise(white(4, seed=1) + structure)
    assert np.abs(noise.mean(axis=0)).max() < 1e-9
    assert (noise**2).mean() == pytest.approx(SD**2, rel=0.02)
    assert noise == pytest.approx(noise_power.ensemble_noise(white(4, seed=1)))


def test_one_realisation_other_grids_and_empty_volumes_are_refused() -> None:
    with pytest.raises(MeasureError, match="at least 2 realisations, got 1"):
        noise_power.ensemble_noise(white(1))
    with pytest.raises(MeasureError, match="grids differ"):
        noise_power.plane_power(white(1)[..., 1:], BALL, VOXEL_MM)
    with pytest.raises(MeasureError, match="no voxel"):
        noise_power.plane_power(white(1), np.zeros_like(BALL), VOXEL_MM)
    assert np.isnan(noise_power.mean_frequency(np.ones(3), np.zeros(3)))


def test_smoothing_along_z_takes_power_from_fast_axial_waves() -> None:
    """[1, 1] / 2 along z leaves cos^2(pi w dz): 0.82 of the slow half on average, 0.18 of the fast;
    a region of twelve slices blurs the two into each other.
    """
    noise = white(40)
    smoothed = (noise + np.roll(noise, 1, axis=3)) / 2
    frequency, before = noise_power.power_by_axial_half(noise, BALL, VOXEL_MM)
    _, after = noise_power.power_by_axial_half(smoothed, BALL, VOXEL_MM)
    assert before.shape == (40, 2, len(frequency))
    slow, fast = (after.mean(axis=0) / before.mean(axis=0)).mean(axis=1)
    assert 0.7 < slow < 0.82
    assert 0.18 < fast < 0.3
