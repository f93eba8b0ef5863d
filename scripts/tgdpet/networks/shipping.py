"""Networks of a results folder made those that come with the package, with what they know."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..config.loading import read_config
from ..config.paths import RunFiles, image_path
from ..config.sections import Config
from ..io.files import read_json, sha256, write_json
from ..io.nifti import read_image
from . import model_card, weights
from .domain import Domain, of_images, united
from .shipped import INDEX, ShippedNetwork, index_content, shipped

MOST_BYTES = 10**6  # of a network's file


def ship(results: Path, names: Sequence[str], folder: Path) -> list[ShippedNetwork]:
    """Write weights, cards and the index of the networks `names` of a results folder into `folder`.

    The weights keep every bit; their card gains the domain, measured on the noisy images that they
    and the networks before them were trained on. Networks in `folder` that are not named stay.
    Raises ValueError or FileNotFoundError naming what is missing or too large.
    """
    config = read_config(results / "config.yaml")
    made = []

    for name in names:
        if name not in config.networks:
            known = ", ".join(config.networks)
            raise ValueError(f"{name}: no network of {results}; it has {known}")

        made.append(_ship_network(results, config, name, folder))

    # Those of this run first, in the order that was asked for.
    kept = {network.name: network for network in made}
    kept |= {name: network for name, network in shipped(folder).items() if name not in kept}
    origin = _origin(results, config, names[-1])
    write_json(folder / INDEX, {**index_content(kept), "provenance": origin})
    return made


def _origin(results: Path, config: Config, name: str) -> dict[str, Any]:
    """Seed and versions of the run, without its machine and paths."""
    path = RunFiles(results, config, ()).weights_path(name).with_suffix(".json")
    provenance = read_json(path)["provenance"]

    return {key: provenance[key] for key in ("seed", "software", "device", "finished")}


def _ship_network(results: Path, config: Config, name: str, folder: Path) -> ShippedNetwork:
    entry = config.networks[name]
    source = RunFiles(results, config, ()).weights_path(name)
    model, card = weights.load(source)

    domain = _domain(results, config, name)
    path = folder / f"{name}.safetensors"
    weights.save(path, model, dataclasses.replace(card, domain=domain.as_dict()))

    n_bytes = path.stat().st_size
    if n_bytes > MOST_BYTES:
        path.unlink()
        raise ValueError(f"{source}: expected at most {MOST_BYTES} bytes, got {n_bytes}")

    _, described = weights.load(path)
    numbers = read_json(source.with_suffix(".json"))
    model_card.write(path, described, numbers, _index(results, entry.data))

    return ShippedNetwork(
        name, path, sha256(path), _trained_on(results, config, name), described.domain
    )


def _index(results: Path, data: str) -> Path:
    return results / "dataset" / data / "index.tsv"


def _domain(results: Path, config: Config, name: str) -> Domain:
    """Of the images that a network and those before it were trained on."""
    entry = config.networks[name]
    before = Domain() if entry.base is None else _domain(results, config, entry.base)

    return united(before, _task_domain(results, entry.data))


@cache
def _task_domain(results: Path, data: str) -> Domain:
    """Of the noisy images of one task."""
    return of_images(read_image(path) for path in _noisy_images(results, data))


def _noisy_images(results: Path, data: str) -> Iterable[Path]:
    """The noisy images of a task that are trained on."""
    from ..dataset.index import read_index  # loads pandas, which only shipping needs

    table = read_index(_index(results, data))
    trained = table[table["split"] == "train"]

    for row in trained[["study", "sample"]].drop_duplicates().itertuples():
        study = str(row.study)
        yield image_path(results / "recon", study, _protocol(data), str(row.sample))


def _protocol(data: str) -> str:
    return "v1" if data == "v1" else "v2"


def _trained_on(results: Path, config: Config, name: str) -> str:
    """One line in words."""
    entry = config.networks[name]
    from ..dataset.index import read_index  # loads pandas, which only shipping needs

    table = read_index(_index(results, entry.data))
    n_studies = table.loc[table["split"] == "train", "study"].nunique()

    known = _task_domain(results, entry.data)
    frames = " to ".join(f"{seconds:g}" for seconds in dict.fromkeys(known.frame_s))
    sources = ", ".join(known.sources)
    own = f"{n_studies} studies ({sources}), protocol {_protocol(entry.data)}, {frames} s"

    return own if entry.base is None else f"{entry.base}, then {own}"
