"""Every number with its interval: values that agree with the tables, and what has no interval."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt

import fabricate
from metrics_table import retention, unseen
from tgdpet.config.loading import read_config as read_config
from tgdpet.config.studies import read_studies
from tgdpet.evaluation import voi_values
from tgdpet.evaluation.estimates import (
    ESTIMATES_COLUMNS,
    TABLE1,
    estimate_text,
    estimates,
    read_estimates,
    wide,
)
from tgdpet.evaluation.results import Results
from tgdpet.evaluation.seed_runs import load_runs
from tgdpet.figures import table1
from tgdpet.figures.style import styled
from tgdpet.io.files import write_csv


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))


@pytest.fixture
def results(made: Path) -> Results:
    return Results(
        made, read_config(made / "config.yaml"), read_studies(made.parent / "studies.tsv")
    )


def again(made: Path, folder: Path, seed: int) -> Path:
    """The same values, as if made from another seed."""
    shutil.copytree(made / "metrics", folder / "metrics")
    raw = yaml.safe_load((made / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**raw, "seed": seed}, sort_keys=False))
    return folder


def test_values_are_those_of_the_metrics(made: Path, results: Results) -> None:
    table, gaps = estimates(load_runs([made]))
    assert list(table.columns) == ESTIMATES_COLUMNS and not gaps
    got = table.set_index(["network", "measure"])
    for measure in TABLE1:
        for network in ("input", "v1-net", "TGD-net"):
            row = got.loc[(network, measure)]
            assert row.value == pytest.approx(
                results.measured(measure, "test_lesion", network), rel=1e-5
            )
            assert row.low < row.value < row.high and (row.seeds, row.images) == (1, 4)
    for row in retention(results).itertuples():
        for measure in ("rmse_v1", "rmse_v2", *(("gain", "forgotten") if row.base else ())):
            assert got.loc[(row.network, measure)].value == pytest.approx(getattr(row, measure)), (
                row,
                measure,
            )
    for row in unseen(results).itertuples():
        assert got.loc[(row.network, "bladder_error")].value == pytest.approx(row.bladder_error)
    once = got.loc[("TGD-N2N", "bladder_error")]
    assert np.isnan(once.low) and np.isnan(once.high) and once.images == 1


def test_several_seeds_give_means_and_intervals_to_all(made: Path, tmp_path: Path) -> None:
    roots = [again(made, tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    path = roots[2] / "metrics" / "bladder_voi.npz"
    values = voi_values.read_voi_values(path)
    for network in values.protocols["v2"].networks.values():
        network.errors["bladder_error"][:] += 3.0
    voi_values.write_voi_values(path, values)
    one = estimates(load_runs(roots[:1]))[0].set_index(["network", "measure"])
    table = estimates(load_runs(roots))[0].set_index(["network", "measure"])
    assert table[["low", "high"]].notna().all(axis=None) and set(table.seeds) == {3}
    row = table.loc[("TGD-net", "bladder_error")]
    assert row.value == pytest.approx(one.value[("TGD-net", "bladder_error")] + 1.0)
    assert row.low < row.value < row.high and row.images == 3


def test_too_few_realisations_leave_a_number_without_interval(made: Path, tmp_path: Path) -> None:
    root = again(made, tmp_path / "few", 1)
    (root / "metrics" / "lesion_voi.npz").unlink()
    values = voi_values.read_voi_values(made / "metrics" / "lesion_voi.npz")
    v2 = values.protocols["v2"]
    samples = tuple(f"short{i}" for i, _ in enumerate(v2.samples))  # no realisations any more
    protocols = {
        "v1": values.protocols["v1"],
        "v2": voi_values.ProtocolValues(samples, v2.liver, v2.lesion, v2.networks),
    }
    voi_values.write_voi_values(
        root / "metrics" / "lesion_voi.npz",
        voi_values.StudyValues("lesion", "test_lesion", protocols),
    )
    table = estimates(load_runs([root]))[0].set_index(["network", "measure"])
    full = estimates(load_runs([made]))[0].set_index(["network", "measure"])
    row = table.loc[("v2-net", "liver_cov")]
    assert row.value == pytest.approx(full.value[("v2-net", "liver_cov")], rel=1e-5) and np.isnan(
        row.low
    )
    metrics = pd.read_csv(root / "metrics" / "metrics.csv")
    write_csv(root / "metrics" / "metrics.csv", metrics[metrics.measure != "liver_cov"])
    table, gaps = estimates(load_runs([root]))
    assert not (table.measure == "liver_cov").any()
    assert any("liver_cov of v2-net has no value" in gap and "realisations" in gap for gap in gaps)


def test_a_table_reads_back_and_a_wrong_one_is_named(made: Path, tmp_path: Path) -> None:
    table, _ = estimates(load_runs([made]))
    rows = wide(table, TABLE1)
    assert list(rows.network) == ["input", "v1-net", "v2-net", "FT-net", "TGD-net"]
    assert rows.set_index("network").liver_cov_n["v1-net"] == 4
    write_csv(tmp_path / "estimates.csv", table)
    pd.testing.assert_frame_equal(read_estimates(tmp_path / "estimates.csv"), table, rtol=1e-8)
    for wrong, words in (
        (table.drop(columns="high"), "column 'high' is missing"),
        (
            table.assign(measure="weight"),
            "column 'measure', row 2: .*got 'weight'",
        ),
    ):
        write_csv(tmp_path / "estimates.csv", wrong)
        with pytest.raises(ValueError, match=f"estimates.csv: .*{words}"):
            read_estimates(tmp_path / "estimates.csv")


def test_numbers_are_written_with_their_interval_or_its_lack() -> None:
    nan = float("nan")
    assert estimate_text(-1.234, -2, 0.5, 10, 1) == "-1.2 (-2.0 to 0.5)"
    assert estimate_text(5.0, nan, nan, 1, 2) == "5.00 (one realisation, no interval)"
    assert estimate_text(5.0, nan, nan, 2, 0) == "5 (2 realisations, no interval)"
    assert estimate_text(nan, nan, nan, nan, 1) == "–"


def test_table1_is_drawn_with_bars_and_intervals(results: Results) -> None:
    with styled():
        figure, table = table1.draw(results)
        words = [t.get_text() for t in figure.axes[0].texts]
        panels = {"lesion_bias": figure.axes[1], "liver_cov": figure.axes[2]}
        shown = {
            column: [bar.lines[0].get_xdata()[0] for bar in ax.containers if bar.has_xerr]
            for column, ax in panels.items()
        }
        arrows = {
            column: [line.get_marker() for line in ax.lines if line.get_marker() in ("<", ">")]
            for column, ax in panels.items()
        }
        plt.close(figure)

    assert len(table) == 5
    for column, values in shown.items():
        of_networks = table.loc[table.network != "input", column]
        assert values[-4:] == pytest.approx(of_networks.to_list())
        assert len(values) + len(arrows[column]) == 5  # the noisy input may lie beyond the axis
    assert [">"] in arrows.values()
    assert sum(" to " in word for word in words) == 10
