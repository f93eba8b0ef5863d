"""results/report.html: one self-contained file with the tables and every figure, readable offline and on paper."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .claims import POINTS
from .config import as_dict
from .evaluate import INPUT
from .figures import FIGURES, drawn
from .figures.common import Results, records
from .figures.phi import recommendation
from .files import read_json, software
from .findings import read as read_findings
from .summary import number, online, retention

TITLES = {
    "findings": "The paper's findings",
    "table1": "Table 1: lesion bias and liver noise",
    "fig3": "Fig. 3: the two reconstructions",
    "training": "Training",
    "kse": "Kernel scores",
    "fig4": "Fig. 4: kernels dropped",
    "phi": "Choice of phi",
    "fig5": "Fig. 5: the networks side by side",
    "fig6": "Fig. 6: online learning, bladder",
    "figS1": "Supplement: online learning, catheter",
    "timing": "Time saved",
    "gain": "Gain against forgetting",
}
ORDER = (
    "fig3",
    "training",
    "kse",
    "fig4",
    "phi",
    "fig5",
    "fig6",
    "figS1",
    "timing",
)  # the pipeline's; findings and tables come first
WARNING = "Simulated data from a research program. Not for diagnosis, and not a medical device."
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 1000px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid #ccc; }
nav { font-size: 0.9rem; margin: 0.8rem 0; }
nav a { margin-right: 1em; display: inline-block; }
table { border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; text-align: right; border-bottom: 1px solid #eee; vertical-align: top; }
th { border-bottom: 1.5px solid #333; font-weight: 600; }
th:first-child, td:first-child, table.words td { text-align: left; }
table.findings { font-size: 0.8rem; line-height: 1.35; }
table.findings :is(th, td):is(:nth-child(2), :nth-child(3)) { text-align: left; }
table.findings :is(th, td):is(:nth-child(4), :nth-child(5), :nth-child(8)) { white-space: nowrap; }
figure { margin: 0.8rem 0 0.4rem; break-inside: avoid; }
img { width: 100%; height: auto; }
figcaption { font-size: 0.9rem; }
.files { font-size: 0.85rem; color: #555; }
.warning { border-left: 4px solid #b00; padding: 0.3rem 0.8rem; background: #fdf3f2; }
pre { font-size: 0.8rem; overflow-x: auto; }
a { color: #0057a0; }
@media print { nav, details { display: none; } body { margin: 0; max-width: none; font-size: 11px; } }
"""


def build(results: Results, captions: Path) -> str:
    """The report as HTML. `captions` holds {figure}.rst; figures are read from results/figures.

    A figure that was not drawn is named as missing; a missing caption raises FileNotFoundError.
    """
    sections = [("findings", TITLES["findings"], _findings(results) + _figure(results, "findings", captions))]
    sections.append(("run", "What was run", _run(results)))
    sections.append(("table1", TITLES["table1"], _figure(results, "table1", captions)))
    sections.append(("retention", "Old task and new task", _retention(results)))
    sections.append(("gain", TITLES["gain"], _figure(results, "gain", captions)))
    shown = [name for name in ORDER if name in drawn(results.config)]
    sections += [(name, TITLES[name], _figure(results, name, captions)) for name in shown]
    sections.append(("config", "Configuration", _config(results)))
    links = "".join(f'<a href="#{key}">{html.escape(title)}</a>' for key, title, _ in sections)
    body = "".join(f'<section id="{k}"><h2>{html.escape(title)}</h2>{text}</section>' for k, title, text in sections)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Targeted Gradient Descent for PET: report</title>'
        f"<style>{STYLE}</style></head><body><h1>Targeted Gradient Descent for PET denoising</h1>"
        f'<p class="warning">{WARNING}</p><nav>{links}</nav>{body}</body></html>\n'
    )


def caption_html(text: str) -> str:
    """The little reStructuredText that captions use (paragraphs, **bold**, *emphasis*, ``code``) as HTML."""
    text = html.escape(text.strip(), quote=False)
    for pattern, tag in ((r"``(.+?)``", "code"), (r"\*\*(.+?)\*\*", "strong"), (r"\*(.+?)\*", "em")):
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return "".join(f"<p>{' '.join(part.split())}</p>" for part in re.split(r"\n\s*\n", text))


def _figure(results: Results, name: str, captions: Path) -> str:
    caption = caption_html((captions / f"{name}.rst").read_text(encoding="utf-8"))
    png = results.root / "figures" / f"{name}.png"
    if not png.exists():
        return f"<p>Not drawn: figures/{name}.png is missing.</p>{caption}"
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    caption += f"<p>{html.escape(recommendation(results))}</p>" if name == "phi" else ""
    files = (("csv", "numbers (CSV)"), ("pdf", "vector (PDF)"))
    links = ", ".join(f'<a href="figures/{name}.{kind}">{text}</a>' for kind, text in files)
    alt = html.escape(TITLES[name])
    return (
        f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">'
        f'<figcaption>{caption}</figcaption></figure><p class="files">{links}</p>'
    )


def _run(results: Results) -> str:
    config, sidecars = results.config, list(_sidecars(results))
    first: dict[str, Any] = sidecars[0][1] if sidecars else {}
    roles = pd.Series([s.role for s in results.studies]).value_counts(sort=False)
    versions = first.get("software", software())
    finished = sorted(str(s.get("finished", "")) for _, s in sidecars)
    words = [
        ("Studies", ", ".join(f"{count} {role}" for role, count in roles.items())),
        ("Grid", f"{_times(config.grid.shape)} voxels of {_times(config.grid.voxel_mm)} mm"),
        ("Network", f"DnCNN, width {config.network.width:g}; {config.train.epochs} epochs (training), "
                    f"{config.adapt.epochs} (adaptation), {config.online.epochs} (online)"),
        ("Seed", str(config.seed)),
        ("Device", str(first.get("device", "unknown"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Networks finished", finished[-1] if finished else "unknown"),
    ]  # fmt: skip
    head = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in words)
    return f'<table class="words">{head}</table>' + _networks(sidecars)


def _networks(sidecars: Sequence[tuple[str, dict[str, Any]]]) -> str:
    rows = []
    for name, side in sidecars:
        share = ["–", "–"]
        for i, what in enumerate(("kernels", "parameters")):
            if side.get(f"{what}_total"):
                share[i] = f"{100 * side[f'{what}_retrained'] / side[f'{what}_total']:.1f} %"
        all_move = side.get("parameters_total") and side.get("parameters_retrained") == side["parameters_total"]
        same = {True: "yes", False: "NO", None: "–"}[None if all_move else side.get("useful_unchanged")]
        rows.append((name, *share, same, number(float(side.get("wall_s", "nan")), 0)))
    heads = [
        "network",
        "kernels retrained",
        "parameters retrained",
        "useful kernels unchanged, bit for bit",
        "time (s)",
    ]
    return _table(heads, rows)


def _findings(results: Results) -> str:
    path = results.root / "metrics" / "findings.csv"
    if not path.exists():
        return "<p>Not judged: metrics/findings.csv is missing.</p>"
    rows = []
    notes: dict[str, int] = {}  # many rows share one: numbered below the table
    for r in records(read_findings(path)):
        values = [float(v) for v in (r.effect, r.low, r.high)]
        digits = 2 if max(abs(v) for v in values if v == v) < 10 else 1
        effect, low, high = (number(v, digits) for v in values)
        interval = "–" if low == "-" else f"{low} to {high}"
        marks = [str(notes.setdefault(part, len(notes) + 1)) for part in filter(None, r.note.split("; "))]
        paper = "–" if pd.isna(r.paper) else f"{r.paper:g}"
        unit = "pp" if r.unit == POINTS else "%"
        words = (str(r.finding), r.claim, r.measure, f"{effect} {unit}", interval)
        rows.append((*words, r.holds, paper, ", ".join(marks)))
    heads = ["", "claim", "measure", "effect", "95 % interval", "holds", "paper", "notes"]
    text = (
        "<p>A claim holds (yes) or does not (no) where its 95 % interval lies on the claimed side of zero or on the "
        "other; where the interval holds zero, or nothing was repeated, it is unclear. pp: percentage points; errors "
        "of finding 6 in % of v1-net's.</p>"
    )
    below = "; ".join(f"{mark}: {html.escape(note)}" for note, mark in notes.items())
    link = f'<p class="files">Notes: {below}.<br><a href="metrics/findings.csv">findings (CSV)</a></p>'
    return text + _table(heads, rows).replace("<table>", '<table class="findings">', 1) + link


def _retention(results: Results) -> str:
    rows = []
    for r in records(retention(results)):
        changes = (f"{number(r.gain, 1)} %", f"{number(r.forgotten, 1)} %") if r.base else ("–", "–")
        rows.append((_name(r.network), r.base or "–", number(r.rmse_v1, 0), number(r.rmse_v2, 0), *changes))
    heads = ["network", "made from", "RMSE on v1 (Bq/mL)", "RMSE on v2 (Bq/mL)", "gain on v2", "forgotten on v1"]
    text = (
        "<p>Error on v1 and v2 images against the whole scan of the same protocol, in the body, mean over the low- and "
        "high-BMI studies. Gain: how much smaller than the error of the network it was made from, on the new task; "
        "forgotten: how much larger, on the old one. The paper's claim is that TGD gains as much and forgets less than "
        "fine-tuning.</p>"
    )
    unseen = [
        (_name(r.network), number(r.bladder_error, 1), number(r.catheter_error, 1)) for r in records(online(results))
    ]
    below = _table(["network", "error at the bladder (%)", "error in the catheter (%)"], unseen)
    link = '<p class="files"><a href="metrics/metrics.csv">all measures (CSV)</a></p>'
    return text + _table(heads, rows) + "<p>Organs unlike any in training:</p>" + below + link


def _config(results: Results) -> str:
    import yaml

    text = yaml.safe_dump(as_dict(results.config), sort_keys=False)
    return f"<details><summary>Every setting, as resolved</summary><pre>{html.escape(text)}</pre></details>"


def _sidecars(results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in results.ordered().items():
        folder = results.root / ("models" if entry.method == "train" else "adapted")
        paths = sorted((folder / name).glob("*.json")) if entry.data == "n2n" else [folder / f"{name}.json"]
        for path in paths:
            if path.exists():
                side = read_json(path)
                yield (f"{name}, {path.stem}" if entry.data == "n2n" else name), side | side.get("provenance", {})


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{v:g}" for v in values)


def _name(network: str) -> str:
    return "noisy input" if network == INPUT else network


assert set(TITLES) == set(FIGURES)
