"""What a whole configuration has to satisfy beyond each key's own limits. No torch in here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from ..io.files import NETWORK_KEY
from .schema import ConfigError, nearest

if TYPE_CHECKING:
    from .sections import Config, NetworkEntry

PATH = re.compile(
    r"[\w./][\w./+@=-]*"
)  # what shell, Snakemake's patterns and --pairs all take as it is
# The methods that a key of a network belongs to; method, data and base belong to all.
BELONGS = {
    "weights": ("train",),
    "phi": ("tgd",),
    "fraction": ("tgd",),
    "flow": ("tgd",),
    "mask": ("tgd",),
    "accumulate": ("tgd",),
    "batchnorm": ("finetune", "tgd"),
    "blocks": ("finetune",),
    "penalty": ("finetune",),
    "strength": ("finetune",),
    "replay": ("finetune",),
}


def check_whole(config: Config, source: str) -> None:
    """Raise ConfigError naming the source, the dotted key, the value and what is allowed."""
    _check_sampling(config, source)
    paths = {"results": config.results, "studies": config.studies}
    paths |= {
        f"networks.{n}.weights": e.weights
        for n, e in config.networks.items()
        if e.weights is not None
    }
    for key, text in paths.items():
        if not PATH.fullmatch(text):
            raise ConfigError(
                f"{source}: {key}: {text!r} is not allowed; a path of letters, digits and . _ / + @ = -"
            )
    for name in ("v1", "v2"):
        if name not in config.protocols:
            raise ConfigError(
                f"{source}: protocols: {name!r} is missing; v1 and v2 are both needed"
            )
    for name in config.protocols:
        if name not in ("v1", "v2"):
            raise ConfigError(
                f"{source}: protocols.{name}: unknown protocol; allowed are v1 and v2"
            )
    for stage in ("train", "adapt", "online"):
        patch = getattr(config, stage).patch
        if patch > min(config.grid.shape[:2]):
            raise ConfigError(
                f"{source}: {stage}.patch: {patch} voxels do not fit in grid.shape = {config.grid.shape}"
            )
    for name, entry in config.networks.items():
        if name == "input":
            raise ConfigError(
                f"{source}: networks.input: this name is taken by the noisy image in the tables"
            )
        if (same := [n for n in config.networks if n.lower() == name.lower()]) != [name]:
            raise ConfigError(
                f"{source}: networks: {' and '.join(same)} would share files on some disks; rename one"
            )
        _check_network(name, entry, config.networks, source)
    _check_score(config, source)
    _check_sweep(config, source)


def _check_sampling(config: Config, source: str) -> None:
    scan_s, sampling = config.simulation.scan_s, config.sampling
    for key, seconds in [
        *((f"sampling.levels_s[{i}]", s) for i, s in enumerate(sampling.levels_s)),
        ("sampling.online_s", sampling.online_s),
        ("sampling.test_s", sampling.test_s),
    ]:
        if seconds >= scan_s:
            raise ConfigError(
                f"{source}: {key}: {seconds:g} s; allowed is less than simulation.scan_s = {scan_s:g} s"
            )
    if len({f"{s:g}" for s in sampling.levels_s}) != len(sampling.levels_s):
        raise ConfigError(
            f"{source}: sampling.levels_s: a level is named twice: {sampling.levels_s}"
        )


def check_seeds(seeds: object, source: str) -> list[int]:
    """The seeds of a study; ConfigError where they are no list of different whole numbers >= 0.

    Snakemake hands over lists of the command line (`--config seeds='[1,2]'`) as texts.
    """
    if not isinstance(seeds, list) or not all(
        type(s) in (int, str) and str(s).isdecimal() for s in seeds
    ):
        raise ConfigError(f"{source}: seeds: expected a list of whole numbers >= 0, got {seeds!r}")
    numbers = [int(s) for s in seeds]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"{source}: seeds: {seeds}: each once")
    return numbers


def check_entry(start: str, entry: NetworkEntry) -> None:
    """Refuse keys that do not belong to the entry's method, or to each other; `start` begins the
    ConfigError.
    """
    for field in dataclasses.fields(entry):
        value, methods = getattr(entry, field.name), BELONGS.get(field.name)
        if methods is not None and entry.method not in methods and value != field.default:
            allowed = f"it belongs to {' and '.join(methods)}: remove it"
            raise ConfigError(
                f"{start}{field.name}: {value!r} is not allowed for method {entry.method!r}; {allowed}"
            )
    if entry.method == "finetune" and entry.batchnorm == "per_channel":
        raise ConfigError(
            f"{start}batchnorm: 'per_channel' belongs to tgd; allowed here is eval or train"
        )
    if entry.strength is not None and entry.penalty == "none":
        raise ConfigError(
            f"{start}strength: {entry.strength:g}, but penalty is 'none'; allowed with ewc, l2sp or lwf"
        )
    if entry.penalty != "none" and entry.strength is None and entry.data == "n2n":
        raise ConfigError(
            f"{start}strength: missing; a single study (data: n2n) holds nothing out to choose it on"
        )


def check_weights(networks: Mapping[str, NetworkEntry]) -> None:
    """Raise ConfigError if a file that a network is to be taken from is not there or holds no
    network.
    """
    for name, entry in networks.items():
        if entry.weights is None:
            continue
        where = f"networks.{name}.weights: {entry.weights}"
        if not Path(entry.weights).is_file():
            raise ConfigError(f"{where}: no such file")
        try:
            with safe_open(entry.weights, framework="numpy") as file:
                keys = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{where}: not a readable safetensors file: {error}") from None
        if NETWORK_KEY not in keys:
            raise ConfigError(
                f"{where}: no {NETWORK_KEY!r} in the metadata; this is not a network of this pipeline"
            )


def _check_network(
    name: str, entry: NetworkEntry, networks: Mapping[str, NetworkEntry], source: str
) -> None:
    key, method = f"{source}: networks.{name}", entry.method
    check_entry(f"{key}.", entry)
    if method == "train":
        if entry.base is not None:
            raise ConfigError(
                f"{key}.base: {entry.base!r}, but method 'train' starts from scratch: remove it"
            )
        if entry.weights is not None and entry.data == "n2n":
            raise ConfigError(
                f"{key}.weights: {entry.weights!r}, but data 'n2n' makes a network a study: remove it"
            )
        if entry.data == "adapt":
            raise ConfigError(
                f"{key}.data: 'adapt' is not allowed for method 'train'; allowed is v1 or v2 or n2n"
            )
        return
    if entry.base is None:
        raise ConfigError(f"{key}.base: missing; method {method!r} needs the network to start from")
    if entry.base not in networks:
        raise ConfigError(
            f"{key}.base: unknown network {entry.base!r}; {nearest(entry.base, networks)}"
        )
    if entry.data in ("v1", "v2"):
        raise ConfigError(
            f"{key}.data: {entry.data!r} is not allowed for method {method!r}; allowed is adapt or n2n"
        )
    chain = [name]
    while (base := networks[chain[-1]].base) is not None and base in networks:
        if base in chain:
            raise ConfigError(
                f"{key}.base: the chain runs in a circle: {' <- '.join([*chain, base])}"
            )
        chain.append(base)
    if entry.accumulate and networks[entry.base].method != "tgd":
        raise ConfigError(
            f"{key}.accumulate: true, but {entry.base!r} is no network made by tgd: remove it"
        )
    if networks[entry.base].data == "n2n":
        raise ConfigError(
            f"{key}.base: {entry.base!r} belongs to one study (data: n2n); name another network"
        )


def _check_score(config: Config, source: str) -> None:
    name, networks = config.score.network, config.networks
    shown = [f"{phi:g}" for phi in (0.0, *config.score.drop_phi)]
    if len(set(shown)) < len(shown):
        raise ConfigError(
            f"{source}: score.drop_phi: {config.score.drop_phi}: each once, and not 0 (always there)"
        )
    if networks and name not in networks:
        raise ConfigError(
            f"{source}: score.network: unknown network {name!r}; {nearest(name, networks)}"
        )
    if networks and networks[name].data == "n2n":
        raise ConfigError(
            f"{source}: score.network: {name!r} belongs to one study (data: n2n); name another network"
        )


def _check_sweep(config: Config, source: str) -> None:
    sweep, networks = config.sweep, config.networks
    if not sweep.phi:
        return
    if len({f"{phi:g}" for phi in sweep.phi}) < len(sweep.phi):
        raise ConfigError(f"{source}: sweep.phi: {sweep.phi}: each once")
    if sweep.network not in networks:
        raise ConfigError(
            f"{source}: sweep.network: unknown network {sweep.network!r}; {nearest(sweep.network, networks)}"
        )
    entry = networks[sweep.network]
    if (entry.method, entry.data) != ("tgd", "adapt"):
        made = f"has method {entry.method!r} and data {entry.data!r}"
        raise ConfigError(
            f"{source}: sweep.network: {sweep.network!r} {made}; allowed is method tgd with data adapt"
        )
