"""What the reports show, in their order: figures (a module each, with `draw(results) -> (figure,
table of what it shows)`) and tables (written by report.py). Each has its caption in
workflow/report/NAME.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config.sections import Config
from ..evaluation.inputs import adapted_networks


@dataclass(frozen=True)
class Shown:
    """A figure or table of the reports: where it stands, its title, and which tables it is drawn
    from.

    `tables` lie under the results folder; other files are named in inputs.py. `together`: it needs
    these tables only, so that it is also made of all seeds of a study at once.
    """

    category: str
    title: str
    tables: tuple[str, ...] = ()
    together: bool = False
    drawn: bool = True


JUDGED, ESTIMATED, DROPPED = "metrics/findings.csv", "metrics/estimates.csv", "kse/drop.csv"
SHOWN = {
    "findings_table": Shown(
        "Findings", "The paper's findings", (JUDGED,), together=True, drawn=False
    ),
    "findings": Shown("Findings", "The findings as intervals", (JUDGED,), together=True),
    "table1": Shown(
        "Findings", "Table 1: lesion bias and liver noise", (ESTIMATED,), together=True
    ),
    "numbers_table": Shown(
        "Findings", "Every number with its interval", (ESTIMATED,), together=True, drawn=False
    ),
    "fig3": Shown("Reconstruction", "Fig. 3: the two reconstructions"),
    "training": Shown("Training", "Training"),
    "kse": Shown("Kernels", "Kernel scores", (DROPPED,)),
    "fig4": Shown("Kernels", "Fig. 4: kernels dropped", (DROPPED,)),
    "phi": Shown("Adaptation", "Choice of phi", ("metrics/phi.csv",), together=True),
    "gain": Shown("Adaptation", "Gain against forgetting", ("metrics/gain.csv",), together=True),
    "gain_paths": Shown("Adaptation", "Gain and forgetting on the way"),
    "timing": Shown("Adaptation", "Time saved"),
    "fig5": Shown("Denoising", "Fig. 5: the networks side by side"),
    "difference": Shown("Denoising", "Differences: what is removed, what is wrong"),
    "mip": Shown("Denoising", "Maximum intensity projections"),
    "profiles": Shown("Denoising", "Profiles through lesion and bladder"),
    "nps": Shown("Denoising", "Noise power spectra"),
    "noise_gain": Shown("Denoising", "Noise that each network leaves, by frequency"),
    "fig6": Shown("Online learning", "Fig. 6: online learning, bladder"),
    "figS1": Shown("Online learning", "Supplement: online learning, catheter"),
}
CATEGORIES = tuple(dict.fromkeys(shown.category for shown in SHOWN.values()))
FIGURES = tuple(name for name, shown in SHOWN.items() if shown.drawn)
TABLES = tuple(name for name, shown in SHOWN.items() if not shown.drawn)
TOGETHER = tuple(name for name in FIGURES if SHOWN[name].together)


def numbered(name: str) -> tuple[str, str]:
    """Category and title with their numbers ("1 Findings", "1.2 ..."), as Snakemake's report sorts
    by the alphabet.
    """
    category = SHOWN[name].category
    number = CATEGORIES.index(category) + 1

    siblings = [other for other, shown in SHOWN.items() if shown.category == category]
    within = siblings.index(name) + 1

    return f"{number} {category}", f"{number}.{within} {SHOWN[name].title}"


def reported(config: Config, alone: bool) -> list[str]:
    """Figures and tables of a report: all of a run's, or (not `alone`) those of all seeds of a
    study together.
    """
    figures = drawn(config)
    shown = [name for name in SHOWN if name in figures or name in TABLES]
    return [name for name in shown if alone or SHOWN[name].together]


def drawn(config: Config) -> list[str]:
    """The figures of a configuration: phi is drawn where there is a sweep, gain_paths where logs of
    adaptations tell what is forgotten.
    """
    wanted = {"phi": bool(config.sweep.phi), "gain_paths": bool(adapted_networks(config))}
    return [name for name in FIGURES if wanted.get(name, True)]
