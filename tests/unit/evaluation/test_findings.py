"""The findings: effects that agree with the tables, seeds that count, and what cannot be judged."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from metrics_table import retention, row
from tgdpet.config.loading import read_config as read_config
from tgdpet.config.studies import read_studies
from tgdpet.evaluation import findings as findings_module
from tgdpet.evaluation import voi_values
from tgdpet.evaluation.estimates import read_table1
from tgdpet.evaluation.findings import (
    FINDINGS_COLUMNS,
    TITLES,
    findings,
    holds,
    read_findings,
    task_errors,
)
from tgdpet.evaluation.paper_claims import claims
from tgdpet.evaluation.results import Results
from tgdpet.evaluation.seed_runs import load_runs
from tgdpet.io.files import write_csv

NAN = float("nan")


def scale(path: Path, network: str, factor: float) -> None:
    """Multiply a network's errors and noise in a study's file."""
    values = voi_values.read_voi_values(path)
    protocols = {}
    for name, protocol in values.protocols.items():
        own = protocol.networks[network]
        errors = {measure: error * factor for measure, error in own.errors.items()}
        protocols[name] = replace(
            protocol, networks={**protocol.networks, network: replace(own, errors=errors)}
        )
    voi_values.write_voi_values(path, replace(values, protocols=protocols))


def test_every_finding_has_rows_that_agree_with_the_tables(made: Path) -> None:
    table, gaps = findings(load_runs([made]))
    assert (
        list(table.columns) == FINDINGS_COLUMNS and set(table.finding) == set(TITLES) and not gaps
    )
    results = Results(
        made, read_config(made / "config.yaml"), read_studies(made.parent / "studies.tsv")
    )
    one = read_table1(made / "metrics" / "estimates.csv").set_index("network")
    noise = row(table, "liver CoV, v1-net minus v2-net")
    assert noise.effect == pytest.approx(
        one.liver_cov["v1-net"] - one.liver_cov["v2-net"], rel=1e-5
    )
    assert noise.low < noise.effect < noise.high < 0 and noise.holds == "yes"
    assert (noise.seeds, noise.studies, noise.realisations, noise.paper) == (1, 1, 4, -2.54)
    bias = row(table, "lesion bias, v1-net minus v2-net")
    assert bias.effect == pytest.approx(
        one.lesion_bias["v1-net"] - one.lesion_bias["v2-net"], rel=1e-5
    )
    size = row(table, "size of lesion bias, TGD-net minus v2-net")
    assert size.effect == pytest.approx(
        abs(one.lesion_bias["TGD-net"]) - abs(one.lesion_bias["v2-net"]), rel=1e-5
    )
    assert (bias.paper, size.paper) == (-2.23, -0.3)
    kept = retention(results).set_index("network")
    forgot = row(table, "error on v1 images, TGD-net minus FT-net")
    assert forgot.effect == pytest.approx(kept.forgotten["TGD-net"] - kept.forgotten["FT-net"])
    errors = task_errors(load_runs([made]))[0].set_index("network")
    assert errors.old["TGD-net"] == pytest.approx(kept.forgotten["TGD-net"])
    assert errors.new["TGD-net"] == pytest.approx(-kept.gain["TGD-net"])
    assert list(errors.index) == ["v1-net", "v2-net", "FT-net", "TGD-net"]
    bladder = results.measured("bladder_error", "test_bladder", "TGD-net")
    better = results.measured("bladder_error", "test_bladder", "TGD2-N2N")
    assert row(table, "bladder error, TGD2-N2N minus TGD-net").effect == pytest.approx(
        better - bladder
    )
    assert row(table, "time saved, reconstruction and training").effect == pytest.approx(
        100 * (1 - 57 / 142)
    )


def test_rows_of_on_par_are_those_of_table_1_less_their_margins(made: Path) -> None:
    table, _ = findings(load_runs([made]))
    for measure, margin in (
        ("size of lesion bias, TGD-net minus v2-net", "2 points"),
        ("liver CoV, TGD-net minus v2-net", "1 point"),
    ):
        strict = row(table, measure)
        par = row(table, f"{measure}, less {margin}")
        points = float(margin.split()[0])
        assert par.effect == pytest.approx(strict.effect - points)
        assert par.paper == pytest.approx(strict.paper - points)
        assert par.high - par.low == pytest.approx(strict.high - strict.low)


def test_comparisons_of_forgetting_are_corrected_for_their_number(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = "error on v1 images, TGD-net minus FT-net"
    alone = row(findings(load_runs([made]))[0], measure)
    assert "interval of 95.0 %, by Holm over all rows of forgetting" in alone.note

    several = [claim for claim in claims(load_runs([made])[0].config) if claim.family]
    monkeypatch.setattr(findings_module, "claims", lambda _: several * 8)
    rows = findings(load_runs([made]))[0]
    levels = sorted(rows.note.str.extract(r"interval of ([\d.]+) %")[0].astype(float))
    assert levels == pytest.approx([100 - 5 / n for n in range(1, 9)], abs=0.06)

    widths = rows.high - rows.low
    assert widths.max() > 1.5 * widths.min()


def test_forgetting_at_equal_gain_is_a_row_where_it_was_logged(
    copy: Callable[[int], Path],
) -> None:
    measure = "loss on v1 patches at equal gain, TGD-net minus FT-net"
    roots = [copy(1), copy(2)]
    for root in roots:
        log = root / "adapted" / "FT-net_log.csv"
        table = pd.read_csv(log)
        table.assign(old_loss=table.old_loss * 1.5).to_csv(log, index=False)

    found = row(findings(load_runs(roots))[0], measure)
    assert found.effect < 0 and found.seeds == 2 and "at a gain of" in found.note

    (roots[1] / "adapted" / "FT-net_log.csv").write_text("step,loss\n1,0.1\n")
    table, gaps = findings(load_runs(roots[1:]))
    assert measure not in set(table.measure)
    assert any("FT-net_log.csv" in gap and measure in gap for gap in gaps)


def test_one_seed_says_what_its_intervals_do_not_cover(made: Path) -> None:
    table, _ = findings(load_runs([made]))
    assert "noise realisations only" in row(table, "liver CoV, v1-net minus v2-net").note
    assert (
        "single image adds nothing" in row(table, "error on v1 images, TGD-net minus FT-net").note
    )
    once = row(table, "bladder error, v2-net minus input")
    assert np.isnan(once.low) and once.holds == "unclear" and "measured once" in once.note
    dropped = row(table, "change at phi = 0.3, less the visible 2 %")
    assert "of the kernels and" in dropped.note and "(paper: 51.4 %)" in dropped.note


def test_seeds_give_intervals_to_what_is_measured_once_each(copy: Callable[[int], Path]) -> None:
    roots = [copy(seed) for seed in range(1, 7)]
    for number, root in enumerate(roots):
        scale(root / "metrics" / "bladder_voi.npz", "v2-net", 1 + 0.01 * number)
    table, gaps = findings(load_runs(roots))
    once = row(table, "bladder error, v2-net minus input")
    assert not gaps and once.seeds == once.studies == once.realisations == 6
    assert once.low < once.effect < once.high and once.holds == "yes" and once.note == ""
    assert (
        "3 seeds are few"
        in row(findings(load_runs(roots[:3]))[0], "bladder error, v2-net minus input").note
    )
    again, _ = findings(load_runs(roots))
    pd.testing.assert_frame_equal(table, again)


def test_what_is_no_repetition_is_refused(copy: Callable[[int], Path]) -> None:
    one, two = copy(1), copy(2)
    with pytest.raises(ValueError, match=r"seed1: seed 1 is that of .*seed1, so no repetition"):
        load_runs([one, two, one])
    raw = yaml.safe_load((two / "config.yaml").read_text())
    (two / "config.yaml").write_text(
        yaml.safe_dump({**raw, "figures": {"voxels": True}, "device": "cpu"})
    )
    assert len(load_runs([one, two])) == 2  # how images are shown changes no number

    (two / "config.yaml").write_text(
        yaml.safe_dump({**raw, "train": {"epochs": 3}, "device": "cpu"})
    )
    with pytest.raises(ValueError, match=r"seed2/config.yaml: train.epochs differs from .*seed1"):
        load_runs([one, two])


@pytest.mark.parametrize(
    ("side", "low", "high", "answer"),
    [
        (-1, -2, -1, "yes"),
        (-1, 1, 2, "no"),
        (-1, -1, 1, "unclear"),
        (-1, -1, 0, "unclear"),
        (-1, 0, 1, "unclear"),
        (1, 1, 2, "yes"),
        (1, -2, -1, "no"),
        (1, 0, 2, "unclear"),
        (1, NAN, NAN, "unclear"),
        (1, 1, NAN, "unclear"),
        (1, 1, 1, "yes"),
        (1, 0, 0, "unclear"),
    ],
)
def test_a_claim_holds_where_the_interval_lies_on_its_side(
    side: int, low: float, high: float, answer: str
) -> None:
    assert holds(side, low, high) == answer


def test_two_realisations_are_too_few_for_an_interval(copy: Callable[[int], Path]) -> None:
    root = copy(1)
    path = root / "metrics" / "lesion_voi.npz"
    values = voi_values.read_voi_values(path)
    protocols = {
        name: replace(protocol, samples=("30s", "60s", *protocol.samples[2:]))
        for name, protocol in values.protocols.items()
    }
    voi_values.write_voi_values(path, replace(values, protocols=protocols))
    table, gaps = findings(load_runs([root]))
    assert not table.finding.isin([1, 2]).any()
    assert sum("2 realisations; an interval takes at least 3" in gap for gap in gaps) == 7


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("metrics/metrics.csv", "value"),
        ("kse/drop.csv", "relative_change"),
        ("benchmarks/dataset/v2.tsv", "s"),
    ],
)
def test_nan_in_a_table_is_refused_with_the_files_name(
    copy: Callable[[int], Path], name: str, column: str
) -> None:
    root = copy(1)
    table = pd.read_csv(root / name, sep="\t" if name.endswith("tsv") else ",")
    table.loc[0, column] = NAN
    write_csv(root / name, table)
    with pytest.raises(ValueError, match=rf"seed1/{name}: column '{column}'"):
        findings(load_runs([root]))


def test_an_effect_that_is_no_number_is_refused_by_name(copy: Callable[[int], Path]) -> None:
    root = copy(1)
    scale(root / "metrics" / "highbmi_voi.npz", "FT-net", 0.0)
    with pytest.raises(
        ValueError,
        match=r"finding 3 \(high-BMI liver RMSE, TGD-net over FT-net\): the effect is inf",
    ):
        findings(load_runs([root]))


def test_a_table_of_findings_is_checked_when_read(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    table = read_findings(made / "metrics" / "findings.csv")
    assert len(table) == len(findings(load_runs([made]))[0]) and table.note.notna().all()
    for change, words in (
        (
            {"holds": "perhaps"},
            "column 'holds', row 2: expected one of yes, no, unclear",
        ),
        ({"effect": NAN}, "column 'effect', row 2: no value"),
        ({"finding": 8}, "column 'finding', row 2: expected a whole number >= 1 and <= 7, got 8"),
    ):
        write_csv(path, table.assign(**change))
        with pytest.raises(ValueError, match=rf"findings\.csv: {words}"):
            read_findings(path)
    write_csv(path, table.drop(columns="low"))
    with pytest.raises(ValueError, match="column 'low' is missing"):
        read_findings(path)


def test_the_script_writes_both_tables_and_says_what_is_missing(
    copy: Callable[[int], Path], root: Path
) -> None:
    results = copy(1)
    (results / "kse" / "drop.csv").unlink()
    out = results / "out"
    command = [
        sys.executable,
        root / "scripts/09_findings.py",
        "--results",
        results,
        "--out",
        out / "f.csv",
    ]
    done = subprocess.run(
        [*command, "--out-gain", out / "g.csv"],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    )
    assert "finding 4" in done.stdout and "kse/drop.csv was not made" in done.stdout
    assert len(read_findings(out / "f.csv")) and len(pd.read_csv(out / "g.csv")) == 4
    (results / "metrics" / "lesion_voi.npz").write_bytes(b"x")
    failed = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert (
        failed.returncode == 1
        and failed.stderr.startswith("error: ")
        and "lesion_voi.npz" in failed.stderr
    )
