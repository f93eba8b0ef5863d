"""The report: one self-contained HTML file with the tables and figures of a run, or of all seeds of
a study.

It opens offline and prints. Its captions are those of Snakemake's own report (workflow/report).
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..config.sections import as_dict
from ..evaluation.estimates import TABLE1, TASKS, UNSEEN, text, wide
from ..evaluation.estimates import read as read_estimates
from ..evaluation.findings import read as read_findings
from ..evaluation.paper_claims import POINTS
from ..evaluation.results import INPUT, PAPER_TABLE1, Results, records
from ..figures import SHOWN, drawn
from ..figures.phi import recommendation
from ..io.files import read_json, software
from .html import WARNING, caption_html, page, picture, sections, table
from .summary import number

TITLE = "Targeted Gradient Descent for PET denoising"
HEADS = {
    "lesion_bias": "lesion bias (%)", "liver_cov": "liver CoV (%)", "rmse_v1": "RMSE on v1 (Bq/mL)",
    "rmse_v2": "RMSE on v2 (Bq/mL)", "gain": "gain on v2 (%)", "forgotten": "forgotten on v1 (%)",
    "bladder_error": "error at the bladder (%)", "catheter_error": "error in the catheter (%)",
}  # fmt: skip
DIGITS = {**dict.fromkeys(HEADS, 1), **dict.fromkeys(TABLE1, 2), "rmse_v1": 0, "rmse_v2": 0}


def build(root: Path, runs: Sequence[Results], captions: Path) -> str:
    """The report of the results folder `root` as HTML; `captions` holds NAME.rst for all that is
    shown.

    `runs` are the results of single seeds: `root` itself, or several of a study, whose reports are
    then linked. What was not made is named as missing; a missing caption raises FileNotFoundError.
    """
    alone = len(runs) == 1 and runs[0].root == root
    parts = []
    figures = drawn(runs[0].config)
    for name, shown in SHOWN.items():
        if (alone or shown.together) and (name in figures or not shown.drawn):
            content = _figure(root, name, captions) if shown.drawn else _table(root, name, captions)
            parts.append((name, shown.title, content))
    parts.insert(2, ("run", "What was run", _run(runs[0]) if alone else _seeds(root, runs)))
    parts.append(("config", "Configuration", _config(runs[0])))
    heading = TITLE if alone else f"{TITLE}: {len(runs)} seeds together"
    return page(heading, f'<p class="warning">{WARNING}</p>{sections(parts)}')


def tables(root: Path, captions: Path) -> dict[str, str]:
    """The tables of the results folder `root` by name, each a page of its own."""
    return {name: page(SHOWN[name].title, _table(root, name, captions)) for name in CONTENT}


def _caption(captions: Path, name: str) -> str:
    return caption_html((captions / f"{name}.rst").read_text(encoding="utf-8"))


def _figure(root: Path, name: str, captions: Path) -> str:
    caption, png = _caption(captions, name), root / "figures" / f"{name}.png"
    if not png.exists():
        return f"<p>Not drawn: figures/{name}.png is missing.</p>{caption}"
    caption += f"<p>{html.escape(recommendation(root))}</p>" if name == "phi" else ""
    files = (("csv", "numbers (CSV)"), ("pdf", "vector (PDF)"))
    links = ", ".join(f'<a href="figures/{name}.{kind}">{words}</a>' for kind, words in files)
    shown = picture(png, SHOWN[name].title)
    return f'<figure>{shown}<figcaption>{caption}</figcaption></figure><p class="files">{links}</p>'


def _table(root: Path, name: str, captions: Path) -> str:
    source = SHOWN[name].tables[0]
    if not (root / source).exists():
        return f"<p>Not made: {source} is missing.</p>"
    return _caption(captions, name) + CONTENT[name](root / source)


def _run(results: Results) -> str:
    config, sidecars = results.config, list(_sidecars(results))
    first: dict[str, Any] = sidecars[0][1] if sidecars else {}
    roles = pd.Series([s.role for s in results.studies]).value_counts(sort=False)
    versions = first.get("software", software())
    words = [
        ("Studies", ", ".join(f"{count} {role}" for role, count in roles.items())),
        ("Grid", f"{_times(config.grid.shape)} voxels of {_times(config.grid.voxel_mm)} mm"),
        ("Network", f"DnCNN, width {config.network.width:g}; {config.train.epochs} epochs (training), "
                    f"{config.adapt.epochs} (adaptation), {config.online.epochs} (online)"),
        ("Seed", str(config.seed)),
        ("Device", str(first.get("device", "unknown"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Networks finished", _finished(sidecars)),
    ]  # fmt: skip
    return table((), words, "words") + _networks(sidecars)


def _seeds(root: Path, runs: Sequence[Results]) -> str:
    """A row a seed, with the link to its own report."""
    rows = []
    for run in runs:
        sidecars = list(_sidecars(run))
        first: dict[str, Any] = sidecars[0][1] if sidecars else {}
        commit = first.get("software", {}).get("commit", "unknown")
        link = html.escape(f"{os.path.relpath(run.root, root)}/report.html")
        cells = (run.config.seed, first.get("device", "unknown"), commit, _finished(sidecars))
        row = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        rows.append(
            f'<tr>{row}<td><a href="{link}">its own report</a>, with every figure</td></tr>'
        )
    heads = "".join(f"<th>{h}</th>" for h in ("seed", "device", "commit", "networks finished", ""))
    return f'<table class="words"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _finished(sidecars: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return max((str(side.get("finished", "")) for _, side in sidecars), default="unknown")


def _networks(sidecars: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    rows = []
    for name, side in sidecars:
        share = ["–", "–"]
        for i, what in enumerate(("kernels", "parameters")):
            if side.get(f"{what}_total"):
                share[i] = f"{100 * side[f'{what}_retrained'] / side[f'{what}_total']:.1f} %"
        all_move = (
            side.get("parameters_total")
            and side.get("parameters_retrained") == side["parameters_total"]
        )
        same = {True: "yes", False: "NO", None: "–"}[
            None if all_move else side.get("useful_unchanged")
        ]
        rows.append((name, *share, same, number(float(side.get("wall_s", "nan")), 0)))
    heads = [
        "network",
        "kernels retrained",
        "parameters retrained",
        "useful kernels unchanged, bit for bit",
        "time (s)",
    ]
    words = "<p>Counts of this run's networks and the time that each took, once: no interval.</p>"
    return table(heads, rows) + words


def _findings(path: Path) -> str:
    rows = []
    notes: dict[str, int] = {}  # many rows share one: numbered below the table
    for r in records(read_findings(path)):
        values = [float(v) for v in (r.effect, r.low, r.high)]
        digits = 2 if max(abs(v) for v in values if v == v) < 10 else 1
        effect, low, high = (number(v, digits) for v in values)
        interval = "no interval" if low == "-" else f"{low} to {high}"
        marks = [
            str(notes.setdefault(part, len(notes) + 1)) for part in filter(None, r.note.split("; "))
        ]
        paper = "–" if pd.isna(r.paper) else f"{r.paper:g}"
        unit = "pp" if r.unit == POINTS else "%"
        words = (str(r.finding), r.claim, r.measure, f"{effect} {unit}", interval)
        rows.append((*words, r.holds, paper, ", ".join(marks)))
    heads = ["", "claim", "measure", "effect", "95 % interval", "holds", "paper", "notes"]
    below = "; ".join(f"{mark}: {html.escape(note)}" for note, mark in notes.items())
    return table(heads, rows, "findings") + f'<p class="files">Notes: {below}</p>'


def _numbers(path: Path) -> str:
    """Table 1 beside the paper's, errors on the old and new task, and at organs unlike any in
    training.
    """
    estimates = read_estimates(path)
    paper = {network: tuple(f"{v:.2f}" for v in values) for network, values in PAPER_TABLE1.items()}
    heads = ("network", *(HEADS[m] for m in TABLE1), *(f"paper: {HEADS[m]}" for m in TABLE1))
    rows = [(*row, *paper.get(row[0], ("–", "–"))) for row in _rows(estimates, TABLE1)]
    parts = [("Table 1: low-BMI study with a lesion, v2 images", table(heads, rows))]
    for words, measures in (
        ("Old task (v1 images) and new task (v2 images)", TASKS),
        ("Organs unlike any in training", tuple(UNSEEN)),
    ):
        heads = ("network", *(HEADS[m] for m in measures))
        parts.append((words, table(heads, list(_rows(estimates, measures)))))
    return "".join(f"<p>{words}:</p>{content}" for words, content in parts)


def _rows(estimates: pd.DataFrame, measures: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for row in records(wide(estimates, measures)):
        cells = []
        for m in measures:
            value, low, high, images = (
                float(getattr(row, m + end)) for end in ("", "_low", "_high", "_n")
            )
            cells.append(text(value, low, high, images, DIGITS[m]))
        yield ("noisy input" if row.network == INPUT else row.network, *cells)


def _config(results: Results) -> str:
    words = yaml.safe_dump(as_dict(results.config), sort_keys=False)
    return f"<details><summary>Every setting, as resolved</summary><pre>{html.escape(words)}</pre></details>"


def _sidecars(results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in results.ordered().items():
        folder = results.root / ("models" if entry.method == "train" else "adapted")
        paths = (
            sorted((folder / name).glob("*.json"))
            if entry.data == "n2n"
            else [folder / f"{name}.json"]
        )
        for path in paths:
            if path.exists():
                side = read_json(path)
                yield (
                    (f"{name}, {path.stem}" if entry.data == "n2n" else name),
                    side | side.get("provenance", {}),
                )


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{v:g}" for v in values)


CONTENT: Mapping[str, Callable[[Path], str]] = {
    "findings_table": _findings,
    "numbers_table": _numbers,
}
