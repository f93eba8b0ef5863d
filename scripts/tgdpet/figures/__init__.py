"""The figures: one module each, with `draw(results) -> (figure, table of what it shows)`."""

from __future__ import annotations

from ..config import Config

FIGURES = ("table1", "fig3", "fig4", "fig5", "fig6", "figS1", "timing", "kse", "training", "findings", "gain", "phi")


def drawn(config: Config) -> list[str]:
    """The figures of a configuration: phi is drawn where there is a sweep."""
    return [name for name in FIGURES if name != "phi" or config.sweep.phi]
