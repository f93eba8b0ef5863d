"""The findings: effects that agree with the tables, seeds that count, and what cannot be judged."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fabricate
from metrics_table import retention
from tgdpet.config.loading import read_config as read_config
from tgdpet.config.studies import read_studies
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
from tgdpet.evaluation.results import Results
from tgdpet.evaluation.seed_runs import load_runs
from tgdpet.io.files import write_csv

NAN = float("nan")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A copy of the tables and values, as if made from another seed."""

    def make(seed: int = 2021) -> Path:
        root = tmp_path / f"seed{seed}"
        for part in ("metrics", "kse", "benchmarks"):
            shutil.copytree(made / part, root / part)
        raw = yaml.safe_load((made / "config.yaml").read_text())
        (root / "config.yaml").write_text(yaml.safe_dump({**raw, "seed": seed}, sort_keys=False))
        return root

    return make


def row(table: pd.DataFrame, measure: str) -> pd.Series:
    found = table[table.measure == measure]
    assert len(found) == 1, (measure, list(table.measure))
    return found.iloc[0]


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
    assert sum("2 realisations; an interval takes at least 3" in gap for gap in gaps) == 5


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
        ({"holds": "perhaps"}, "column 'holds': 'perhaps' is none of yes, no, unclear"),
        ({"effect": NAN}, "column 'effect', row 2: no value"),
        ({"finding": 8}, "column 'finding': 8 is none of"),
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
