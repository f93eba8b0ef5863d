"""Every figure is drawn from a made-up, smoke-size results tree, with the table of what it
shows.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Annotation, Text

import fabricate
from tgdpet.config.loading import read_config
from tgdpet.config.sections import Figures
from tgdpet.config.studies import read_studies
from tgdpet.evaluation.results import Results
from tgdpet.evaluation.timing import saved, times
from tgdpet.figures import FIGURES, findings, gain, gain_paths, timing
from tgdpet.figures.make import make
from tgdpet.figures.style import coronal, save_figure, styled
from tgdpet.figures.table1 import shown_range


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))
    return Results(
        root, read_config(root / "config.yaml"), read_studies(root.parent / "studies.tsv")
    )


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_written_with_its_table(results: Results, name: str) -> None:
    stem = results.root / "figures" / name
    make(name, results, stem)
    assert stem.with_name(f"{name}.png").read_bytes().startswith(b"\x89PNG")
    pdf = stem.with_name(f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf and b"CreationDate" not in pdf
    assert len(pd.read_csv(stem.with_name(f"{name}.csv"))) > 0
    assert not list(stem.parent.glob(".tmp*"))


def test_a_configuration_that_asks_for_voxels_gets_other_pictures(results: Results) -> None:
    config = replace(results.config, figures=Figures(voxels=True))
    interpolated = results.root / "figures" / "interpolated"
    voxels = results.root / "figures" / "voxels"
    make("mip", results, interpolated)
    make("mip", replace(results, config=config), voxels)
    shown = [path.with_suffix(".png").read_bytes() for path in (interpolated, voxels)]
    assert shown[0] != shown[1]
    tables = [path.with_suffix(".csv").read_bytes() for path in (interpolated, voxels)]
    assert tables[0] == tables[1]


def test_patients_right_is_on_the_left_and_the_head_is_up() -> None:
    volume = np.zeros((5, 4, 3))
    volume[4, 1, 2] = 1  # RAS: the patient's right, near the head
    plane = coronal(volume, 1)
    assert plane.shape == (3, 5)
    assert plane[2, 0] == 1  # drawn with origin "lower": the last row is on top


def test_table1_holds_the_papers_numbers_and_ours(results: Results) -> None:
    make("table1", results, results.root / "figures" / "table1")
    table = pd.read_csv(results.root / "figures" / "table1.csv").set_index("network")
    assert list(table.index) == ["input", "v1-net", "v2-net", "FT-net", "TGD-net"]
    assert tuple(table.loc["TGD-net", ["paper_lesion_bias", "paper_liver_cov"]]) == (-3.77, 6.46)
    metrics = results.metrics
    ours = metrics[
        (metrics.measure == "liver_cov")
        & (metrics.protocol == "v2")
        & (metrics.network == "TGD-net")
    ]
    assert table.loc["TGD-net", "liver_cov"] == pytest.approx(ours.value.mean())


@pytest.mark.parametrize(("noisy_cov", "is_shown"), [(9.0, True), (25.0, False)])
def test_table1_shows_networks_apart_however_noisy_the_input(
    noisy_cov: float, is_shown: bool
) -> None:
    covs = [noisy_cov, 6.7, 7.5]
    rows = pd.DataFrame({"network": ["input", "v1-net", "v2-net"], "liver_cov": covs})
    rows["liver_cov_low"] = rows.liver_cov - 0.5
    rows["liver_cov_high"] = rows.liver_cov + 0.5
    rows["paper_liver_cov"] = [np.nan, 6.0, np.nan]

    low, high = shown_range(rows, "liver_cov")

    assert low < 6.0 and high > 8.0
    assert (high > noisy_cov + 0.5) == is_shown


def test_time_saved_counts_the_right_files(results: Results) -> None:
    table = times(results)
    ours = table[table.source == "measured"].set_index(["way", "step"]).wall_s
    assert ours["from scratch", "reconstruction"] == 2 * 30 and ours["TGD", "reconstruction"] == 30
    assert ours["from scratch", "training"] == 80 and ours["TGD", "training"] == 25
    assert saved(table, "measured") == pytest.approx(100 * (1 - 57 / 142))
    assert saved(table, "paper") == pytest.approx(100 * (1 - 7.4 / 20.8))


def task_errors(old: list[float], new: list[float]) -> pd.DataFrame:
    names = [f"network-{i}" for i in range(len(old) - 1)]
    kinds = ["base", "TGD", "fine-tuning", "penalty", *["old data"] * len(old)][: len(old)]
    table = pd.DataFrame({"network": ["v1-net", *names], "kind": kinds, "old": old, "new": new})
    for column in ("old", "new"):
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 0.1, table[column] + 0.1
    return table


def test_tables_of_few_networks_or_no_claim_are_drawn_too(results: Results) -> None:
    with styled():
        for n in (1, 2, 3):
            plt.close(gain.scatter(task_errors([0.0, 1.0, 2.0][:n], [0.0, 1.0, 1.0][:n])))
        table = pd.read_csv(results.root / "metrics" / "findings.csv")
        plt.close(findings.forest(table[:0]))
        plt.close(findings.forest(table[table.finding == 3]))


@pytest.mark.parametrize("spread", [1.0, 0.02])
def test_names_lie_beside_their_points_and_cover_nothing(spread: float) -> None:
    generator = np.random.default_rng(2)
    old, new = ([0.0, *generator.normal(1, spread, 12)] for _ in range(2))
    with styled():
        figure = gain.scatter(task_errors(old, new))
        figure.canvas.draw()
        for ax in figure.axes:
            written = [
                t
                for t in ax.texts
                if isinstance(t, Annotation) and t.get_text().startswith(("network", "v1-net"))
            ]
            boxes = [
                t.get_window_extent() if t.arrow_patch is None else Text.get_window_extent(t)
                for t in written
            ]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        named = {t.get_text() for ax in figure.axes for t in ax.texts if isinstance(t, Annotation)}
        plt.close(figure)
    assert {f"network-{i}" for i in range(12)} <= named


def test_a_network_far_off_is_named_and_does_not_squeeze_the_others() -> None:
    with styled():
        figure = gain.scatter(task_errors([0, 1, 2, 1.5, 30], [0, -1, 0.5, -0.5, 45]))
        texts = " ".join(t.get_text() for t in figure.axes[0].texts)
        limits = figure.axes[0].get_xlim()
        plt.close(figure)
    assert "beyond: network-3 (+30 %, +45 %)" in texts and limits[1] < 5


def test_within_reach_of_the_intervals_a_network_is_shown_and_no_panel_comes_twice() -> None:
    table = task_errors([0, -0.5, 0.5, 0.2, -4], [0, -5, -8, -7, -10])
    for column in ("old", "new"):
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - 3, table[column] + 3
    with styled():
        figure = gain.scatter(table)
        texts = " ".join(t.get_text() for t in figure.axes[0].texts)
        plt.close(figure)
    assert "network-3" in texts and "beyond" not in texts and len(figure.axes) == 1


def test_the_forest_points_at_what_lies_beyond_and_says_how_clear_a_claim_is(
    results: Results,
) -> None:
    table = pd.read_csv(results.root / "metrics" / "findings.csv")
    sixth = (
        table[table.finding == 6]
        .iloc[[0] * 5]
        .assign(effect=[1, -1, 0.5, 2, 90.0], low=[0, -2, 0, 1, 80])
    )
    sixth = sixth.assign(high=[2, 0, 1, 3, 99], holds=["unclear", "unclear", "unclear", "no", "no"])
    with styled():
        figure = findings.forest(pd.concat([table[table.finding != 6], sixth]))
        limits = [ax.get_xlim() for ax in figure.axes]
        plt.close(figure)
    assert len(limits) == 7 and limits[5][1] < 10


def test_effects_are_written_with_their_unit_and_interval() -> None:
    row = pd.Series({"effect": -1.234, "low": -2.0, "high": 0.5, "unit": "percentage points"})
    assert findings.effect_text(row) == "\N{MINUS SIGN}1.23 (\N{MINUS SIGN}2.00 to 0.50)"
    once = pd.Series({"effect": 86.04, "low": np.nan, "high": np.nan, "unit": "%"})
    assert findings.effect_text(once) == "86.0 %"


def test_missing_benchmarks_leave_a_figure_that_says_so(results: Results, tmp_path: Path) -> None:
    empty = Results(tmp_path, results.config, results.studies)
    make("timing", empty, tmp_path / "figures" / "timing")
    assert (
        pd.read_csv(tmp_path / "figures" / "timing.csv").query("source == 'measured'").files == 0
    ).all()


def test_an_interrupted_training_took_the_time_of_all_its_parts(
    results: Results, tmp_path: Path
) -> None:
    shutil.copytree(results.root, tmp_path, dirs_exist_ok=True)
    cut = Results(tmp_path, results.config, results.studies)
    last = tmp_path / "benchmarks/train/v2-net.tsv"
    last.write_text("s\n7.0\n")
    log = tmp_path / "models/v2-net_log.csv"
    pixels = 300 * results.config.train.batch * results.config.train.patch**2
    pd.DataFrame({"step": [100, 300], "pixels_per_s": [0, pixels / 500]}).to_csv(log, index=False)

    def seconds() -> float:
        return float(
            times(cut).query("way == 'from scratch' and step == 'training'").wall_s.iloc[0]
        )

    assert seconds() == pytest.approx(500)
    last.write_text("s\n600.0\n")
    assert seconds() == 600
    log.unlink()
    last.write_text("s\n7.0\n")
    assert seconds() == 7


def test_no_time_is_saved_against_a_network_that_was_not_trained_here(results: Results) -> None:
    networks = results.config.networks
    given = {**networks, "v2-net": replace(networks["v2-net"], weights="v2-net.safetensors")}
    taken = Results(results.root, replace(results.config, networks=given), results.studies)
    assert np.isfinite(saved(times(results), "measured")) and np.isnan(
        saved(times(taken), "measured")
    )
    assert "1 of" in timing._headline(times(taken))


def test_other_network_names_are_drawn_too(results: Results) -> None:
    assert results.population(("nothing-of-this",)) == ["v1-net", "v2-net", "FT-net", "TGD-net"]
    assert results.online() == ["TGD-N2N", "TGD2-N2N"]


def test_unknown_figures_and_absent_roles_are_named(results: Results) -> None:
    with pytest.raises(ValueError, match="fig9.*known are findings"):
        make("fig9", results, results.root / "figures" / "fig9")
    with pytest.raises(ValueError, match="role 'nobody'"):
        results.of_role("nobody")


def test_the_pdf_takes_the_layout_of_the_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out = []
    execute = ConstrainedLayoutEngine.execute

    def counted(self: ConstrainedLayoutEngine, figure: Figure) -> object:
        laid_out.append(figure)
        return execute(self, figure)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", counted)

    with styled():
        figure, _ = plt.subplots(layout="constrained")
        figure.savefig(tmp_path / "alone.png", bbox_inches="tight")
        n_png = len(laid_out)

        save_figure(figure, tmp_path / "both")

    assert n_png > 0
    assert len(laid_out) == 2 * n_png
    assert (tmp_path / "both.pdf").exists()


def test_first_steps_that_lead_far_away_do_not_widen_the_frame_of_ways() -> None:
    steady = np.linspace(0.0, 20.0, 60)
    way = pd.DataFrame({"gain": steady, "forgetting": steady / 4})
    way.loc[1] = [-120.0, 250.0]

    figure, ax = plt.subplots()
    gain_paths._frame(ax, [way])
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    plt.close(figure)

    assert left < 0 < 20 < right and bottom < 0 < 5 < top
    assert left > -5 and top < 10
