"""Gain and forgetting are signed as their names say, for numbers and for arrays."""

import numpy as np
import pytest

from tgdpet.evaluation.changes import forgetting, gain, percent_change


def test_less_error_on_the_new_task_is_a_gain() -> None:
    assert gain(8.0, 10.0) == pytest.approx(20)
    assert gain(12.0, 10.0) == pytest.approx(-20)


def test_more_error_on_the_old_task_is_forgetting() -> None:
    assert forgetting(12.0, 10.0) == pytest.approx(20)
    assert forgetting(8.0, 10.0) == pytest.approx(-20)


def test_arrays_are_compared_with_one_base() -> None:
    errors = np.array([10.0, 5.0, 20.0])
    np.testing.assert_allclose(percent_change(errors, errors[0]), [0, -50, 100])
    np.testing.assert_array_equal(gain(errors, errors[0]), -forgetting(errors, errors[0]))
