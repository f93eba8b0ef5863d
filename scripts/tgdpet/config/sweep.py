"""A sweep over phi: the networks that it takes, and what its tables hold. No torch in here."""

from __future__ import annotations

import math
from dataclasses import replace

from ..io.contents import CellKind, Number, Text, Truth
from .chains import needs_old_data, old_task
from .sections import Config, NetworkEntry

# Stands for plain fine-tuning of all blocks: there is no kernel that it leaves as it was.
PLAIN = math.inf
BLOCKS = 8
_COUNT = Number(low=0, whole=True)
_PHI = Number(low=0, infinite=True)
_MAY_LACK = Number(optional=True)  # nothing is dropped at PLAIN; a single seed has no intervals
_YES_NO = Text(choices=("yes", "no"))
# One run: what is below each phi, what dropping that changes, and the losses of the network
# retrained there.
MEASURED_KINDS: dict[str, CellKind] = {
    "network": Text(),
    "phi": _PHI,
    "kernels_below": _COUNT,
    "kernels_total": _COUNT,
    "parameters_below": _COUNT,
    "parameters_total": _COUNT,
    "relative_change": _MAY_LACK,
    "old_loss": Number(),
    "new_loss": Number(),
    "old_held_out": Truth(),
    "new_held_out": Truth(),
}
# One run or several: shares, changes, gain, forgetting in %, 95 % intervals over seeds, what is
# allowed, the choice.
CHOICE_KINDS: dict[str, CellKind] = {
    "phi": _PHI,
    "kernels": Number(),
    "parameters": Number(),
    "change": _MAY_LACK,
    "change_low": _MAY_LACK,
    "change_high": _MAY_LACK,
    "gain": Number(),
    "gain_low": _MAY_LACK,
    "gain_high": _MAY_LACK,
    "forgetting": Number(),
    "forgetting_low": _MAY_LACK,
    "forgetting_high": _MAY_LACK,
    "allowed": Number(),
    "seeds": _COUNT,
    "best_of_seeds": _COUNT,
    "held_out": _YES_NO,
    "recommended": _YES_NO,
}
MEASURED = list(MEASURED_KINDS)
CHOICE = list(CHOICE_KINDS)


def networks(config: Config) -> dict[float, str]:
    """phi -> the network that is retrained at it, then `PLAIN` -> plain fine-tuning; empty without
    a sweep.

    A configured network that is made just so is taken. The others are named NETWORK@PHI, as no
    configured one can be.
    """
    # Of two that are made the same way, the first counts.
    configured = {entry: name for name, entry in reversed(config.networks.items())}

    names = {}
    for phi, entry in _wanted(config).items():
        names[phi] = configured.get(entry, _name_at(config, phi))

    return names


def entries(config: Config) -> dict[str, NetworkEntry]:
    """The configured networks, then those that only the sweep needs."""
    wanted = _wanted(config)

    every = dict(config.networks)
    for phi, name in networks(config).items():
        every[name] = wanted[phi]

    return every


def datasets(config: Config) -> set[str]:
    """The training sets that any network or the sweep reads; a network that is taken from a file
    reads none.
    """
    made = entries(config)

    names = set()
    for name, entry in made.items():
        if entry.weights is None:
            names.add(entry.data)

        if needs_old_data(entry, config.adapt):
            names.add(old_task(name, made))

    if config.sweep.phi:
        names.add(old_task(config.sweep.network, made))

    return names


def _name_at(config: Config, phi: float) -> str:
    shown = "all" if phi == PLAIN else f"{phi:g}"

    return f"{config.sweep.network}@{shown}"


def _wanted(config: Config) -> dict[float, NetworkEntry]:
    """phi -> how the network at it is made, in the order of phi, `PLAIN` last."""
    if not config.sweep.phi:
        return {}

    entry = config.networks[config.sweep.network]
    made = {}
    for phi in sorted(config.sweep.phi):
        made[phi] = replace(entry, phi=phi, fraction=None, fraction_of="all")

    # Fine-tuning has no batch normalisation per channel.
    batchnorm = "eval" if entry.batchnorm == "per_channel" else entry.batchnorm
    made[PLAIN] = NetworkEntry(
        method="finetune",
        data=entry.data,
        base=entry.base,
        blocks=BLOCKS,
        batchnorm=batchnorm,
    )

    return made
