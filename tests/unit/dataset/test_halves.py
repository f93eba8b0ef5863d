"""Halves of one acquisition are taken; everything that is none is refused, and it is said why."""

from __future__ import annotations

import re

import numpy as np
import pytest

from halves_of_a_study import SIDECAR, activity, measured
from tgdpet.dataset import halves
from tgdpet.io.nifti import Image

NAMES = ("a.nii.gz", "b.nii.gz")


def changed(image: Image, data: np.ndarray | None = None, **sidecar: object) -> Image:
    """The image with other voxels or a sidecar that says something else."""
    voxels = image.data if data is None else np.ascontiguousarray(data, np.float32)
    return Image(voxels, image.affine, {**image.sidecar, **sidecar})


@pytest.fixture(scope="module")
def first() -> Image:
    return measured(activity(), seed=1)


@pytest.fixture(scope="module")
def second() -> Image:
    return measured(activity(), seed=2)


@pytest.mark.parametrize("seed", [2, 3, 4, 5, 6])
def test_independent_halves_are_taken_in_either_order(first: Image, seed: int) -> None:
    other = measured(activity(), seed=seed)
    halves.check_halves(first, other, NAMES)
    halves.check_halves(other, first, NAMES)


def test_halves_that_decay_sets_apart_are_taken(first: Image, second: Image) -> None:
    halves.check_halves(first, changed(second, 0.97 * second.data), NAMES)


def test_one_nuclide_spelt_in_two_ways_is_one(first: Image, second: Image) -> None:
    a = changed(first, TracerRadionuclide="F18")
    halves.check_halves(a, changed(second, TracerRadionuclide="18F"), NAMES)
    with pytest.raises(ValueError, match="TracerRadionuclide: expected 'F18'"):
        halves.check_halves(a, changed(second, TracerRadionuclide="C-11"), NAMES)


def test_the_same_data_is_refused(first: Image) -> None:
    with pytest.raises(ValueError, match=r"b\.nii\.gz: the same data as a\.nii\.gz"):
        halves.check_halves(first, first, NAMES)


def test_the_same_data_in_other_words_is_refused(first: Image) -> None:
    rounded = np.rint(first.data / first.data.max() * 3000) * first.data.max() / 3000
    smoothed = (first.data + np.roll(first.data, 1, 0) + np.roll(first.data, -1, 0)) / 3

    for data in (1.05 * first.data, rounded, smoothed):
        with pytest.raises(ValueError, match="the same data|of the noise in its difference"):
            halves.check_halves(first, changed(first, data), NAMES)


def test_a_half_and_its_whole_are_refused(first: Image, second: Image) -> None:
    whole = changed(first, (first.data + second.data) / 2)

    with pytest.raises(ValueError, match=r"(0\.9|1\.0)\d of the noise .*expected 0.3 to 0.7"):
        halves.check_halves(first, whole, NAMES)

    with pytest.raises(ValueError, match=r"of the noise .*expected 0.3 to 0.7"):
        halves.check_halves(whole, first, NAMES)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_mirrored_half_is_refused(first: Image, second: Image, axis: int) -> None:
    mirrored = changed(second, np.flip(second.data, axis))
    with pytest.raises(ValueError, match="is coarser than 30 mm; expected at most 10%"):
        halves.check_halves(first, mirrored, NAMES)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [1, -1])
def test_a_half_shifted_by_one_voxel_is_refused(
    first: Image, second: Image, axis: int, shift: int
) -> None:
    shifted = changed(second, np.roll(second.data, shift, axis))
    moved_back = f"moved by {-shift:+d} along axis {'xyz'[axis]}"

    with pytest.raises(ValueError, match=re.escape(moved_back)):
        halves.check_same_position(first, shifted, NAMES)
    with pytest.raises(ValueError, match="expected"):
        halves.check_halves(first, shifted, NAMES)


def test_another_patient_is_refused_by_the_images_alone(first: Image) -> None:
    other = measured(activity(organ_at=(20, 10, 10)), seed=9)
    with pytest.raises(ValueError, match="another patient, position, time or orientation"):
        halves.check_halves(first, other, NAMES)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("FrameDuration", [120.0], "expected 60 s within 10% as in a.nii.gz, got 120 s"),
        ("ScanStart", 9000.0, "starts 5400 s from a.nii.gz, which lasts 60 s"),
        ("InjectedRadioactivity", 200.0, "expected 300 as in a.nii.gz, got 200: another"),
        ("BodyWeight", 90.0, "expected 70 as in a.nii.gz, got 90: another"),
        ("TracerName", "PSMA", "TracerName: expected 'FDG' as in a.nii.gz, got 'PSMA'"),
    ],
)
def test_sidecars_that_contradict_are_refused(
    first: Image, second: Image, key: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        halves.check_halves(first, changed(second, **{key: value}), NAMES)

    assert str(refused.value).startswith("b.nii.gz: ")


def test_halves_that_follow_one_another_are_taken() -> None:
    halves.check_same_time(SIDECAR, {**SIDECAR, "FrameTimesStart": [60]}, NAMES)
    clock = {"TimeZero": "23:59:30"}
    halves.check_same_time({**SIDECAR, **clock}, {**SIDECAR, "TimeZero": "00:00:30"}, NAMES)

    with pytest.raises(ValueError, match="starts 3600 s from"):
        other_day = {**SIDECAR, "TimeZero": "11:00:00"}
        halves.check_same_time({**SIDECAR, "TimeZero": "10:00:00"}, other_day, NAMES)


def test_what_a_sidecar_does_not_say_is_not_compared() -> None:
    halves.check_same_injection(SIDECAR, {}, NAMES)
    halves.check_same_time(SIDECAR, {}, NAMES)


def test_the_same_place_is_seen_through_noise_and_blur(first: Image) -> None:
    clean = changed(first, activity())
    halves.check_same_place(first, clean, NAMES)

    with pytest.raises(ValueError, match=r"correlation of -?0\.\d+ with a\.nii\.gz"):
        halves.check_same_place(first, changed(first, np.roll(activity(), 14, 1)), NAMES)


def test_an_empty_image_is_refused(first: Image) -> None:
    empty = changed(first, np.zeros_like(first.data))
    with pytest.raises(ValueError, match="nothing in the images"):
        halves.check_independent(empty, empty, NAMES)
