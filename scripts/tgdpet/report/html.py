"""Pieces of an HTML page that opens offline: style, tables, captions, pictures inside the page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

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
.wide { overflow-x: auto; }
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


def page(title: str, body: str) -> str:
    """A whole page; `title` is its heading, too."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    )
    title = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>{title}</title><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )


def sections(parts: Sequence[tuple[str, str, str]]) -> str:
    """Links to all parts (key, title, content), then the parts."""
    links = "".join(f'<a href="#{key}">{html.escape(title)}</a>' for key, title, _ in parts)
    body = "".join(
        f'<section id="{k}"><h2>{html.escape(title)}</h2>{text}</section>'
        for k, title, text in parts
    )
    return f"<nav>{links}</nav>{body}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of plain words; `kind` is its class in the style sheet."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    opening = f'<table class="{kind}">' if kind else "<table>"
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f'<div class="wide">{opening}{head}<tbody>{body}</tbody></table></div>'


def picture(path: Path, title: str) -> str:
    """A PNG file as part of the page."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'


def caption_html(text: str) -> str:
    """The little reStructuredText that captions use (paragraphs, **bold**, *emphasis*, ``code``) as
    HTML.
    """
    text = html.escape(text.strip(), quote=False)
    for pattern, tag in (
        (r"``(.+?)``", "code"),
        (r"\*\*(.+?)\*\*", "strong"),
        (r"\*(.+?)\*", "em"),
    ):
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return "".join(f"<p>{' '.join(part.split())}</p>" for part in re.split(r"\n\s*\n", text))
