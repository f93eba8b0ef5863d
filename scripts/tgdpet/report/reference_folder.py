"""The reference's folder: a finished study's tables and small figures, its configuration, and how
it was made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ..config import loading, sections
from ..config.studies import read_studies
from ..evaluation.reference import FILES
from ..evaluation.seed_runs import differing
from ..figures import FIGURES, TOGETHER
from ..io.files import atomic, read_json, sha256, write_json, write_text

MAX_MB = 5.0
ALSO = ("metrics/gain.csv", "metrics/phi.csv")  # kept where they are, and not compared
STUDIES, PROVENANCE = "studies.tsv", "provenance.json"
README = """# Reference

What a finished study found: tables with intervals (`metrics/`), figures, its settings (`config.yaml`, `studies.tsv`)
and how it was made (`provenance.json`). `make check-reference RESULTS=folder` compares a new run with it;
`make reference RESULTS=folder COMMAND='...'` makes it anew. Do not edit by hand.

| | |
|---|---|
{rows}
"""


def seeds_of(results: Path) -> list[Path]:
    """The folders of single seeds: `results` itself, or its seed-* folders; ValueError when it is
    no results folder.
    """
    if (results / "config.yaml").exists():
        return [results]
    seeds = sorted(
        results.glob("seed-*/config.yaml"), key=lambda path: int(path.parent.name.split("-")[1])
    )
    if not seeds:
        raise ValueError(
            f"{results}: neither config.yaml nor seed-*/config.yaml; expected a finished run or study"
        )
    return [path.parent for path in seeds]


def check_same(results: Path, reference: Path) -> None:
    """Raise ValueError with every setting, or row of the table of studies, in which the two
    differ.
    """
    if not (reference / PROVENANCE).exists():
        raise FileNotFoundError(
            f"{reference}/{PROVENANCE}: no such file; `make reference RESULTS=...` makes a reference"
        )
    config, kept = (
        loading.read_config(seeds_of(results)[0] / "config.yaml"),
        loading.read_config(reference / "config.yaml"),
    )
    if changed := differing(config, kept):
        words = "; ".join(
            f"{key}: {here} here, {there} there" for key, (here, there) in list(changed.items())[:5]
        )
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ValueError(
            f"{results}: not the reference's configuration ({reference}/config.yaml): {words}{more}"
        )
    for one, two in zip(
        read_studies(config.studies), read_studies(reference / STUDIES), strict=False
    ):
        if one != two:
            raise ValueError(
                f"{config.studies}: study {one.study} differs from {reference}/{STUDIES}: {one}, {two}"
            )
    counts = [len(read_studies(path)) for path in (config.studies, reference / STUDIES)]
    if counts[0] != counts[1]:
        raise ValueError(f"{config.studies}: {counts[0]} studies; the reference has {counts[1]}")


def write(results: Path, reference: Path, command: str) -> list[Path]:
    """Make `reference` from a finished run or study, which took `command`; the files written,
    relative to it.

    Raises FileNotFoundError for a table that is not there, ValueError for more than MAX_MB of
    files; either leaves `reference` as it was.
    """
    roots = seeds_of(results)
    config = loading.read_config(roots[0] / "config.yaml")
    sources = dict(_sources(results, roots[0]))
    sources[STUDIES] = Path(config.studies)
    for path in sources.values():
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; a finished run or study has it")
    size = sum(path.stat().st_size for path in sources.values()) / 1e6
    if size > MAX_MB:
        name, largest = max(sources.items(), key=lambda item: item[1].stat().st_size)
        raise ValueError(
            f"{results}: {size:.1f} MB to keep, at most {MAX_MB:g} are allowed; largest: {name} ({largest})"
        )
    told = provenance(roots, command)
    for name, path in sources.items():
        with atomic(reference / name) as temporary:
            shutil.copyfile(path, temporary)
    write_text(reference / "config.yaml", yaml.safe_dump(sections.as_dict(config), sort_keys=False))
    told["files"] = {name: sha256(reference / name) for name in sources}
    write_json(reference / PROVENANCE, {"provenance": told})
    shown = {k: v for k, v in told.items() if k not in ("files", "software")}
    rows = "\n".join(
        f"| {key} | {', '.join(map(str, v)) if isinstance(v, list) else v} |"
        for key, v in shown.items()
    )
    write_text(reference / "README.md", README.format(rows=rows))
    kept = [*sources, "config.yaml", PROVENANCE, "README.md"]
    for path in reference.rglob("*"):  # of an older reference
        if path.is_file() and str(path.relative_to(reference)) not in kept:
            path.unlink()
    return [Path(name) for name in kept]


def provenance(roots: Sequence[Path], command: str) -> dict[str, Any]:
    """How these folders were made, from the sidecars in them: commit, device, versions, dates and
    times.
    """
    sides = [side for root in roots for side in _sidecars(root)]
    if not sides:
        raise ValueError(f"{roots[0]}: no sidecar in it says how it was made")
    ends = [
        (datetime.fromisoformat(side["finished"]).timestamp(), float(side["wall_s"]))
        for side in sides
    ]
    last = max(sides, key=lambda side: datetime.fromisoformat(side["finished"]).timestamp())
    return {
        "command": command,
        "commit": sorted(
            {str(side.get("software", {}).get("commit", "unknown")) for side in sides}
        ),
        "device": sorted({str(side["device"]) for side in sides if side.get("device")}),
        "seeds": [loading.read_config(root / "config.yaml").seed for root in roots],
        "finished": last["finished"],
        "elapsed_h": round(
            (max(end for end, _ in ends) - min(end - wall for end, wall in ends)) / 3600, 2
        ),
        "jobs_h": round(sum(wall for _, wall in ends) / 3600, 2),
        "software": last.get("software", {}),
    }


def _sources(results: Path, first: Path) -> Iterator[tuple[str, Path]]:
    """Name in the reference -> file: tables, figures of all seeds together, and the other ones of
    the first seed.
    """
    for name in FILES.values():
        yield name, results / name
    for name in ALSO:
        if (results / name).exists():
            yield name, results / name
    for figure in FIGURES:
        root = results if figure in TOGETHER else first
        if (path := root / "figures" / f"{figure}.png").exists():
            yield str(path.relative_to(results)), path


def _sidecars(root: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(root.rglob("*.json")):
        content = read_json(path)
        side = {**content, **content.get("provenance", {})} if isinstance(content, dict) else {}
        if side.get("finished") and side.get("wall_s") is not None:
            yield side
