"""The report is one offline file; the summary is one screen."""

import re
from dataclasses import replace
from pathlib import Path

import fabricate
import pytest

from tgdpet.config import NetworkEntry, read
from tgdpet.figures import FIGURES
from tgdpet.figures.common import Results
from tgdpet.figures.make import make
from tgdpet.figures.table1 import table
from tgdpet.figures.timing import times
from tgdpet.report import _findings, _networks, build, caption_html
from tgdpet.studies import read_studies
from tgdpet.summary import retention, screen

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"))
    return Results(root, read(root / "config.yaml"), read_studies(root.parent / "studies.tsv"))


def test_every_figure_has_a_short_caption() -> None:
    for name in FIGURES:
        assert 60 < len((CAPTIONS / f"{name}.rst").read_text()) < 900, name


def test_report_is_self_contained_and_names_what_is_missing(results: Results) -> None:
    make("table1", results, results.root / "figures" / "table1")
    text = build(results, CAPTIONS)
    assert text.count("data:image/png;base64,") == 1
    assert text.count("Not drawn:") == len(FIGURES) - 1
    assert not re.search(r'(src|href)="(https?:|//|/)', text)
    assert (
        "Not for diagnosis" in text
        and "2021" in text
        and text.index('id="findings"') < text.index('id="run"') < text.index('id="table1"') < text.index('id="fig3"')
    )


def test_the_findings_come_first_with_their_intervals(results: Results, tmp_path: Path) -> None:
    text = build(results, CAPTIONS)
    table = text[text.index('<table class="findings">') : text.index('id="run"')]
    row = table[table.index("v1-net over-smooths v2 images: its liver CoV") :].split("</tr>")[0]
    assert re.search(r"<td>-\d+\.\d+ pp</td><td>-\d+\.\d+ to -\d+\.\d+</td><td>yes</td><td>-2\.5\d?</td>", row), row
    assert "<td>unclear</td>" in table and "measured once" in table
    assert "Not judged: metrics/findings.csv is missing" in _findings(replace(results, root=tmp_path))


def test_captions_become_html() -> None:
    assert (
        caption_html("**A.** b < c\n*d* ``e``\n\nf")
        == "<p><strong>A.</strong> b &lt; c <em>d</em> <code>e</code></p><p>f</p>"
    )


def test_summary_fits_one_screen(results: Results) -> None:
    lines = screen(results).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert any("TGD-net" in line and "(-3.77)" in line and "(6.46)" in line for line in lines)


def test_gain_and_forgetting_are_relative_to_the_base(results: Results) -> None:
    table = retention(results).set_index("network")
    base, ours = table.loc["v1-net"], table.loc["TGD-net"]
    assert ours.base == "v1-net"
    assert ours.gain == pytest.approx(100 * (1 - ours.rmse_v2 / base.rmse_v2))
    assert ours.forgotten == pytest.approx(100 * (ours.rmse_v1 / base.rmse_v1 - 1))


def test_tables_show_every_network_and_the_time_is_that_of_kse(results: Results) -> None:
    entries = {
        "A-random": NetworkEntry(method="tgd", base="v1-net", data="adapt", mask="random"),
        **results.config.networks,
        "EWC": NetworkEntry(method="finetune", base="v1-net", data="adapt", penalty="ewc"),
    }
    more = Results(results.root, replace(results.config, networks=entries), results.studies)
    for rows in (table(more), retention(more)):
        assert list(rows.network) == ["input", "v1-net", "v2-net", "FT-net", "TGD-net", "A-random", "EWC"]
    assert times(more).equals(times(results))


def test_a_network_retrained_whole_has_no_useful_kernels_to_keep() -> None:
    side = {"kernels_total": 4, "kernels_retrained": 4, "parameters_total": 40, "useful_unchanged": True, "wall_s": 1}
    whole = _networks([("all", {**side, "parameters_retrained": 40})])
    part = _networks([("some", {**side, "parameters_retrained": 30})])
    assert "yes" not in whole and "yes" in part
