"""What is missing in a results folder gives no finding but a line that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from metrics_table import row
from tgdpet.config.loading import read_config as read_config
from tgdpet.evaluation import voi_values
from tgdpet.evaluation.findings import (
    findings,
    task_errors,
)
from tgdpet.evaluation.seed_runs import load_runs
from tgdpet.io.files import write_csv

NAN = float("nan")


def test_a_missing_network_gives_no_row_but_a_line(copy: Callable[[int], Path]) -> None:
    one, two = copy(1), copy(2)
    path = two / "metrics" / "lesion_voi.npz"
    values = voi_values.read_voi_values(path)
    without = {
        name: replace(p, networks={n: v for n, v in p.networks.items() if n != "FT-net"})
        for name, p in values.protocols.items()
    }
    voi_values.write_voi_values(path, replace(values, protocols=without))
    table, gaps = findings(load_runs([two]))
    assert not (table.measure == "liver CoV, TGD-net minus FT-net").any()
    words = f"cannot be judged in {two}: study lesion, v2: network FT-net was not measured"
    assert f"finding 2 (liver CoV, TGD-net minus FT-net) {words}" in gaps
    both, gaps = findings(load_runs([one, two]))
    assert row(both, "liver CoV, TGD-net minus FT-net").seeds == 1 and len(gaps) == 3
    assert row(both, "liver CoV, TGD-net minus v2-net").seeds == 2
    assert "FT-net" not in set(task_errors(load_runs([two]))[0].network)


def test_a_missing_study_table_or_measure_gives_no_row_but_a_line(
    copy: Callable[[int], Path],
) -> None:
    root = copy(1)
    metrics = pd.read_csv(root / "metrics" / "metrics.csv")
    write_csv(root / "metrics" / "metrics.csv", metrics[metrics.study != "catheter"])
    (root / "kse" / "drop.csv").unlink()
    (root / "benchmarks" / "reconstruct" / "train01_v2.tsv").unlink()
    table, gaps = findings(load_runs([root]))
    assert not (table.finding == 4).any() and not table.measure.str.contains("catheter").any()
    assert list(table[table.finding == 7].measure) == ["time saved, training alone"]
    for words in (
        "no study of role test_catheter",
        "kse/drop.csv was not made",
        "1 of 7 benchmark files are missing",
    ):
        assert any(words in gap for gap in gaps), words
    assert all(gap.startswith("finding ") and str(root) in gap for gap in gaps)


def test_a_missing_protocol_organ_threshold_or_table_of_studies_gives_a_line(
    copy: Callable[[int], Path],
) -> None:
    root = copy(1)
    for study, protocol, measure in (("highbmi", "v1", ""), ("bladder", "", "liver_cov_spatial")):
        path = root / "metrics" / f"{study}_voi.npz"
        values = voi_values.read_voi_values(path)
        protocols = {
            name: replace(
                p,
                networks={
                    n: replace(v, errors={m: e for m, e in v.errors.items() if m != measure})
                    for n, v in p.networks.items()
                },
            )
            for name, p in values.protocols.items()
            if name != protocol
        }
        voi_values.write_voi_values(path, replace(values, protocols=protocols))
    drop = pd.read_csv(root / "kse" / "drop.csv")
    write_csv(root / "kse" / "drop.csv", drop[drop.phi != 0.4])
    raw = yaml.safe_load((root / "config.yaml").read_text())
    (root / "config.yaml").write_text(yaml.safe_dump({**raw, "studies": "gone.tsv"}))
    table, gaps = findings(load_runs([root]))
    assert (
        "change at phi = 0.3, less the visible 2 %" in set(table.measure)
        and not (table.finding == 7).any()
    )
    reasons = {
        "error on v1 images, TGD-net minus FT-net": "study highbmi, v1: there are no such images",
        "bladder-study liver CoV, TGD-N2N over v2-net, less 10 %": "study bladder, v2: liver",
        "change at phi = 0.4, less the visible 2 %": "kse/drop.csv has 0 rows of phi = 0.4",
        "time saved, training alone": "the table of studies is not there: gone.tsv",
    }
    for measure, reason in reasons.items():
        expected = f"{measure}) cannot be judged in {root}: {reason}"
        assert any(expected in gap for gap in gaps), expected
