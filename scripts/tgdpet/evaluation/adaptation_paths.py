"""How much an adaptation gains and forgets on its way: its losses on held-out data of both tasks.

End points of two methods cannot be compared where one gains more and forgets more; at equal gain
they can.
"""

from __future__ import annotations

import math

import pandas as pd

from ..config.paths import RunFiles
from ..io.contents import Anything, CellKind, Number, Object, check
from ..io.files import read_json
from . import changes
from .timing import read_log

NOTHING = 1e-9  # %: a gain that is none
START = Object(
    {"start_validation_loss": Number(above=0), "start_old_loss": Number(above=0)}, others=Anything()
)
LOSSES: dict[str, CellKind] = {
    "step": Number(low=0, whole=True),
    "validation_loss": Number(low=0, optional=True),
    "old_loss": Number(low=0, optional=True),
}


def read_path(results: RunFiles, network: str) -> pd.DataFrame:
    """step, gain and forgetting of an adaptation at each row of its log, before it first.

    gain: how much lower the loss on the new task is than the base's, forgetting: how much higher
    that on the old task, %; both on held-out patches. Raises ValueError naming the file and what it
    lacks.
    """
    sidecar = results.training_sidecar(network)
    start = read_json(sidecar)
    check(start, START, sidecar)

    log = read_log(results.training_log(network), LOSSES).dropna(subset=list(LOSSES))
    gain = changes.gain(log["validation_loss"], start["start_validation_loss"])
    forgetting = changes.forgetting(log["old_loss"], start["start_old_loss"])
    table = pd.DataFrame({"step": log["step"], "gain": gain, "forgetting": forgetting})
    before = pd.DataFrame({"step": [0], "gain": [0.0], "forgetting": [0.0]})

    return pd.concat([before, table], ignore_index=True)


def forgetting_at(path: pd.DataFrame, gain: float) -> float:
    """The least forgetting (%) at which the way has gained at least `gain` (%); nan if it never
    does.
    """
    there = path[path["gain"] >= gain - NOTHING]

    return float(there["forgetting"].min()) if len(there) else math.nan


def forgetting_at_equal_gain(path: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float, float]:
    """Forgetting (%) of both where each has gained what the lesser of them gains at most, and that
    gain (%).
    """
    gain = min(path["gain"].max(), other["gain"].max())

    return forgetting_at(path, gain), forgetting_at(other, gain), float(gain)
