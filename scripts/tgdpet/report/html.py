"""The report's page from its template, captions from reStructuredText, pictures as text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils.core import publish_parts
from docutils.utils import SystemMessage
from markupsafe import Markup

from .templates import environment

TEMPLATE = "report.html.j2"
# Captions are text alone, and a mistake in one is an error.
CAPTION_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 2,
}


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor and title, and what the template's macro `kind` writes."""

    key: str
    title: str
    kind: str
    content: dict[str, Any] = field(default_factory=dict)


def page(title: str, sections: Sequence[Section], data: str = "Simulated data") -> str:
    """A whole page; a single section, without links or warning, is the page of a table.

    `data`: what the warning says that the page shows.
    """
    return environment().get_template(TEMPLATE).render(title=title, sections=sections, data=data)


def caption_html(path: Path) -> Markup:
    """A caption, a file of reStructuredText, as HTML; ValueError naming the file for a mistake."""
    try:
        parts = publish_parts(
            path.read_text(encoding="utf-8"),
            source_path=str(path),
            writer="html5",
            settings_overrides=CAPTION_SETTINGS,
        )
    except SystemMessage as error:
        raise ValueError(f"{path}: {error}") from error

    return Markup(parts["body"])


def png_text(path: Path) -> str:
    """A picture in base 64, to stand inside the page."""
    return base64.b64encode(path.read_bytes()).decode("ascii")
