"""The phantom's anatomy: sides, sizes and uptake as in people, what each role is about, and BMI."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from tgdpet.config.roles import ROLES
from tgdpet.config.sections import Simulation
from tgdpet.constants import ORGANS
from tgdpet.io import nifti
from tgdpet.simulation import phantom
from tgdpet.simulation.phantom import Organ, Phantom

SHAPE, VOXEL_MM = (108, 80, 70), (4.0, 4.0, 4.0)
SETTINGS = Simulation()


@cache
def body(
    role: str = "train_v1v2", bmi: float = 24.0, seed: int = 0, settings: Simulation = SETTINGS
) -> Phantom:
    organs, weight_kg = phantom.make_organs(role, bmi, np.random.default_rng(seed), settings)
    return phantom.paint(organs, weight_kg, SHAPE, VOXEL_MM, np.random.default_rng(seed))


def centre_mm(mask: np.ndarray) -> np.ndarray:
    """Centre of a mask in RAS mm."""
    affine = nifti.grid_affine(SHAPE, VOXEL_MM)
    return (affine @ [*ndimage.center_of_mass(mask), 1])[:3]


def of(painted: Phantom, name: str) -> np.ndarray:
    return painted.labels == ORGANS[name]


@pytest.mark.parametrize("seed", range(4))
def test_organs_lie_where_they_belong(seed: int) -> None:
    painted = body("test_high_bmi", seed=seed)
    at = {
        name: centre_mm(of(painted, name))
        for name in ("liver", "spleen", "heart", "bladder", "lung", "marrow")
    }
    assert at["liver"][0] > 20, "the liver is on the patient's right, +x in RAS"
    assert at["spleen"][0] < -60 and at["heart"][0] < 0, "spleen and heart are on the left"
    assert at["bladder"][2] < at["liver"][2] < at["lung"][2], "feet to head is +z"
    assert at["bladder"][1] > at["marrow"][1], "front is +y"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_role_has_what_it_is_about(role: str) -> None:
    painted = body(role)
    for name in (
        "body",
        "fat",
        "lung",
        "heart",
        "liver",
        "spleen",
        "kidney",
        "marrow",
        "bowel",
        "bladder",
    ):
        assert of(painted, name).sum() > 20, name
    assert of(painted, "lesion").any() == (role == "test_lesion")
    assert of(painted, "catheter").any() == (role == "test_catheter")
    assert of(painted, "tumour").any() == (role in ("train_v1v2", "adapt"))


@pytest.mark.parametrize(("contrast", "diameter"), [(3.0, 20.0), (2.0, 28.0)])
def test_the_lesion_is_as_configured(contrast: float, diameter: float) -> None:
    painted = body(
        "test_lesion", settings=Simulation(lesion_contrast=contrast, lesion_diameter_mm=diameter)
    )
    lesion = of(painted, "lesion")
    liver = ndimage.binary_dilation(lesion, iterations=6) & of(painted, "liver")
    assert liver.sum() > 1000, "it lies in the liver"
    assert not (
        ndimage.binary_dilation(lesion, iterations=1) & ~lesion & ~of(painted, "liver")
    ).any()
    assert painted.suv[lesion].mean() / painted.suv[of(painted, "liver")].mean() == pytest.approx(
        contrast, rel=0.12
    )
    organs = {o.name: o for o in painted.organs}
    assert organs["lesion"].suv / organs["liver"].suv == pytest.approx(contrast)
    assert lesion.sum() * 0.064 == pytest.approx(np.pi / 6 * (diameter / 10) ** 3, rel=0.1)  # mL


def test_the_test_bladder_is_unlike_those_in_training() -> None:
    train = [body("train_v1v2", seed=seed) for seed in range(5)]
    full = body("test_bladder")
    assert of(full, "bladder").sum() > 1.5 * max(of(p, "bladder").sum() for p in train)
    assert full.suv[of(full, "bladder")].mean() > 2 * max(
        p.suv[of(p, "bladder")].mean() for p in train
    )


def test_the_default_grid_shows_the_catheter() -> None:
    shape, voxel_mm = (104, 104, 56), (4.0, 4.0, 5.0)  # config/config.yaml
    organs, weight_kg = phantom.make_organs(
        "test_catheter", 24.0, np.random.default_rng(0), SETTINGS
    )
    painted = phantom.paint(organs, weight_kg, shape, voxel_mm, np.random.default_rng(0))
    a_slice = of(painted, "catheter").sum(axis=(0, 1))
    assert (a_slice >= 8).sum() >= 5, a_slice


def test_bladders_in_training_are_emptied() -> None:
    for role in set(ROLES) - {"test_bladder", "test_catheter"}:
        assert body(role).suv[of(body(role), "bladder")].mean() < 3, role


def test_the_catheter_is_thin_long_hot_and_in_one_piece() -> None:
    painted = body("test_catheter")
    tube = of(painted, "catheter")
    extent = np.ptp(np.argwhere(tube), axis=0) * np.array(VOXEL_MM)
    assert extent.max() > 50 and tube.sum() * 0.064 < 30
    assert painted.suv[tube].mean() > 2 * painted.suv[of(painted, "liver")].mean()
    assert ndimage.label(tube | of(painted, "bladder"), np.ones((3, 3, 3)))[1] == 1


def test_bmi_raises_weight_and_width() -> None:
    for seed in range(3):
        people = [body("test_high_bmi", bmi, seed) for bmi in (19.0, 24.0, 30.0, 35.0)]
        weights = [p.weight_kg for p in people]
        widths = [(p.labels != 0).any(axis=(1, 2)).sum() for p in people]
        depths = [(p.labels != 0).any(axis=(0, 2)).sum() for p in people]
        fat = [of(p, "fat").sum() for p in people]
        assert all(np.diff(values).min() > 0 for values in (weights, widths, depths, fat))
        assert weights[3] / weights[0] == pytest.approx(35 / 19), "the same height"
        assert 1.4 < np.sqrt(weights[0] / 19) < 2.0, "height, m"
        assert widths[1] * 4 > 300, "an adult trunk, mm"


def test_uptake_and_attenuation_are_those_of_people() -> None:
    painted = body("test_high_bmi")
    for name, low, high in [
        ("liver", 1.6, 2.9),
        ("fat", 0.15, 0.4),
        ("lung", 0.3, 0.6),
        ("body", 0.4, 0.8),
        ("marrow", 0.6, 2.0),
    ]:
        assert low < painted.suv[of(painted, name)].mean() < high, name
    for name, mu in [
        ("air", 0.0),
        ("liver", 0.096),
        ("bladder", 0.096),
        ("lung", 0.025),
        ("fat", 0.09),
        ("marrow", 0.11),
    ]:
        assert np.all(painted.mu_per_cm[of(painted, name)] == np.float32(mu)), name
    assert not painted.suv[of(painted, "air")].any()
    assert painted.suv.min() >= 0


def test_texture_is_five_per_cent_around_the_mean() -> None:
    painted = body("test_high_bmi")
    liver = painted.suv[of(painted, "liver")]
    assert 0.02 < liver.std() / liver.mean() < 0.09
    field = phantom.texture((60, 60, 60), VOXEL_MM, np.random.default_rng(1))
    assert field.mean() == pytest.approx(1, abs=0.01) and field.std() == pytest.approx(
        0.05, rel=0.02
    )


def test_seeds_make_different_people_and_repeat() -> None:
    first, second = (
        phantom.make_organs("train_v1v2", 24.0, np.random.default_rng(s), SETTINGS) for s in (1, 2)
    )
    assert first != second
    assert first == phantom.make_organs("train_v1v2", 24.0, np.random.default_rng(1), SETTINGS)


def test_an_ellipsoid_has_its_volume_and_tilt() -> None:
    shape, voxel = (50, 50, 50), (2.0, 2.0, 2.0)

    def paint(tilt: float) -> np.ndarray:
        organ = Organ("liver", (5.0, -3.0, 2.0), (30.0, 12.0, 18.0), 2.0, tilt)
        around = Organ("fat", (0.0, 0.0, 0.0), (49.0, 49.0, 49.0), 0.2)
        return (
            phantom.paint((around, organ), 70.0, shape, voxel, np.random.default_rng(0)).labels
            == ORGANS["liver"]
        )

    for tilt in (0.0, 35.0, 90.0):
        mask = paint(tilt)
        assert mask.sum() * 8 == pytest.approx(4 / 3 * np.pi * 30 * 12 * 18, rel=0.03)
        at = (np.argwhere(mask) - 24.5) * 2
        np.testing.assert_allclose(at.mean(axis=0), [5, -3, 2], atol=0.3)
        values, axes = np.linalg.eigh(np.cov(at.T))
        angle = np.rad2deg(np.arctan2(axes[1, 2], axes[0, 2])) % 180
        assert (angle - tilt + 90) % 180 - 90 == pytest.approx(0, abs=2)


def test_downsampling_keeps_the_activity() -> None:
    painted = body()
    coarse = phantom.downsample(painted, 2)
    assert (
        coarse.suv.shape
        == tuple(n // 2 for n in SHAPE)
        == coarse.labels.shape
        == coarse.mu_per_cm.shape
    )
    assert coarse.suv.sum(dtype=float) * 8 == pytest.approx(painted.suv.sum(dtype=float), rel=1e-6)
    np.testing.assert_allclose(
        coarse.suv[20, 15, 12], painted.suv[40:42, 30:32, 24:26].mean(), rtol=1e-6
    )
    np.testing.assert_allclose(
        coarse.mu_per_cm[3, 15, 12], painted.mu_per_cm[6:8, 30:32, 24:26].mean(), rtol=1e-6
    )
    same = phantom.downsample(painted, 1)
    assert np.array_equal(same.labels, painted.labels) and np.array_equal(same.suv, painted.suv)
    for name in ("liver", "lung", "bladder"):
        assert (coarse.labels == ORGANS[name]).sum() * 8 == pytest.approx(
            of(painted, name).sum(), rel=0.12
        )


def test_labels_are_distinct_and_air_is_zero() -> None:
    assert ORGANS["air"] == 0 and len(set(ORGANS.values())) == len(ORGANS)
    named = {model.name for model in phantom.ORGAN_MODELS} | set(phantom.MU_PER_CM)
    assert named <= set(ORGANS)
