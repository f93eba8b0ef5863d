"""Numbers of a results folder taken straight from its metrics, to check the estimates against."""

from __future__ import annotations

import math

import pandas as pd

from tgdpet.config.roles import BLADDER, BOTH_PROTOCOLS, CATHETER
from tgdpet.evaluation.results import INPUT, Results


def error(results: Results, network: str, protocol: str) -> float:
    """RMSE (Bq/mL), mean over the low- and the high-BMI study."""
    values = [results.measured("rmse", role, network, protocol) for role in BOTH_PROTOCOLS]
    return sum(values) / len(values)


def retention(results: Results) -> pd.DataFrame:
    """RMSE of every network on both tasks, and its gain and forgetting against its base, %."""
    rows = []

    for network in (INPUT, *results.population(())):
        entry = results.config.networks.get(network)
        base = entry.base if entry else None
        old = error(results, network, "v1")
        new = error(results, network, "v2")
        gain = forgotten = math.nan

        if base:
            gain = 100 * (1 - new / error(results, base, "v2"))
            forgotten = 100 * (old / error(results, base, "v1") - 1)

        rows.append((network, base or "", old, new, gain, forgotten))

    columns = ["network", "base", "rmse_v1", "rmse_v2", "gain", "forgotten"]
    return pd.DataFrame(rows, columns=columns)


def unseen(results: Results) -> pd.DataFrame:
    """Errors (%) at the bladder and catheter that no network was trained on."""
    networks = (INPUT, *results.population(("v2-net", "TGD-net")), *results.online())
    rows = []

    for network in networks:
        bladder = results.measured("bladder_error", BLADDER, network)
        catheter = results.measured("catheter_error", CATHETER, network)
        rows.append((network, bladder, catheter))

    return pd.DataFrame(rows, columns=["network", "bladder_error", "catheter_error"])


def row(table: pd.DataFrame, measure: str) -> pd.Series:
    """The one row of a table of findings with this measure."""
    found = table[table.measure == measure]
    assert len(found) == 1, (measure, list(table.measure))
    return found.iloc[0]
