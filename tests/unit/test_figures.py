"""Every figure is drawn from a made-up, smoke-size results tree, with the table of what it shows."""

from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest

from tgdpet.config import read
from tgdpet.figures import FIGURES
from tgdpet.figures.common import Results
from tgdpet.figures.make import make
from tgdpet.figures.style import coronal
from tgdpet.figures.timing import saved, times
from tgdpet.studies import read_studies


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))
    return Results(root, read(root / "config.yaml"), read_studies(root.parent / "studies.tsv"))


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_written_with_its_table(results: Results, name: str) -> None:
    stem = results.root / "figures" / name
    make(name, results, stem)
    assert stem.with_name(f"{name}.png").read_bytes().startswith(b"\x89PNG")
    pdf = stem.with_name(f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf and b"CreationDate" not in pdf
    assert len(pd.read_csv(stem.with_name(f"{name}.csv"))) > 0
    assert not list(stem.parent.glob(".tmp*"))


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
    ours = metrics[(metrics.measure == "liver_cov") & (metrics.protocol == "v2") & (metrics.network == "TGD-net")]
    assert table.loc["TGD-net", "liver_cov"] == pytest.approx(ours.value.mean())


def test_time_saved_counts_the_right_files(results: Results) -> None:
    table = times(results)
    ours = table[table.source == "measured"].set_index(["way", "step"]).wall_s
    assert ours["from scratch", "reconstruction"] == 2 * 30 and ours["TGD", "reconstruction"] == 30
    assert ours["from scratch", "training"] == 80 and ours["TGD", "training"] == 25
    assert saved(table, "measured") == pytest.approx(100 * (1 - 57 / 142))
    assert saved(table, "paper") == pytest.approx(100 * (1 - 7.4 / 20.8))


def test_missing_benchmarks_leave_a_figure_that_says_so(results: Results, tmp_path: Path) -> None:
    empty = Results(tmp_path, results.config, results.studies)
    make("timing", empty, tmp_path / "figures" / "timing")
    assert (pd.read_csv(tmp_path / "figures" / "timing.csv").query("source == 'measured'").files == 0).all()


def test_other_network_names_are_drawn_too(results: Results) -> None:
    assert results.population(("nothing-of-this",)) == ["v1-net", "v2-net", "FT-net", "TGD-net"]
    assert results.online() == ["TGD-N2N", "TGD2-N2N"]


def test_unknown_figures_and_absent_roles_are_named(results: Results) -> None:
    with pytest.raises(ValueError, match="fig9.*known are table1"):
        make("fig9", results, results.root / "figures" / "fig9")
    with pytest.raises(ValueError, match="role 'nobody'"):
        results.of_role("nobody")
