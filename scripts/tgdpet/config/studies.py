"""The table of studies: one row a study, tab separated, checked before any job starts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import roles
from .checks import check_weights
from .schema import nearest
from .sections import PATH, Config, ConfigError
from .sweep import datasets

SOURCES = ("analytic", "anatomy", "petsird", "images")
READABLE = ("analytic", "anatomy", "petsird")
FROM_FILES = ("anatomy", "petsird")
COLUMNS = ("study", "role", "source", "bmi", "seed")
OPTIONAL = ("path", "lesions")
LABEL = re.compile(r"^[A-Za-z0-9]+$")
ORGAN = re.compile(r"^[A-Za-z0-9_]+$")
BMI_LIMITS = (10.0, 80.0)


@dataclass(frozen=True)
class Lesion:
    """A sphere to put into an organ: diameter in mm, activity concentration over the organ's
    mean.
    """

    organ: str
    diameter_mm: float
    contrast: float


@dataclass(frozen=True)
class Study:
    """One row: `bmi` in kg/m^2; `seed` decides anatomy and counts; `path` belongs to sources that
    read files.

    `lesions` are put into an anatomy in place of those of its role.
    """

    study: str
    role: str
    source: str
    bmi: float
    seed: int
    path: str | None = None
    lesions: tuple[Lesion, ...] = ()


def read_studies(path: str | Path) -> list[Study]:
    """Read and check a table of studies, in the order of its rows.

    Windows line ends, a byte order mark and empty lines are accepted. Raises ConfigError naming
    file, row (the line of the file), column, value and what is allowed.
    """
    lines = _lines(path)
    if not lines:
        raise ConfigError(
            f"{path}: the table of studies is empty; expected a row of column names: {', '.join(COLUMNS)}"
        )
    names = _header(lines[0][1], path)
    studies: list[Study] = []
    for row, text in lines[1:]:
        cells = [cell.strip() for cell in text.split("\t")]
        if len(cells) < len(names) and set(names) & set(OPTIONAL):
            cells += [""] * (len(names) - len(cells))
        if len(cells) != len(names):
            raise ConfigError(
                f"{path}: row {row}: expected {len(names)} cells separated by tabs, got {len(cells)}"
            )
        studies.append(_study(dict(zip(names, cells, strict=True)), f"{path}: row {row}"))
        _check_new(studies, [number for number, _ in lines[1:]], path)
    if not studies:
        raise ConfigError(f"{path}: the table has column names but no study")
    return studies


def check_studies(config: Config, studies: Sequence[Study], files: bool = True) -> None:
    """Raise ConfigError if a role is missing that networks or figures need, or (`files`) what a
    study is read from.
    """
    if files:
        _check_files(config, studies)
        check_weights(config.networks)
    entries = config.networks.values()
    needed = {
        roles.LESION: "for Table 1 and Figs. 3 to 5",
        roles.HIGH_BMI: "for Fig. 5",
    }
    if {"v1", "v2"} & datasets(config):
        needed[roles.TRAINING] = "by the networks with data: v1 or v2"
    if any(entry.data == "adapt" for entry in entries):
        needed["adapt"] = "by the networks with data: adapt"
    if any(entry.data == "n2n" for entry in entries):
        needed[roles.BLADDER] = "by the networks with data: n2n (Fig. 6)"
        needed[roles.CATHETER] = "by the networks with data: n2n (Fig. S1)"
    present = {study.role for study in studies}
    for role, why in needed.items():
        if role not in present:
            raise ConfigError(
                f"{config.studies}: column role: no study has role {role!r}, needed {why}"
            )


def with_role(studies: Sequence[Study], *roles: str) -> list[Study]:
    """The studies that have one of `roles`, in the table's order."""
    return [study for study in studies if study.role in roles]


def _lines(path: str | Path) -> list[tuple[int, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such table of studies (key studies of the configuration)"
        ) from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a text file with a table of studies: {error}") from error
    return [(row, line) for row, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _header(line: str, path: str | Path) -> list[str]:
    if "\t" not in line and ("," in line or ";" in line):
        raise ConfigError(f"{path}: row 1: columns must be separated by tabs, found {line!r}")
    names = [name.strip() for name in line.split("\t")]
    for name in COLUMNS:
        if name not in names:
            raise ConfigError(
                f"{path}: row 1: column {name!r} is missing; found {', '.join(names)}"
            )
    allowed = (*COLUMNS, *OPTIONAL)
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{path}: row 1: unknown column {name!r}; {nearest(name, allowed)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: row 1: a column is named twice: {', '.join(names)}")
    return names


def _study(cells: dict[str, str], where: str) -> Study:
    if not LABEL.match(cells["study"]):
        raise ConfigError(
            f"{where}: column study: {cells['study']!r} is not allowed; letters and digits only"
        )
    for column, allowed in (("role", roles.ROLES), ("source", SOURCES)):
        if cells[column] not in allowed:
            raise ConfigError(
                f"{where}: column {column}: unknown {cells[column]!r}; {nearest(cells[column], allowed)}"
            )
    if cells["source"] not in READABLE:
        raise ConfigError(
            f"{where}: column source: {cells['source']!r} is not yet read by this version; "
            f"allowed are {', '.join(READABLE)}"
        )
    if (cells["source"] in FROM_FILES) != bool(path := cells.get("path")):
        expected = (
            "the file or folder to read" if not path else f"none with source {cells['source']!r}"
        )
        raise ConfigError(f"{where}: column path: expected {expected}, got {path or 'nothing'!r}")
    if path and not PATH.fullmatch(path):
        raise ConfigError(
            f"{where}: column path: {path!r} is not allowed; letters, digits and . _ / + @ = - only"
        )
    if cells.get("lesions") and cells["source"] != "anatomy":
        raise ConfigError(
            f"{where}: column lesions: only with source 'anatomy', not {cells['source']!r}"
        )
    return Study(
        study=cells["study"],
        role=cells["role"],
        source=cells["source"],
        bmi=_bmi(cells["bmi"], where),
        seed=_seed(cells["seed"], where),
        path=path or None,
        lesions=parse_lesions(cells.get("lesions", ""), f"{where}: column lesions"),
    )


def parse_lesions(text: str, where: str) -> tuple[Lesion, ...]:
    """Lesions of `organ:diameter_mm:contrast,...`; ConfigError starting with `where`."""
    out = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        words = item.split(":")
        try:
            diameter_mm, contrast = float(words[1]), float(words[2])
        except (IndexError, ValueError):
            diameter_mm = contrast = math.nan
        if (
            len(words) != 3
            or not ORGAN.match(words[0])
            or not (0 < diameter_mm < 500 and 0 < contrast < 1000)
        ):
            raise ConfigError(
                f"{where}: {item!r} is not allowed; expected organ:diameter in mm:contrast, liver:20:3"
            )
        out.append(Lesion(words[0], diameter_mm, contrast))
    return tuple(out)


def source_options(study: Study) -> str:
    """Options of the simulation that say where the body of a study is from; none for the analytic
    one.
    """
    if study.source == "analytic":
        return ""
    lesions = ",".join(
        f"{lesion.organ}:{lesion.diameter_mm:g}:{lesion.contrast:g}" for lesion in study.lesions
    )
    return f"--source {study.source} --path {study.path}" + (
        f" --lesions {lesions}" if lesions else ""
    )


def input_files(study: Study) -> list[str]:
    """The files that a study is read from, the needed one first; those beside it only where they
    exist.
    """
    if study.path is None:
        return []
    path = Path(study.path)
    if study.source == "petsird":
        beside = [
            path.with_suffix(end)
            for end in (".json", ".mu.nii.gz", ".organs.nii.gz", ".background.npy")
        ]
    elif path.is_dir():
        labels, *beside = [path / name for name in ("labels.nii.gz", "ct.nii.gz", "labels.tsv")]
        path = labels
    else:
        beside = []
    return [str(path), *(str(p) for p in beside if p.exists())]


def _check_files(config: Config, studies: Sequence[Study]) -> None:
    for study in studies:
        where = f"{config.studies}: study {study.study}: column path: {study.path}"
        if study.path and not Path(study.path).exists():
            raise ConfigError(f"{where}: no such file or folder")
        files = input_files(study)
        if files and not Path(files[0]).is_file():
            raise ConfigError(f"{where}: expected {files[0]}")
        if (
            study.source == "petsird"
            and study.role in roles.TESTS
            and ".organs." not in " ".join(files)
        ):
            organs = Path(files[0]).with_suffix(".organs.nii.gz")
            raise ConfigError(
                f"{where}: role {study.role!r} needs volumes of interest: expected {organs}"
            )


def _bmi(text: str, where: str) -> float:
    low, high = BMI_LIMITS
    try:
        bmi = float(text)
    except ValueError:
        bmi = math.nan
    if not low <= bmi <= high:
        raise ConfigError(
            f"{where}: column bmi: {text!r} is not allowed; a number from {low:g} to {high:g} kg/m^2"
        )
    return bmi


def _seed(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ConfigError(
            f"{where}: column seed: {text[:40]!r} is not allowed; a whole number from 0 to 1e18"
        )
    return int(text)


def _check_new(studies: Sequence[Study], rows: Sequence[int], path: str | Path) -> None:
    """The last study against those before; names that differ only in case would share files on some
    disks.
    """
    new, row = studies[-1], rows[len(studies) - 1]
    for other, earlier in zip(studies[:-1], rows, strict=False):
        if other.study.lower() == new.study.lower():
            raise ConfigError(
                f"{path}: row {row}: column study: {new.study!r} is already in row {earlier}"
            )
        if other.seed == new.seed:
            raise ConfigError(
                f"{path}: row {row}: column seed: {new.seed} is already in row {earlier} ({other.study}): "
                "the same anatomy twice; give each study its own seed"
            )
