"""A sweep over phi: the networks that it takes, and what its tables hold. No torch in here."""

from __future__ import annotations

import math
from dataclasses import replace

from .sections import Config, NetworkEntry, needs_old_data, old_task

PLAIN = (
    math.inf
)  # stands for plain fine-tuning of all blocks: there is no kernel that it leaves as it was
BLOCKS = 8
# One run: what is below each phi, what dropping that changes, and the losses of the network
# retrained there.
MEASURED = [
    "network", "phi", "kernels_below", "kernels_total", "parameters_below", "parameters_total", "relative_change",
    "old_loss", "new_loss", "old_held_out", "new_held_out",
]  # fmt: skip
# One run or several: shares, changes, gain, forgetting in %, 95 % intervals over seeds, what is
# allowed, the choice.
CHOICE = [
    "phi", "kernels", "parameters", "change", "change_low", "change_high", "gain", "gain_low", "gain_high",
    "forgetting", "forgetting_low", "forgetting_high", "allowed", "seeds", "best_of_seeds", "held_out", "recommended",
]  # fmt: skip


def networks(config: Config) -> dict[float, str]:
    """phi -> the network that is retrained at it, then `PLAIN` -> plain fine-tuning; empty without
    a sweep.

    A configured network that is made just so is taken. The others are named NETWORK@PHI, as no
    configured one can be.
    """
    names = {entry: name for name, entry in reversed(config.networks.items())}
    own = {phi: _own_name(config, phi) for phi in (*sorted(config.sweep.phi), PLAIN)}
    return {phi: names.get(entry, own[phi]) for phi, entry in _wanted(config).items()}


def entries(config: Config) -> dict[str, NetworkEntry]:
    """The configured networks, then those that only the sweep needs."""
    wanted = _wanted(config)
    return {**config.networks, **{name: wanted[phi] for phi, name in networks(config).items()}}


def datasets(config: Config) -> set[str]:
    """The training sets that any network or the sweep reads; a network that is taken from a file
    reads none.
    """
    made = entries(config)
    old = [name for name, entry in made.items() if needs_old_data(entry)]
    old += [config.sweep.network] if config.sweep.phi else []
    return {entry.data for entry in made.values() if entry.weights is None} | {
        old_task(name, made) for name in old
    }


def _own_name(config: Config, phi: float) -> str:
    return f"{config.sweep.network}@{'all' if phi == PLAIN else f'{phi:g}'}"


def _wanted(config: Config) -> dict[float, NetworkEntry]:
    if not config.sweep.phi:
        return {}
    entry = config.networks[config.sweep.network]
    batchnorm = (
        entry.batchnorm if entry.batchnorm != "per_channel" else "eval"
    )  # fine-tuning has no such choice
    plain = NetworkEntry("finetune", entry.data, entry.base, blocks=BLOCKS, batchnorm=batchnorm)
    return {
        **{phi: replace(entry, phi=phi, fraction=None) for phi in sorted(config.sweep.phi)},
        PLAIN: plain,
    }
