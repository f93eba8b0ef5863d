"""What a network of a chain is made from, beyond its own data: the old task. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping

from .sections import NetworkEntry, Training


def old_task(name: str, networks: Mapping[str, NetworkEntry]) -> str:
    """The data that the network at the start of `name`'s chain was trained on from scratch: its old
    task.
    """
    while (base := networks[name].base) is not None:
        name = base

    return networks[name].data


def needs_old_data(entry: NetworkEntry, adapt: Training) -> bool:
    """Whether old data are read: for replay, for EWC's Fisher information, to choose a penalty's
    strength, or where the trainings of a protocol log the loss on them.
    """
    needed = entry.replay > 0 or entry.penalty == "ewc" or chooses_strength(entry)
    return needed or logs_old_task(entry, adapt)


def logs_old_task(entry: NetworkEntry, adapt: Training) -> bool:
    """Whether the log of a network's training tells the old task's loss: that of an adaptation to a
    protocol, where asked for.
    """
    return adapt.log_old and entry.data == "adapt" and entry.method != "train"


def counts_alive(entry: NetworkEntry) -> bool:
    """Whether the kernels to retrain are a fraction of the living ones, beside all dead."""
    return entry.fraction is not None and entry.fraction_of == "alive"


def chooses_strength(entry: NetworkEntry) -> bool:
    """Whether the penalty's strength is to be chosen."""
    return entry.penalty != "none" and entry.strength is None
