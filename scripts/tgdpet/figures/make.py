"""Draw one figure and write its picture, its vector file and its table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..evaluation.results import Results
from ..io.files import write_csv
from . import FIGURES
from .style import save_figure, styled


def make(name: str, results: Results, stem: Path) -> None:
    """Write {stem}.csv, {stem}.png and {stem}.pdf of the figure `name`; ValueError if there is none
    of that name.
    """
    if name not in FIGURES:
        raise ValueError(f"figure {name!r} is unknown; known are {', '.join(FIGURES)}")

    module = import_module(f".{name}", __package__)

    with styled(results.config.figures.voxels):
        figure, table = module.draw(results)
        write_csv(stem.with_name(stem.name + ".csv"), table)
        save_figure(figure, stem)
