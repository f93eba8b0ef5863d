"""Lesions, tumours, bladder and catheter lie where they should and hold what was asked for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import real_patient
from patient import SETTINGS, SHAPE, VOXEL, at, make, write
from tgdpet.config.lesions import Lesion
from tgdpet.config.sections import Simulation
from tgdpet.constants import ORGANS
from tgdpet.evaluation import measures
from tgdpet.simulation import anatomy
from tgdpet.simulation.anatomy import Anatomy
from tgdpet.simulation.anatomy.overlay import fill_bladder, insert_sphere
from tgdpet.simulation.phantom import Phantom, downsample


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Anatomy:
    return anatomy.read_anatomy(write(tmp_path_factory.mktemp("patient")))


@pytest.fixture(scope="module")
def plain(found: Anatomy) -> Phantom:
    return make(found, "test_high_bmi")


def mask(phantom: Phantom, name: str) -> np.ndarray:
    return phantom.labels == ORGANS[name]


def volume_ml(where: np.ndarray) -> float:
    return float(where.sum() * np.prod(VOXEL) / 1000)


def test_a_test_lesion_study_has_its_lesion_deep_in_the_liver(found: Anatomy):
    phantom = make(found, "test_lesion", lesions=None)
    lesion, liver = mask(phantom, "lesion"), mask(phantom, "liver")
    assert volume_ml(lesion) == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.15)
    level = phantom.suv[liver].mean()
    assert phantom.suv[lesion].mean() == pytest.approx(level * SETTINGS.lesion_contrast, rel=0.02)
    depth = ndimage.distance_transform_edt(liver | lesion, VOXEL)
    assert depth[lesion].min() > 10
    assert not mask(make(found, "adapt"), "lesion").any()


def test_lesions_are_inserted_where_asked(found: Anatomy, plain: Phantom):
    asked = [
        Lesion("spleen", 20, 2.5),
        Lesion("kidney_right", 15, 0.5),
        Lesion("marrow", 18, 3),
        Lesion("liver", 30, 2),
    ]
    asked.append(Lesion("liver", 20, 4))
    phantom = make(found, "test_high_bmi", lesions=asked)
    parts, n = ndimage.label(mask(phantom, "lesion"))
    assert n == 5
    for lesion, organ in zip(asked[:3], ("spleen", "kidney", "marrow"), strict=True):
        where = mask(phantom, "lesion") & mask(plain, organ)
        (part,) = np.unique(parts[where])
        assert np.array_equal(where, parts == part)  # wholly within
        assert phantom.suv[where].mean() == pytest.approx(
            lesion.contrast * plain.suv[mask(plain, organ)].mean(), rel=1e-3
        )
    np.testing.assert_array_equal(phantom.mu_per_cm, plain.mu_per_cm)
    outside = ~mask(phantom, "lesion")
    np.testing.assert_array_equal(phantom.suv[outside], plain.suv[outside])


def test_a_lesion_that_does_not_fit_names_the_largest_that_does(found: Anatomy, plain: Phantom):
    with pytest.raises(
        ValueError, match=r"labels.nii.gz: lesion of 60 mm does not fit into spleen; the largest"
    ) as error:
        make(found, "adapt", lesions=[Lesion("spleen", 60, 2)])
    largest = float(str(error.value).split("is ")[-1].split(" mm")[0])
    assert 25 < largest < 44  # the smallest semi-axis is 22 mm
    assert mask(make(found, "adapt", lesions=[Lesion("spleen", largest - 0.1, 2)]), "lesion").any()
    with pytest.raises(ValueError, match="does not fit"):
        make(found, "adapt", lesions=[Lesion("spleen", largest + 0.1, 2)])


@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (Lesion("splen", 20, 2), "no such organ.*spleen"),
        (Lesion("liver", 3, 2), "diameter 3 mm and contrast 2: expected"),
        (Lesion("liver", 20, 0), "diameter 20 mm and contrast 0: expected"),
        (Lesion("liver", float("nan"), 2), "diameter nan"),
    ],
)
def test_a_lesion_that_cannot_be_is_refused(found: Anatomy, lesion: Lesion, message: str):
    with pytest.raises(ValueError, match=message):
        make(found, "adapt", lesions=[lesion])


def test_a_sphere_at_a_place(plain: Phantom):
    phantom = insert_sphere(plain, VOXEL, Lesion("liver", 20, 3), centre_mm=(60, 10, 35))
    at_mm = [v.mean() for v in np.nonzero(mask(phantom, "lesion"))]
    assert at_mm == pytest.approx(at(plain, 60, 10, 35), abs=0.51)
    with pytest.raises(
        ValueError, match=r"at \(0, -80, 0\) mm leaves liver; the largest that fits there"
    ):
        insert_sphere(plain, VOXEL, Lesion("liver", 20, 3), centre_mm=(0, -80, 0))
    with pytest.raises(ValueError, match="leaves liver"):
        insert_sphere(plain, VOXEL, Lesion("liver", 20, 3), centre_mm=(0, 0, 900))
    with pytest.raises(ValueError, match="no such organ; known are air, body"):
        insert_sphere(plain, VOXEL, Lesion("lever", 20, 3))
    with pytest.raises(ValueError, match="heart: the organ has no voxel"):
        insert_sphere(plain, VOXEL, Lesion("heart", 20, 3))


def test_the_bladders_filling_is_the_roles(found: Anatomy):
    full, drained, usual = (
        make(found, role) for role in ("test_bladder", "test_catheter", "adapt")
    )
    assert full.suv[mask(full, "bladder")].mean() == pytest.approx(26, rel=0.02)
    assert volume_ml(mask(full, "bladder")) == pytest.approx(
        4 / 3 * np.pi * 3.5 * 3.0 * 2.8, rel=0.05
    )
    share = mask(drained, "bladder").sum() / mask(full, "bladder").sum()
    assert share == pytest.approx(0.5, abs=0.06)
    assert drained.suv[mask(drained, "bladder")].mean() == pytest.approx(7, rel=0.05)
    left = mask(full, "bladder") & mask(drained, "body")
    assert left.any() and drained.suv[left].mean() < 1
    assert 3 < usual.suv[mask(usual, "bladder")].mean() < 11


def test_the_catheter_leaves_the_bladder_within_the_body(found: Anatomy):
    phantom = make(found, "test_catheter")
    tube = mask(phantom, "catheter")
    assert phantom.suv[tube].mean() == pytest.approx(20, rel=0.02)
    parts, n = ndimage.label(tube | mask(phantom, "bladder"), np.ones((3, 3, 3)))
    assert n == 1 and not (tube & mask(make(found, "test_bladder"), "air")).any()
    x = np.nonzero(tube.any(axis=(1, 2)))[0] - (SHAPE[0] - 1) / 2
    assert (
        x.max() * 5 > 50
        and np.nonzero(tube)[2].min() < np.nonzero(mask(phantom, "bladder"))[2].min()
    )
    assert not mask(make(found, "test_bladder"), "catheter").any()


def narrow() -> Phantom:
    """A body that ends 10 mm to the right of its bladder, a box of 9 voxels, 45 mm."""
    labels = np.zeros((40, 20, 30), np.int16)
    labels[:28, 2:18] = ORGANS["body"]
    labels[17:26, 6:15, 12:21] = ORGANS["bladder"]
    return Phantom(
        (labels > 0).astype(np.float32), np.zeros(labels.shape, np.float32), labels, 70.0, ()
    )


def test_the_catheter_ends_with_the_body():
    phantom = fill_bladder(narrow(), VOXEL, "test_catheter", np.random.default_rng(1))
    tube = mask(phantom, "catheter")
    assert tube[27].any() and not tube[28:].any()
    assert not tube[narrow().labels == 0].any()


def test_the_largest_sphere_touches_its_organs_edges():
    with pytest.raises(ValueError, match=r"the largest that fits there is 45\.0 mm"):
        insert_sphere(narrow(), VOXEL, Lesion("bladder", 50, 2))
    assert mask(insert_sphere(narrow(), VOXEL, Lesion("bladder", 45, 2)), "lesion").any()


def test_tumours_belong_to_training_studies(found: Anatomy):
    for seed in range(3):
        phantom = make(found, "train_v1v2", seed)
        tumour = mask(phantom, "tumour")
        assert volume_ml(tumour) > 0.5 and 2.5 < phantom.suv[tumour].mean() < 9.5
    assert not mask(make(found, "test_lesion"), "tumour").any()


@cache
def real() -> Anatomy:
    return anatomy.read_anatomy(real_patient.FOLDER)


@real_patient.needed
@pytest.mark.parametrize(
    "role", ["test_lesion", "test_high_bmi", "test_bladder", "test_catheter", "train_v1v2"]
)
def test_a_real_patient_has_what_each_role_is_judged_by(role: str):
    shape, voxel = (104, 104, 56), (4.0, 4.0, 5.0)  # the default image grid
    phantom = anatomy.make_phantom(
        real(), role, 25.0, np.random.default_rng(1), Simulation(), shape, voxel
    )
    assert 15 < volume_ml_of(phantom, voxel, "body") / 1000 < 25
    x = {name: np.nonzero(mask(phantom, name))[0].mean() for name in ("liver", "spleen")}
    assert x["liver"] > x["spleen"]
    assert measures.liver_voi(phantom.labels, ORGANS).sum() >= 30
    if role == "test_lesion":
        assert volume_ml_of(phantom, voxel, "lesion", whole=False) == pytest.approx(4.19, rel=0.25)
    if role in ("test_bladder", "test_catheter"):
        z = np.nonzero(mask(phantom, "bladder"))[2]
        assert z.min() * 5 >= 35 and mask(phantom, "catheter").any() == (role == "test_catheter")
    assert np.median(phantom.mu_per_cm[mask(phantom, "liver")]) == pytest.approx(0.101, abs=0.003)
    assert downsample(phantom, 2).suv.shape == (52, 52, 28)


def volume_ml_of(phantom: Phantom, voxel: Any, name: str, whole: bool = True) -> float:
    where = phantom.labels > 0 if whole else mask(phantom, name)
    return float(where.sum() * np.prod(voxel) / 1000)
