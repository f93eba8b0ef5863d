"""Which of several trained networks is chosen: gain against forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

JUDGED_PATCHES = 1024  # to compare networks by; patches differ in loss by factors
FORGETTING_ALLOWED = 0.5  # what a chosen strength may forget, of what plain fine-tuning forgets


def chosen(tried: Sequence[Mapping[str, float]], base_loss: float, plain_loss: float) -> int:
    """Index of the best trade between the new and the old task.

    The least `new_loss` among those that forget at most half of what plain training does. What a
    network forgets is its `old_loss` less the base's; `plain_loss` is the `old_loss` of plain
    training (for instance that of the weakest strength tried). Where plain training forgets
    nothing, nothing may be forgotten; where none stays within, the least `old_loss` is taken. The
    first of equals.
    """
    limit = allowed(base_loss, plain_loss)
    kept = [i for i, losses in enumerate(tried) if losses["old_loss"] <= limit]
    if kept:
        return min(kept, key=lambda i: tried[i]["new_loss"])

    every = range(len(tried))
    return min(every, key=lambda i: tried[i]["old_loss"])


def allowed(base_loss: float, plain_loss: float) -> float:
    """The largest `old_loss` that `chosen` lets pass, where one does."""
    plain_forgetting = max(0.0, plain_loss - base_loss)

    return base_loss + FORGETTING_ALLOWED * plain_forgetting
