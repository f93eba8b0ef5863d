"""Gain and forgetting: what an adapted network's errors are, compared with its base network's.

One meaning in the whole project. The gain is how much smaller the error on the new task (v2 images)
got, the forgetting how much larger the one on the old task (v1 images), both in % of the base's.
The error is a loss in the sweep over phi and for the choice of a penalty's strength, and the RMSE
in the body everywhere else.
"""

from __future__ import annotations

from typing import Any


def percent_change(error: Any, base_error: Any) -> Any:
    """How much larger an error is than the base's, %; of numbers or arrays."""
    return 100 * (error / base_error - 1)


def gain(new_task_error: Any, base_error: Any) -> Any:
    """How much smaller the error on the new task is than the base's, %."""
    return -percent_change(new_task_error, base_error)


def forgetting(old_task_error: Any, base_error: Any) -> Any:
    """How much larger the error on the old task is than the base's, %."""
    return percent_change(old_task_error, base_error)
