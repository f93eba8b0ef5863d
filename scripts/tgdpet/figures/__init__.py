"""The figures: one module each, with `draw(results) -> (figure, table of what it shows)`."""

from __future__ import annotations

FIGURES = ("table1", "fig3", "fig4", "fig5", "fig6", "figS1", "timing", "kse", "training", "findings", "gain")
