"""Options that say what one simulated study is."""

from __future__ import annotations

import argparse

from ..config.lesions import parse_lesions
from ..config.roles import ROLES
from ..config.studies import LABEL_TABLES, SIMULATED, Study

ROLE = "decides lesions, bladder and catheter"
PATH = "folder of labels.nii.gz (and ct.nii.gz, labels.tsv), or a label map: anatomy"
LABELS = "whose class numbers the label map has; default: its labels.tsv, or v2: anatomy"
LESIONS = "organ:diameter_mm:contrast,... in place of the role's: anatomy"


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add the columns of the table of studies as options."""
    option = parser.add_argument

    option("--study", required=True, help="name of the study")
    option("--role", required=True, choices=sorted(ROLES), help=ROLE)
    option("--bmi", type=float, required=True, help="body mass index, kg/m2")
    option("--study-seed", type=int, required=True, help="the study's own seed")
    option("--source", default="analytic", choices=SIMULATED, help="where the body is from")
    option("--path", help=PATH)
    option("--labels", choices=LABEL_TABLES, help=LABELS)
    option("--lesions", default="", help=LESIONS)


def study_of_options(args: argparse.Namespace) -> Study:
    """The study of parsed options; ValueError where they do not go together."""
    if (args.source == "anatomy") != bool(args.path):
        belongs = "--path: belongs to --source anatomy, which needs it"
        raise ValueError(f"{belongs}; got {args.path!r} with {args.source}")

    return Study(
        study=args.study,
        role=args.role,
        source=args.source,
        bmi=args.bmi,
        seed=args.study_seed,
        path=args.path,
        lesions=parse_lesions(args.lesions, "--lesions"),
        labels=args.labels,
    )


def source_options(study: Study) -> str:
    """Options of the simulation that say where the body of a study is from; none for the analytic
    one.
    """
    if study.source == "analytic":
        return ""

    options = f"--source {study.source} --path {study.path}"
    if study.labels:
        options += f" --labels {study.labels}"
    if not study.lesions:
        return options

    lesions = [f"{a.organ}:{a.diameter_mm:g}:{a.contrast:g}" for a in study.lesions]
    return f"{options} --lesions {','.join(lesions)}"
