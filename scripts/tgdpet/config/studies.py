"""The table of studies: one row a study, tab separated, checked before any job starts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import roles
from .checks import PATH, check_weights
from .image_checks import check_images
from .schema import ConfigError, nearest
from .sections import Config
from .spheres import Sphere, parse_spheres

SOURCES = ("analytic", "anatomy", "petsird", "images")
FROM_FILES = ("anatomy", "petsird", "images")
SIMULATED = ("analytic", "anatomy")
IMAGES = "images"
NEEDED_COLUMNS = ("study", "role", "source", "bmi", "seed")
OPTIONAL_COLUMNS = ("path", "lesions", "organs")
PATH_LETTERS = "letters, digits and . _ / + @ = - only"
STUDY_NAME = re.compile(r"^[A-Za-z0-9]+$")
ORGAN_NAME = re.compile(r"^[A-Za-z0-9_]+$")
BMI_LIMITS = (10.0, 80.0)  # kg/m^2


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
    """One row: `bmi` in kg/m^2 (nan: not known); `seed` decides anatomy and counts; `path` belongs
    to sources that read files.

    `lesions` are put into an anatomy in place of those of its role. `organs` (a label image) and
    `spheres` say where organs and lesions of images are.
    """

    study: str
    role: str
    source: str
    bmi: float
    seed: int
    path: str | None = None
    lesions: tuple[Lesion, ...] = ()
    organs: str | None = None
    spheres: tuple[Sphere, ...] = ()

    @property
    def is_images(self) -> bool:
        """Whether it comes as images: nothing is simulated or reconstructed."""
        return self.source == IMAGES

    @property
    def is_simulated(self) -> bool:
        """Whether its true activity is known."""
        return self.source in SIMULATED


def read_studies(path: str | Path) -> list[Study]:
    """Read and check a table of studies, in the order of its rows.

    Windows line ends, a byte order mark and empty lines are accepted. Raises ConfigError naming
    file, row (the line of the file), column, value and what is allowed.
    """
    lines = _lines(path)
    if not lines:
        expected = f"expected a row of column names: {', '.join(NEEDED_COLUMNS)}"
        raise ConfigError(f"{path}: the table of studies is empty; {expected}")

    columns = _header(lines[0][1], path)
    rows = [row for row, _ in lines[1:]]
    studies: list[Study] = []
    for row, line in lines[1:]:
        where = f"{path}: row {row}"
        studies.append(_study(_cells(line, columns, where), where))
        _check_new(studies, rows, path)

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

    has_images = any(study.is_images for study in studies)
    _check_reference(config, studies)

    present = {study.role for study in studies}
    for role, reason in roles.needed(config).items():
        # What studies of images lack only takes away the figures that show it.
        if has_images and role in roles.TESTS:
            continue

        if role not in present:
            missing = f"no study has role {role!r}, needed {reason}"
            raise ConfigError(f"{config.studies}: column role: {missing}")

    if not present & set(roles.TESTS):
        listed = ", ".join(roles.TESTS)
        missing = f"no study has one of the test roles, {listed}: nothing would be measured"
        raise ConfigError(f"{config.studies}: column role: {missing}")


def _check_reference(config: Config, studies: Sequence[Study]) -> None:
    """One name of the whole scan for all studies of a run."""
    reference = config.images.reference
    whole = roles.level_name(config.simulation.scan_s)
    made = [study.study for study in studies if not study.is_images]

    if reference not in (None, whole) and made:
        allowed = f"study {made[0]} is no study of images, and its whole scan is called {whole!r}"
        raise ConfigError(f"{config.studies}: images.reference: {reference!r}; {allowed}")


def with_role(studies: Sequence[Study], *wanted: str) -> list[Study]:
    """The studies that have one of the `wanted` roles, in the table's order."""
    return [study for study in studies if study.role in wanted]


def _lines(path: str | Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers, from 1."""
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        key = "key studies of the configuration"
        raise ConfigError(f"{path}: no such table of studies ({key})") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a text file with a table of studies: {error}") from error

    numbered = enumerate(content.splitlines(), start=1)
    return [(row, line) for row, line in numbered if line.strip()]


def _header(line: str, path: str | Path) -> list[str]:
    """The column names of the first row."""
    if "\t" not in line and ("," in line or ";" in line):
        raise ConfigError(f"{path}: row 1: columns must be separated by tabs, found {line!r}")

    names = [name.strip() for name in line.split("\t")]
    listed = ", ".join(names)
    for name in NEEDED_COLUMNS:
        if name not in names:
            raise ConfigError(f"{path}: row 1: column {name!r} is missing; found {listed}")

    allowed = (*NEEDED_COLUMNS, *OPTIONAL_COLUMNS)
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{path}: row 1: unknown column {name!r}; {nearest(name, allowed)}")

    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: row 1: a column is named twice: {listed}")

    return names


def _cells(line: str, columns: Sequence[str], where: str) -> dict[str, str]:
    """Column -> cell of one row; optional columns at its end may be left out."""
    cells = [cell.strip() for cell in line.split("\t")]

    if len(cells) < len(columns) and set(columns) & set(OPTIONAL_COLUMNS):
        cells += [""] * (len(columns) - len(cells))

    if len(cells) != len(columns):
        expected = f"expected {len(columns)} cells separated by tabs"
        raise ConfigError(f"{where}: {expected}, got {len(cells)}")

    return dict(zip(columns, cells, strict=True))


def _study(cells: dict[str, str], where: str) -> Study:
    """The study of one row; `where` names file and row."""
    name = cells["study"]
    if not STUDY_NAME.match(name):
        raise ConfigError(
            f"{where}: column study: {name!r} is not allowed; letters and digits only"
        )

    for column, allowed in (("role", roles.ROLES), ("source", SOURCES)):
        value = cells[column]
        if value not in allowed:
            meant = nearest(value, allowed)
            raise ConfigError(f"{where}: column {column}: unknown {value!r}; {meant}")

    source = cells["source"]
    path = cells.get("path") or None
    _check_path(path, source, where)

    lesions = cells.get("lesions", "")
    if lesions and source not in ("anatomy", IMAGES):
        raise ConfigError(
            f"{where}: column lesions: only with source 'anatomy' or 'images', not {source!r}"
        )

    organs = cells.get("organs") or None
    if organs and source != IMAGES:
        raise ConfigError(f"{where}: column organs: only with source 'images', not {source!r}")
    if organs and not PATH.fullmatch(organs):
        raise ConfigError(f"{where}: column organs: {organs!r} is not allowed; {PATH_LETTERS}")

    is_images = source == IMAGES
    lesions_where = f"{where}: column lesions"
    return Study(
        study=name,
        role=cells["role"],
        source=source,
        bmi=math.nan if is_images and not cells["bmi"] else _bmi(cells["bmi"], where),
        seed=_seed_of(name) if is_images and not cells["seed"] else _seed(cells["seed"], where),
        path=path,
        lesions=() if is_images else parse_lesions(lesions, lesions_where),
        organs=organs,
        spheres=parse_spheres(lesions, lesions_where) if is_images else (),
    )


def _check_path(path: str | None, source: str, where: str) -> None:
    """Sources that read files need a path, the others have none."""
    if (source in FROM_FILES) != (path is not None):
        with_none = "the file or folder to read"
        expected = f"none with source {source!r}" if path else with_none
        raise ConfigError(f"{where}: column path: expected {expected}, got {path or 'nothing'!r}")

    if path and not PATH.fullmatch(path):
        raise ConfigError(f"{where}: column path: {path!r} is not allowed; {PATH_LETTERS}")


def parse_lesions(text: str, where: str) -> tuple[Lesion, ...]:
    """Lesions of `organ:diameter_mm:contrast,...`; ConfigError starting with `where`."""
    items = (item.strip() for item in text.split(","))

    return tuple(_lesion(item, where) for item in items if item)


def _lesion(item: str, where: str) -> Lesion:
    organ, *numbers = item.split(":")

    try:
        diameter_mm, contrast = map(float, numbers)
    except ValueError:
        diameter_mm = contrast = math.nan

    if not (ORGAN_NAME.match(organ) and 0 < diameter_mm < 500 and 0 < contrast < 1000):
        expected = "expected organ:diameter in mm:contrast, liver:20:3"
        raise ConfigError(f"{where}: {item!r} is not allowed; {expected}")

    return Lesion(organ, diameter_mm, contrast)


def source_options(study: Study) -> str:
    """Options of the simulation that say where the body of a study is from; none for the analytic
    one.
    """
    if study.source == "analytic":
        return ""

    options = f"--source {study.source} --path {study.path}"
    if not study.lesions:
        return options

    lesions = [f"{a.organ}:{a.diameter_mm:g}:{a.contrast:g}" for a in study.lesions]
    return f"{options} --lesions {','.join(lesions)}"


def input_files(study: Study) -> list[str]:
    """The files that a study is read from, the needed one first; those beside it only where they
    exist.
    """
    if study.path is None or study.is_images:
        return []

    path = Path(study.path)
    beside: list[Path] = []
    if study.source == "petsird":
        endings = (".json", ".mu.nii.gz", ".organs.nii.gz", ".background.npy")
        beside = [path.with_suffix(ending) for ending in endings]
    elif path.is_dir():
        beside = [path / "ct.nii.gz", path / "labels.tsv"]
        path = path / "labels.nii.gz"

    return [str(path), *(str(other) for other in beside if other.exists())]


def _check_files(config: Config, studies: Sequence[Study]) -> None:
    """The files of each study are there, with labels where it is tested on."""
    for study in studies:
        where = f"{config.studies}: study {study.study}: column path: {study.path}"
        if study.path and not Path(study.path).exists():
            raise ConfigError(f"{where}: no such file or folder")

        if study.organs and not Path(study.organs).exists():
            column = f"column organs: {study.organs}"
            raise ConfigError(f"{config.studies}: study {study.study}: {column}: no such file")

        if study.is_images:
            check_images(config, study, f"{config.studies}: study {study.study}")
            continue

        files = input_files(study)
        if files and not Path(files[0]).is_file():
            raise ConfigError(f"{where}: expected {files[0]}")

        if study.source == "petsird" and study.role in roles.TESTS:
            organs = Path(files[0]).with_suffix(".organs.nii.gz")
            if str(organs) not in files:
                needed = f"role {study.role!r} needs volumes of interest"
                raise ConfigError(f"{where}: {needed}: expected {organs}")


def _bmi(cell: str, where: str) -> float:
    """Body mass index, kg/m^2."""
    low, high = BMI_LIMITS

    try:
        bmi = float(cell)
    except ValueError:
        bmi = math.nan

    if not low <= bmi <= high:
        allowed = f"a number from {low:g} to {high:g} kg/m^2"
        raise ConfigError(f"{where}: column bmi: {cell!r} is not allowed; {allowed}")

    return bmi


def _seed(cell: str, where: str) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) <= 18):
        allowed = "a whole number from 0 to 1e18"
        raise ConfigError(f"{where}: column seed: {cell[:40]!r} is not allowed; {allowed}")

    return int(cell)


def _seed_of(name: str) -> int:
    """A number of its own for a study that draws nothing."""
    return int.from_bytes(name.encode()[:7])


def _check_new(studies: Sequence[Study], rows: Sequence[int], path: str | Path) -> None:
    """The last study against those before; names that differ only in case would share files on some
    disks.
    """
    new = studies[-1]
    where = f"{path}: row {rows[len(studies) - 1]}"

    for other, earlier in zip(studies[:-1], rows, strict=False):
        if other.study.lower() == new.study.lower():
            raise ConfigError(f"{where}: column study: {new.study!r} is already in row {earlier}")

        if other.seed == new.seed and not (other.is_images or new.is_images):
            same = f"{new.seed} is already in row {earlier} ({other.study})"
            advice = "the same anatomy twice; give each study its own seed"
            raise ConfigError(f"{where}: column seed: {same}: {advice}")
