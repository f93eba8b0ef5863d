"""The reference's folder: a finished study's tables, small figures, configuration and weights.

And how it was made.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ..config import loading, sections
from ..config.paths import RunFiles
from ..config.studies import read_studies
from ..evaluation.reference import FILES
from ..evaluation.seed_runs import differing
from ..figures import FIGURES, TOGETHER
from ..io.files import atomic, read_json, sha256, write_json, write_text
from ..networks.shipped import SHIPPED

MAX_MB = 5.0
KEPT_IF_THERE = ("metrics/gain.csv", "metrics/phi.csv")  # kept where they are, and not compared
STUDIES = "studies.tsv"
LEFT_OUT = ("difference", "mip", "training")  # large, and the paper has none of them
PROVENANCE = "provenance.json"
MAX_NAMED = 5  # settings that differ, in one message
README = """# Reference

What a finished study found: tables with intervals (`metrics/`), figures, its settings
(`config.yaml`, `studies.tsv`), networks of its first seed with their cards (`models/`) and how it
was made (`provenance.json`). `make check-reference RESULTS=folder` compares a new run with it;
`make reference RESULTS=folder COMMAND='...'` makes it anew. Do not edit by hand.

| | |
|---|---|
{rows}
"""


def seeds_of(results: Path) -> list[Path]:
    """The folders of single seeds: `results` itself, or its seed-* folders.

    ValueError when it is no results folder.
    """
    if (results / "config.yaml").exists():
        return [results]

    def seed(folder: Path) -> int:
        return int(folder.name.split("-")[1])

    folders = [path.parent for path in results.glob("seed-*/config.yaml")]

    if not folders:
        raise ValueError(
            f"{results}: neither config.yaml nor seed-*/config.yaml;"
            " expected a finished run or study"
        )

    return sorted(folders, key=seed)


def check_same(results: Path, reference: Path) -> None:
    """Raise ValueError with every setting, or row of the table of studies, in which two differ."""
    if not (reference / PROVENANCE).exists():
        raise FileNotFoundError(
            f"{reference}/{PROVENANCE}: no such file;"
            " `make reference RESULTS=...` makes a reference"
        )

    config = loading.read_config(seeds_of(results)[0] / "config.yaml")
    reference_config = loading.read_config(reference / "config.yaml")

    if changed := differing(config, reference_config):
        raise ValueError(
            f"{results}: not the reference's configuration ({reference}/config.yaml):"
            f" {_changes_text(changed)}"
        )

    _check_same_studies(Path(config.studies), reference / STUDIES)


def write_reference(results: Path, reference: Path, command: str) -> list[Path]:
    """Make `reference` from a finished run or study, which took `command`.

    Returns the files written, relative to it. Raises FileNotFoundError for a table that is not
    there, ValueError for more than MAX_MB of files; either leaves `reference` as it was.
    """
    roots = seeds_of(results)
    config = loading.read_config(roots[0] / "config.yaml")
    sources = dict(_sources(results, roots[0]))
    sources |= _networks(roots[0], config)
    sources[STUDIES] = Path(config.studies)
    _check_sources(sources, results)
    made = provenance(roots, command)

    for name, path in sources.items():
        with atomic(reference / name) as temporary:
            shutil.copyfile(path, temporary)

    # Where it lay is nobody else's; whoever runs it again names a folder.
    config = dataclasses.replace(config, results="results", studies=STUDIES)
    settings = yaml.safe_dump(sections.as_dict(config), sort_keys=False)
    write_text(reference / "config.yaml", settings)

    files = {name: sha256(reference / name) for name in sources}
    write_json(reference / PROVENANCE, {"provenance": {**made, "files": files}})
    write_text(reference / "README.md", README.format(rows=_readme_rows(made)))

    kept = [*sources, "config.yaml", PROVENANCE, "README.md"]
    _remove_others(reference, kept)
    return [Path(name) for name in kept]


def provenance(roots: Sequence[Path], command: str) -> dict[str, Any]:
    """How these folders were made, from their sidecars: commit, device, versions, dates, times."""
    sidecars = [sidecar for root in roots for sidecar in _sidecars(root)]

    if not sidecars:
        raise ValueError(f"{roots[0]}: no sidecar in it says how it was made")

    # Of every job, in seconds since the epoch.
    ends_s = [datetime.fromisoformat(sidecar["finished"]).timestamp() for sidecar in sidecars]
    durations_s = [float(sidecar["wall_s"]) for sidecar in sidecars]
    starts_s = [end - duration for end, duration in zip(ends_s, durations_s, strict=True)]

    last = sidecars[ends_s.index(max(ends_s))]
    commits = {str(side.get("software", {}).get("commit", "unknown")) for side in sidecars}
    devices = {str(side["device"]) for side in sidecars if side.get("device")}

    precisions = {str(side["precision"]) for side in sidecars if side.get("precision")}

    return {
        "command": command,
        "commit": sorted(commits),
        "device": sorted(devices),
        "precision": sorted(precisions),
        "seeds": [loading.read_config(root / "config.yaml").seed for root in roots],
        "finished": last["finished"],
        "elapsed_h": round((max(ends_s) - min(starts_s)) / 3600, 2),
        "jobs_h": round(sum(durations_s) / 3600, 2),
        "software": last.get("software", {}),
    }


def precision_note(results: Path, reference: Path) -> str:
    """One line: the precision that the networks here and the reference's were trained in."""
    sidecars = [sidecar for root in seeds_of(results) for sidecar in _sidecars(root)]
    here = sorted({str(side["precision"]) for side in sidecars if side.get("precision")})

    made = read_json(reference / PROVENANCE)["provenance"]
    there = made.get("precision") or ["float32"]  # references of before other precisions

    return f"precision of training: {', '.join(here) or 'not known'}; reference {', '.join(there)}"


def _changes_text(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """The first settings that differ, with both values, and how many more there are."""
    named = []

    for key, (here, there) in list(changed.items())[:MAX_NAMED]:
        named.append(f"{key}: {here} here, {there} there")

    n_more = len(changed) - len(named)
    more = f"; and {n_more} more" if n_more else ""
    return "; ".join(named) + more


def _check_same_studies(path: Path, reference_path: Path) -> None:
    studies = read_studies(path)
    reference_studies = read_studies(reference_path)

    for study, kept in zip(studies, reference_studies, strict=False):
        if study != kept:
            raise ValueError(
                f"{path}: study {study.study} differs from {reference_path}: {study}, {kept}"
            )

    if len(studies) != len(reference_studies):
        raise ValueError(
            f"{path}: {len(studies)} studies; the reference has {len(reference_studies)}"
        )


def _check_sources(sources: Mapping[str, Path], results: Path) -> None:
    """Raise FileNotFoundError for a missing file, ValueError for too many bytes."""
    for path in sources.values():
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; a finished run or study has it")

    sizes_mb = {name: path.stat().st_size / 1e6 for name, path in sources.items()}
    total_mb = sum(sizes_mb.values())

    if total_mb > MAX_MB:
        largest = max(sizes_mb, key=lambda name: sizes_mb[name])
        raise ValueError(
            f"{results}: {total_mb:.1f} MB to keep, at most {MAX_MB:g} are allowed;"
            f" largest: {largest} ({sources[largest]})"
        )


def _readme_rows(made: Mapping[str, Any]) -> str:
    """The rows of the README's table."""
    rows = []

    for key, value in made.items():
        if key == "software":
            continue

        cell = ", ".join(map(str, value)) if isinstance(value, list) else value
        rows.append(f"| {key} | {cell} |")

    return "\n".join(rows)


def _remove_others(reference: Path, kept: Sequence[str]) -> None:
    """Remove the files of an older reference."""
    for path in reference.rglob("*"):
        if path.is_file() and str(path.relative_to(reference)) not in kept:
            path.unlink()


def _sources(results: Path, first: Path) -> Iterator[tuple[str, Path]]:
    """Name in the reference -> file.

    Tables, figures of all seeds together, and the other ones of the first seed.
    """
    for name in FILES.values():
        yield name, results / name

    for name in KEPT_IF_THERE:
        if (results / name).exists():
            yield name, results / name

    for figure in [name for name in FIGURES if name not in LEFT_OUT]:
        root = results if figure in TOGETHER else first
        path = root / "figures" / f"{figure}.png"

        if path.exists():
            yield str(path.relative_to(results)), path


def _networks(root: Path, config: sections.Config) -> dict[str, Path]:
    """Name in the reference -> weights or card, of the networks that are kept.

    A tutorial, or a run elsewhere, can start from them without hours of training.
    """
    run = RunFiles(root, config, ())
    weights = [run.weights_path(name) for name in SHIPPED if name in config.networks]
    files = [file for path in weights for file in (path, path.with_suffix(".md"))]
    return {f"models/{file.name}": file for file in files if file.exists()}


def _sidecars(root: Path) -> Iterator[Mapping[str, Any]]:
    """The sidecars of a results folder that say when and how long a job ran."""
    for path in sorted(root.rglob("*.json")):
        content = read_json(path)

        if not isinstance(content, dict):
            continue

        origin = content.get("provenance")
        sidecar = {**content, **(origin if isinstance(origin, dict) else {})}

        if sidecar.get("finished") and sidecar.get("wall_s") is not None:
            yield sidecar
