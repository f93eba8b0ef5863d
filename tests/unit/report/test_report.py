"""The report is one offline file; the summary is one screen."""

import re
import shutil
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import fabricate
from metrics_table import retention
from tgdpet.config.loading import read_config
from tgdpet.config.sections import NetworkEntry
from tgdpet.config.studies import read_studies
from tgdpet.evaluation.estimates import _quantities
from tgdpet.evaluation.findings import read_findings
from tgdpet.evaluation.results import PAPER_TABLE1, Results
from tgdpet.evaluation.timing import times
from tgdpet.figures import FIGURES, SHOWN, numbered
from tgdpet.figures.make import make
from tgdpet.io.files import write_csv
from tgdpet.report.html import caption_html
from tgdpet.report.report import build_report, network_counts, table_pages
from tgdpet.report.summary import screen

CAPTIONS = Path(__file__).parents[3] / "workflow" / "report"
PAPER = [["–", "–"], *([f"{v:.2f}" for v in values] for values in PAPER_TABLE1.values())]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"))
    return Results(
        root, read_config(root / "config.yaml"), read_studies(root.parent / "studies.tsv")
    )


def test_everything_shown_has_a_short_caption_that_speaks_of_the_paper() -> None:
    assert {path.stem for path in CAPTIONS.glob("*.rst")} == {*SHOWN, "workflow"}
    for name in SHOWN:
        caption = (CAPTIONS / f"{name}.rst").read_text()
        assert 60 < len(caption) < 900 and "paper" in caption.lower(), name
        assert "{" not in caption, f"{name}: the report reads captions as they are"


def test_categories_follow_the_pipeline_and_the_findings_table_is_first() -> None:
    order = [numbered(name) for name in SHOWN]
    assert order == sorted(order) and order[0] == ("1 Findings", "1.1 The paper's findings")
    for name in FIGURES:
        assert callable(import_module(f"tgdpet.figures.{name}").draw)


def test_report_is_self_contained_and_names_what_is_missing(results: Results) -> None:
    make("table1", results, results.root / "figures" / "table1")
    text = build_report(results.root, [results], CAPTIONS)
    assert text.count("data:image/png;base64,") == 1
    assert text.count("Not drawn:") == len(FIGURES) - 1
    assert not re.search(r'(src|href)="(https?:|//|/)', text)
    places = [
        text.index(f'id="{key}"') for key in (*list(SHOWN)[:2], "run", *list(SHOWN)[2:], "config")
    ]
    assert places == sorted(places)
    assert "Not for diagnosis" in text and "2021" in text


def test_the_findings_come_first_with_their_intervals(results: Results, tmp_path: Path) -> None:
    text = build_report(results.root, [results], CAPTIONS)
    table = text[text.index('<table class="findings">') : text.index('id="run"')]
    row = table[table.index("v1-net over-smooths v2 images: its liver CoV") :].split("</tr>")[0]
    assert re.search(
        r"<td>-\d+\.\d+ pp</td><td>-\d+\.\d+ to -\d+\.\d+</td><td>yes</td><td>-2\.5\d?</td>", row
    ), row
    assert (
        "<td>unclear</td>" in table and "measured once" in table and "<td>no interval</td>" in table
    )
    for name, text in table_pages(tmp_path, CAPTIONS).items():
        assert f"Not made: {SHOWN[name].tables[0]} is missing" in text


def test_every_number_has_its_interval_or_says_that_it_has_none(results: Results) -> None:
    text = table_pages(results.root, CAPTIONS)["numbers_table"]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", text)]
    ours = [
        cell
        for row in rows
        for cell in (row[1:3] if len(row) == 5 and row[3:] in PAPER else row[1:])
    ]
    numbers = [cell for cell in ours if cell != "–"]
    assert len(numbers) == 34
    for cell in numbers:
        assert re.fullmatch(
            r"-?\d+(\.\d+)? \((-?[\d.]+ to -?[\d.]+|one realisation, no interval)\)", cell
        ), cell
    assert any("one realisation, no interval" in cell for cell in numbers)  # of the bladder
    assert ["TGD-net", "-3.77", "6.46"] in [[row[0], *row[3:]] for row in rows]


def test_several_seeds_have_one_report_with_links_to_their_own(results: Results) -> None:
    root = results.root.parent / "study"
    shutil.copytree(results.root / "metrics", root / "metrics")
    runs = [
        replace(results, root=root / f"seed-{n}", config=replace(results.config, seed=n))
        for n in (5, 6)
    ]
    text = build_report(root, runs, CAPTIONS)
    assert (
        text.index('id="findings_table"')
        < text.index('href="seed-5/report.html"')
        < text.index('id="table1"')
    )
    assert 'href="seed-6/report.html"' in text and "2 seeds together" in text
    assert 'id="gain"' in text and 'id="fig5"' not in text


def test_captions_become_html(tmp_path: Path) -> None:
    caption = tmp_path / "figure.rst"
    caption.write_text("**A.** b < c\n*d* ``e``\n\nf")
    html = str(caption_html(caption))
    assert re.search(r"<p><strong>A.</strong> b &lt; c\s<em>d</em> <\w+[^>]*>e</\w+></p>", html)
    assert html.count("<p>") == 2 and "<p>f</p>" in html


@pytest.mark.parametrize("text", ["**bold", ".. raw:: html\n\n   <script>", ".. include:: x.rst"])
def test_a_caption_with_a_mistake_is_named(tmp_path: Path, text: str) -> None:
    caption = tmp_path / "figure.rst"
    caption.write_text(text)
    with pytest.raises(ValueError, match=r"figure\.rst"):
        caption_html(caption)


def test_what_tables_hold_is_escaped(results: Results, tmp_path: Path) -> None:
    table = read_findings(results.root / "metrics" / "findings.csv")
    write_csv(tmp_path / "metrics" / "findings.csv", table.assign(claim="<b>1 & 2</b>"))
    html = table_pages(tmp_path, CAPTIONS)["findings_table"]
    assert "<td>&lt;b&gt;1 &amp; 2&lt;/b&gt;</td>" in html and "<b>1" not in html


def test_summary_fits_one_screen(results: Results) -> None:
    lines = screen(results).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert any("TGD-net" in line and "(-3.77)" in line and "(6.46)" in line for line in lines)


def test_the_summary_shows_gain_and_forgetting_relative_to_the_base(results: Results) -> None:
    table = retention(results).set_index("network")
    row = table.loc["TGD-net"]
    (line,) = [
        line for line in screen(results).splitlines() if "TGD-net  " in line and " % " in line
    ]
    assert f"{row.gain:.1f} %" in line and f"{row.forgotten:.1f} %" in line
    assert line.endswith("(from v1-net)") and row.base == "v1-net"


def test_tables_show_every_network_and_the_time_is_that_of_kse(results: Results) -> None:
    entries = {
        "A-random": NetworkEntry(method="tgd", base="v1-net", data="adapt", mask="random"),
        **results.config.networks,
        "EWC": NetworkEntry(method="finetune", base="v1-net", data="adapt", penalty="ewc"),
    }
    more = Results(results.root, replace(results.config, networks=entries), results.studies)
    for measure in ("liver_cov", "rmse_v1"):
        names = [q.network for q in _quantities(more.config) if q.measure == measure]
        assert names == ["input", "v1-net", "v2-net", "FT-net", "TGD-net", "A-random", "EWC"]
    assert times(more).equals(times(results))


def test_a_network_retrained_whole_has_no_useful_kernels_to_keep() -> None:
    side = {
        "kernels_total": 4,
        "kernels_retrained": 4,
        "parameters_total": 40,
        "useful_unchanged": True,
        "wall_s": 1,
    }
    whole = network_counts("all", {**side, "parameters_retrained": 40})
    part = network_counts("some", {**side, "parameters_retrained": 30})
    assert whole[3] == "–" and part[3] == "yes"


def test_the_wheel_takes_the_template_along(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    package = root / "scripts" / "tgdpet"
    taken = set()
    for pattern in project["tool"]["setuptools"]["package-data"]["tgdpet"]:
        taken.update(package.glob(pattern))
    assert set(package.rglob("*.j2")) == {path for path in taken if path.suffix == ".j2"} != set()
