"""Draw one figure and write its picture, its vector file and its table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..files import write_csv
from . import FIGURES, fig3, fig4, fig5, fig6, figS1, findings, gain, kse, phi, table1, timing, training
from .common import Results
from .style import save, styled

Draw = Callable[[Results], tuple[Figure, pd.DataFrame]]
MODULES = (table1, fig3, fig4, fig5, fig6, figS1, timing, kse, training, findings, gain, phi)
DRAW: dict[str, Draw] = dict(zip(FIGURES, (module.draw for module in MODULES), strict=True))


def make(name: str, results: Results, stem: Path) -> None:
    """Write {stem}.csv, {stem}.png and {stem}.pdf of the figure `name`; ValueError if there is none of that name."""
    if name not in DRAW:
        raise ValueError(f"figure {name!r} is unknown; known are {', '.join(DRAW)}")
    with styled():
        figure, table = DRAW[name](results)
        write_csv(stem.with_name(stem.name + ".csv"), table)
        save(figure, stem)
