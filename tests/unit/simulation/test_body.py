"""The body's outline in a CT: arms belong to it, the couch does not, and it may be cut by the field
of view.
"""

from __future__ import annotations

import numpy as np
import pytest

from tgdpet.simulation.anatomy.body import RIM, RIM_MM, SOFT_TISSUE, from_ct, from_labels

AFFINE = np.diag([4.0, 4.0, 6.0, 1.0])
ARM, COUCH = (slice(4, 10), slice(18, 26)), (slice(0, 60), slice(2, 4))


def ct() -> tuple[np.ndarray, np.ndarray]:
    """A trunk cut by the field of view on one side, an arm, a couch; the arm's bone and the trunk
    are labelled.
    """
    hu, labels = np.full((60, 50, 12), -1000.0, np.float32), np.zeros((60, 50, 12), bool)
    hu[16:60, 10:40], hu[ARM], hu[COUCH] = 40, 40, 0
    hu[30:36, 20:30] = -850  # lung
    labels[6:8, 20:23], labels[40:50, 15:35] = True, True
    return hu, labels


def test_labelled_parts_belong_to_the_body_and_the_couch_does_not():
    hu, labels = ct()
    body, affine = from_ct(hu, AFFINE, lambda a, shape: labels)
    assert np.array_equal(affine, AFFINE) and body.dtype == np.uint8
    assert (body[5:9, 19:25] == SOFT_TISSUE).all() and not body[COUCH].any()
    assert (body[30:36, 20:30] == SOFT_TISSUE).all()  # holes are filled
    without, _ = from_ct(hu, AFFINE, lambda a, shape: labels & (np.arange(60) > 12)[:, None, None])
    assert not without[ARM].any() and np.array_equal(without[12:], body[12:])


def test_a_field_of_view_too_narrow_cuts_nothing_more_off():
    hu, labels = ct()
    body, _ = from_ct(hu, np.diag([2.0, 2.0, 6.0, 1.0]), lambda a, shape: labels)
    assert (body[57:, 10:40] == SOFT_TISSUE).all()


@pytest.mark.parametrize("axial", [0, 1, 2])
def test_slices_are_taken_across_the_body_however_stored(axial: int):
    hu, labels = ct()
    order = np.roll([0, 1, 2], axial - 2)  # z is stored along `axial`
    affine = AFFINE @ np.eye(4)[:, [*order, 3]]
    body, _ = from_ct(hu.transpose(order), affine, lambda a, shape: labels.transpose(order))
    np.testing.assert_array_equal(
        body, from_ct(hu, AFFINE, lambda a, shape: labels)[0].transpose(order)
    )
    alone = from_labels(labels.transpose(order).astype(int), affine)
    np.testing.assert_array_equal(alone, from_labels(labels.astype(int), AFFINE).transpose(order))


def test_a_fine_ct_gives_a_coarser_outline():
    hu, labels = ct()
    fine = np.diag([1.0, 1.0, 6.0, 1.0])
    body, affine = from_ct(hu, fine, lambda a, shape: labels[::2, ::2])
    assert body.shape == (30, 25, 12) and np.array_equal(np.diag(affine), [2, 2, 6, 1])


def test_around_labels_alone_lies_a_rim():
    labels = np.zeros((60, 50, 3), int)
    labels[20:40, 20:30, 1], labels[28:32, 35, 1] = 1, 2
    labels[10, 10, 2] = 1  # a single voxel has no hull
    body = from_labels(labels, AFFINE)
    assert not body[:, :, 0].any()
    assert (body[20:40, 20:30, 1] == SOFT_TISSUE).all() and body[30, 33, 1] == SOFT_TISSUE
    assert body[41, 25, 1] == RIM and not body[40 + int(RIM_MM // 4), 25, 1]
    assert body[10, 10, 2] == SOFT_TISSUE and body[12, 10, 2] == RIM
