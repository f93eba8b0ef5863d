"""The report: one self-contained HTML file with the tables and figures of a run, or of all seeds.

It opens offline and prints. Its captions are those of Snakemake's own report (workflow/report).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..config.sections import as_dict
from ..evaluation.estimates import (
    TABLE1,
    TASKS,
    UNSEEN,
    estimate_text,
    read_estimates,
    wide,
)
from ..evaluation.findings import read_findings
from ..evaluation.paper_claims import POINTS
from ..evaluation.phi import read_choice, recommendation
from ..evaluation.results import INPUT, PAPER_TABLE1, Results, records
from ..figures import SHOWN, TABLES
from ..figures.absent import absent, shown, unmeasured
from ..io.files import read_json, software
from .html import Section, caption_html, page, png_text
from .summary import number

TITLE = "Targeted Gradient Descent for PET denoising"
MEASURE_HEADS = {
    "lesion_bias": "lesion bias (%)",
    "liver_cov": "liver CoV (%)",
    "rmse_v1": "RMSE on v1 (Bq/mL)",
    "rmse_v2": "RMSE on v2 (Bq/mL)",
    "gain": "gain on v2 (%)",
    "forgotten": "forgotten on v1 (%)",
    "bladder_error": "error at the bladder (%)",
    "catheter_error": "error in the catheter (%)",
}
MEASURE_DIGITS = {
    "lesion_bias": 2,
    "liver_cov": 2,
    "rmse_v1": 0,
    "rmse_v2": 0,
    "gain": 1,
    "forgotten": 1,
    "bladder_error": 1,
    "catheter_error": 1,
}
# Of studies that came as images, the mean over their noisy images: head and digits.
MEASURES_OF_IMAGES = {
    "rmse": ("RMSE (Bq/mL)", 0),
    "psnr": ("PSNR (dB)", 1),
    "ssim": ("SSIM", 3),
    "liver_cov_spatial": ("liver CoV (%)", 1),
    "liver_bias": ("liver bias (%)", 1),
}
UNCHANGED = {True: "yes", False: "NO", None: "–"}

Sidecar = Mapping[str, Any]


def build_report(root: Path, runs: Sequence[Results], captions: Path) -> str:
    """The report of the results folder `root` as HTML; `captions` holds NAME.rst of all shown.

    `runs` are the results of single seeds: `root` itself, or several of a study, whose reports are
    then linked. What was not made is named as missing; a missing caption raises FileNotFoundError.
    """
    alone = len(runs) == 1 and runs[0].root == root
    figures = shown(runs[0])
    sections = []

    for name, described in SHOWN.items():
        if not alone and not described.together:
            continue

        if name in figures:
            sections.append(_figure(root, name, captions))
        elif name in TABLES:
            sections.append(_table(root, name, captions))

    what_was_run = _run(runs[0]) if alone else _seeds(root, runs)
    sections.insert(2, what_was_run)
    if alone and any(study.is_images for study in runs[0].studies):
        sections[3:3] = _of_images(runs[0])
    sections.append(_config(runs[0]))

    title = TITLE if alone else f"{TITLE}: {len(runs)} seeds together"
    data = "Results" if any(study.is_images for study in runs[0].studies) else "Simulated data"
    return page(title, sections, data)


def _of_images(results: Results) -> list[Section]:
    """Measures of test studies that came as images; what is not shown of the run, and why."""
    table = results.metrics
    own = [s.study for s in results.studies if s.is_images]
    chosen = table[table.study.isin(own) & table.measure.isin(MEASURES_OF_IMAGES)]
    means = chosen.pivot_table(
        index=["study", "protocol", "network"], columns="measure", values="value", sort=False
    ).reset_index()

    rows = []
    for row in means.to_dict("records"):
        cells = [
            number(float(row.get(measure, float("nan"))), digits)
            for measure, (_, digits) in MEASURES_OF_IMAGES.items()
        ]
        name = "noisy input" if row["network"] == INPUT else row["network"]
        rows.append([row["study"], row["protocol"], name, *cells])

    heads = ["study", "images", "network", *(head for head, _ in MEASURES_OF_IMAGES.values())]
    lacking = [(SHOWN[name].title, reason) for name, reason in absent(results).items()]
    lacking += [("Measures", line) for line in unmeasured(results)]

    return [
        Section("measures", "Studies of images", "measures", {"heads": heads, "rows": rows}),
        Section("lacking", "What is not shown, and why", "lacking", {"rows": lacking}),
    ]


def table_pages(root: Path, captions: Path) -> dict[str, str]:
    """The tables of the results folder `root` by name, each a page of its own."""
    return {name: page(SHOWN[name].title, [_table(root, name, captions)]) for name in TABLES}


def _figure(root: Path, name: str, captions: Path) -> Section:
    caption = caption_html(captions / f"{name}.rst")
    path = root / "figures" / f"{name}.png"
    content: dict[str, Any] = {
        "name": name,
        "caption": caption,
        "png": "",
        "more": "",
    }

    if path.exists():
        content["png"] = png_text(path)

        if name == "phi":
            content["more"] = recommendation(read_choice(root / "metrics" / "phi.csv"))

    return Section(name, SHOWN[name].title, "figure", content)


def _table(root: Path, name: str, captions: Path) -> Section:
    title = SHOWN[name].title
    source = SHOWN[name].tables[0]

    if not (root / source).exists():
        return Section(name, title, "missing", {"file": source})

    caption = caption_html(captions / f"{name}.rst")

    if name == "findings_table":
        return Section(name, title, "findings", {"caption": caption, **_findings(root / source)})

    numbers = _numbers(read_estimates(root / source))
    return Section(name, title, "numbers", {"caption": caption, "tables": numbers})


def _run(results: Results) -> Section:
    """What was run, and each network's counts."""
    sidecars = list(_sidecars(results))
    first = _first(sidecars)
    versions = first.get("software", software())

    config = results.config
    roles = pd.Series([study.role for study in results.studies]).value_counts(sort=False)
    network = (
        f"DnCNN, width {config.network.width:g};"
        f" {config.train.epochs} epochs (training),"
        f" {config.adapt.epochs} (adaptation),"
        f" {config.online.epochs} (online)"
    )
    settings = {
        "Studies": ", ".join(f"{count} {role}" for role, count in roles.items()),
        "Grid": _grid(results),
        "Network": network,
        "Seed": config.seed,
        "Device": first.get("device", "unknown"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Networks finished": _finished(sidecars),
    }
    networks = [network_counts(name, sidecar) for name, sidecar in sidecars]
    content = {"settings": list(settings.items()), "networks": networks}
    return Section("run", "What was run", "run", content)


def _grid(results: Results) -> str:
    """The images' grid; those of studies of images have shapes of their own."""
    voxels = f"voxels of {_times(results.config.grid.voxel_mm)} mm"
    if all(study.is_images for study in results.studies):
        return f"as the images are, {voxels}"

    return f"{_times(results.config.grid.shape)} {voxels}"


def network_counts(name: str, sidecar: Sidecar) -> list[str]:
    """A network's name, shares retrained, whether the useful kernels are unchanged, seconds."""
    retrained = []

    for counted in ("kernels", "parameters"):
        total = sidecar.get(f"{counted}_total")
        share = "–"

        if total:
            percent = 100 * sidecar[f"{counted}_retrained"] / total
            share = f"{percent:.1f} %"

        retrained.append(share)

    # A network that was retrained whole has no useful kernels to keep.
    parameters = sidecar.get("parameters_total")
    whole = parameters and sidecar.get("parameters_retrained") == parameters
    unchanged = UNCHANGED[None if whole else sidecar.get("useful_unchanged")]

    seconds = float(sidecar.get("wall_s", "nan"))
    return [name, *retrained, unchanged, number(seconds, 0)]


def _seeds(root: Path, runs: Sequence[Results]) -> Section:
    """A row a seed, with the link to its own report."""
    seeds = []

    for run in runs:
        sidecars = list(_sidecars(run))
        first = _first(sidecars)
        seeds.append(
            {
                "seed": run.config.seed,
                "device": first.get("device", "unknown"),
                "commit": first.get("software", {}).get("commit", "unknown"),
                "finished": _finished(sidecars),
                "link": f"{os.path.relpath(run.root, root)}/report.html",
            }
        )

    return Section("run", "What was run", "seeds", {"seeds": seeds})


def _first(sidecars: Sequence[tuple[str, Sidecar]]) -> Sidecar:
    return sidecars[0][1] if sidecars else {}


def _finished(sidecars: Sequence[tuple[str, Sidecar]]) -> str:
    return max((str(side.get("finished", "")) for _, side in sidecars), default="unknown")


def _findings(path: Path) -> dict[str, Any]:
    """The table's rows, and the notes below it: many rows share one, so that these are numbered."""
    rows = []
    notes: dict[str, int] = {}

    for row in records(read_findings(path)):
        marks = []

        for note in filter(None, row.note.split("; ")):
            mark = notes.setdefault(note, len(notes) + 1)
            marks.append(str(mark))

        effect, interval = _effect_and_interval(row)
        paper = "–" if pd.isna(row.paper) else f"{row.paper:g}"
        cells = (row.finding, row.claim, row.measure, effect, interval, row.holds, paper)
        rows.append((*cells, ", ".join(marks)))

    return {"rows": rows, "notes": list(notes)}


def _effect_and_interval(row: Any) -> tuple[str, str]:
    """With as many digits as their size asks for."""
    values = [float(value) for value in (row.effect, row.low, row.high)]
    largest = max(abs(value) for value in values if not pd.isna(value))
    digits = 2 if largest < 10 else 1

    effect, low, high = (number(value, digits) for value in values)
    unit = "pp" if row.unit == POINTS else "%"
    interval = "no interval" if low == "-" else f"{low} to {high}"
    return f"{effect} {unit}", interval


def _numbers(estimates: pd.DataFrame) -> list[dict[str, Any]]:
    """Table 1 beside the paper's, errors on the old and new task, and at unseen organs."""
    table1 = _measures_table(
        "Table 1: low-BMI study with a lesion, v2 images",
        estimates,
        TABLE1,
    )
    table1["heads"] += [f"paper: {MEASURE_HEADS[measure]}" for measure in TABLE1]

    for row in table1["rows"]:
        paper = PAPER_TABLE1.get(row[0])
        row += [f"{value:.2f}" for value in paper] if paper else ["–", "–"]

    return [
        table1,
        _measures_table("Old task (v1 images) and new task (v2 images)", estimates, TASKS),
        _measures_table("Organs unlike any in training", estimates, tuple(UNSEEN)),
    ]


def _measures_table(title: str, estimates: pd.DataFrame, measures: Sequence[str]) -> dict[str, Any]:
    """A row a network, a column a measure with its interval."""
    rows = []

    for row in records(wide(estimates, measures)):
        cells = ["noisy input" if row.network == INPUT else row.network]

        for measure in measures:
            cells.append(
                estimate_text(
                    value=float(getattr(row, measure)),
                    low=float(getattr(row, f"{measure}_low")),
                    high=float(getattr(row, f"{measure}_high")),
                    images=float(getattr(row, f"{measure}_n")),
                    digits=MEASURE_DIGITS[measure],
                )
            )

        rows.append(cells)

    heads = ["network", *(MEASURE_HEADS[measure] for measure in measures)]
    return {
        "title": title,
        "heads": heads,
        "rows": rows,
    }


def _config(results: Results) -> Section:
    settings = yaml.safe_dump(as_dict(results.config), sort_keys=False)
    return Section("config", "Configuration", "config", {"yaml": settings})


def _sidecars(results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and sidecar of every network that was made; with the study for online learning."""
    for network, study in results.trainings():
        path = results.training_sidecar(network, study)

        if path.exists():
            sidecar = read_json(path)
            name = f"{network}, {study}" if study else network
            yield name, sidecar | sidecar.get("provenance", {})


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)
