"""What a whole configuration has to satisfy beyond each key's own limits. No torch in here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from ..io import damage
from ..io.files import NETWORK_KEY
from .schema import LARGEST, ConfigError, nearest

if TYPE_CHECKING:
    from .sections import Config, NetworkEntry

# What a shell, Snakemake's patterns and --pairs all take as it is.
PATH = re.compile(r"[\w./][\w./+@=-]*")
# The methods that a key of a network belongs to; method, data and base belong to all.
BELONGS = {
    "weights": ("train",),
    "phi": ("tgd",),
    "fraction": ("tgd",),
    "fraction_of": ("tgd",),
    "keep_blocks": ("tgd",),
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
    _check_paths(config, source)
    _check_protocols(config, source)
    _check_patches(config, source)
    _check_logs(config, source)

    for name, entry in config.networks.items():
        _check_name(name, config.networks, source)
        _check_network(name, entry, config.networks, source)

    _check_score(config, source)
    _check_sweep(config, source)


def _check_logs(config: Config, source: str) -> None:
    """Only an adaptation has an old task."""
    for stage in ("train", "online"):
        if getattr(config, stage).log_old:
            raise ConfigError(f"{source}: {stage}.log_old: belongs to adapt alone")


def check_seeds(seeds: object, source: str) -> list[int]:
    """The seeds of a study; ConfigError where they are no list of different whole numbers >= 0.

    Snakemake hands over lists of the command line (`--config seeds='[1,2]'`) as texts.
    """
    if not isinstance(seeds, list) or not all(_is_seed(seed) for seed in seeds):
        expected = "expected a list of whole numbers >= 0"
        raise ConfigError(f"{source}: seeds: {expected}, got {damage.shown(seeds)}")

    numbers = [int(seed) for seed in seeds]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"{source}: seeds: {damage.shown(seeds)}: each once")

    return numbers


def _is_seed(value: object) -> bool:
    if type(value) is int:
        return 0 <= value < LARGEST

    return type(value) is str and len(value) <= 18 and value.isascii() and value.isdecimal()


def check_entry(start: str, entry: NetworkEntry) -> None:
    """Refuse keys that do not belong to the entry's method, or to each other; `start` begins the
    ConfigError.
    """
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        methods = BELONGS.get(field.name)

        if methods is not None and entry.method not in methods and value != field.default:
            refused = f"{value!r} is not allowed for method {entry.method!r}"
            belongs = f"it belongs to {' and '.join(methods)}: remove it"
            raise ConfigError(f"{start}{field.name}: {refused}; {belongs}")

    if entry.fraction_of != "all" and entry.fraction is None:
        raise ConfigError(f"{start}fraction_of: {entry.fraction_of!r} needs a fraction, got none")

    if entry.method == "finetune" and entry.batchnorm == "per_channel":
        allowed = "allowed here is eval or train"
        raise ConfigError(f"{start}batchnorm: 'per_channel' belongs to tgd; {allowed}")

    if entry.strength is not None and entry.penalty == "none":
        allowed = "allowed with ewc, l2sp or lwf"
        raise ConfigError(f"{start}strength: {entry.strength:g}, but penalty is 'none'; {allowed}")

    if entry.penalty != "none" and entry.strength is None and entry.data == "n2n":
        reason = "a single study (data: n2n) holds nothing out to choose it on"
        raise ConfigError(f"{start}strength: missing; {reason}")


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
                metadata = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            message = f"not a readable safetensors file: {damage.reason(error)}"
            raise ConfigError(f"{where}: {message}") from None

        if NETWORK_KEY not in metadata:
            reason = "this is not a network of this pipeline"
            raise ConfigError(f"{where}: no {NETWORK_KEY!r} in the metadata; {reason}")


def _check_sampling(config: Config, source: str) -> None:
    """Samples are shorter than the scan, and each noise level is named once."""
    sampling = config.sampling
    scan_s = config.simulation.scan_s

    durations_s = {f"sampling.levels_s[{i}]": s for i, s in enumerate(sampling.levels_s)}
    durations_s["sampling.online_s"] = sampling.online_s
    durations_s["sampling.test_s"] = sampling.test_s

    for key, seconds in durations_s.items():
        if seconds >= scan_s:
            allowed = f"allowed is less than simulation.scan_s = {scan_s:g} s"
            raise ConfigError(f"{source}: {key}: {seconds:g} s; {allowed}")

    levels = sampling.levels_s
    if _has_repeated(levels):
        raise ConfigError(f"{source}: sampling.levels_s: a level is named twice: {levels}")


def _check_paths(config: Config, source: str) -> None:
    paths = {"results": config.results, "studies": config.studies}
    for name, entry in config.networks.items():
        if entry.weights is not None:
            paths[f"networks.{name}.weights"] = entry.weights

    for key, path in paths.items():
        longest = max(map(len, path.split("/")))
        if not PATH.fullmatch(path) or longest > 200 or len(path) > 2000:
            allowed = "a path of letters, digits and . _ / + @ = -, each part at most 200"
            raise ConfigError(f"{source}: {key}: {damage.shown(path)} is not allowed; {allowed}")


def _check_protocols(config: Config, source: str) -> None:
    for name in ("v1", "v2"):
        if name not in config.protocols:
            needed = "v1 and v2 are both needed"
            raise ConfigError(f"{source}: protocols: {name!r} is missing; {needed}")

    for name in config.protocols:
        if name not in ("v1", "v2"):
            allowed = "allowed are v1 and v2"
            raise ConfigError(f"{source}: protocols.{name}: unknown protocol; {allowed}")


def _check_patches(config: Config, source: str) -> None:
    shape = config.grid.shape
    for stage in ("train", "adapt", "online"):
        patch = getattr(config, stage).patch
        if patch > min(shape[:2]):
            fault = f"{patch} voxels do not fit in grid.shape = {shape}"
            raise ConfigError(f"{source}: {stage}.patch: {fault}")


def _check_name(name: str, networks: Mapping[str, NetworkEntry], source: str) -> None:
    if name == "input":
        taken = "this name is taken by the noisy image in the tables"
        raise ConfigError(f"{source}: networks.input: {taken}")

    same = [other for other in networks if other.lower() == name.lower()]
    if same != [name]:
        clash = f"{' and '.join(same)} would share files on some disks"
        raise ConfigError(f"{source}: networks: {clash}; rename one")


def _check_network(
    name: str, entry: NetworkEntry, networks: Mapping[str, NetworkEntry], source: str
) -> None:
    key = f"{source}: networks.{name}"
    check_entry(f"{key}.", entry)

    if entry.method == "train":
        _check_trained(key, entry)
    else:
        _check_adapted(key, name, entry, networks)


def _check_trained(key: str, entry: NetworkEntry) -> None:
    """A network that starts from scratch, or is taken from a file."""
    if entry.base is not None:
        fault = "but method 'train' starts from scratch: remove it"
        raise ConfigError(f"{key}.base: {entry.base!r}, {fault}")

    if entry.weights is not None and entry.data == "n2n":
        fault = "but data 'n2n' makes a network a study: remove it"
        raise ConfigError(f"{key}.weights: {entry.weights!r}, {fault}")

    if entry.data == "adapt":
        allowed = "allowed is v1 or v2 or n2n"
        raise ConfigError(f"{key}.data: 'adapt' is not allowed for method 'train'; {allowed}")


def _check_adapted(
    key: str, name: str, entry: NetworkEntry, networks: Mapping[str, NetworkEntry]
) -> None:
    """A network that starts from another one."""
    if entry.base is None:
        needed = f"method {entry.method!r} needs the network to start from"
        raise ConfigError(f"{key}.base: missing; {needed}")

    if entry.base not in networks:
        meant = nearest(entry.base, networks)
        raise ConfigError(f"{key}.base: unknown network {entry.base!r}; {meant}")

    if entry.data in ("v1", "v2"):
        refused = f"{entry.data!r} is not allowed for method {entry.method!r}"
        raise ConfigError(f"{key}.data: {refused}; allowed is adapt or n2n")

    _check_chain(key, name, networks)

    base = networks[entry.base]
    if entry.accumulate and base.method != "tgd":
        fault = f"true, but {entry.base!r} is no network made by tgd: remove it"
        raise ConfigError(f"{key}.accumulate: {fault}")

    if base.data == "n2n":
        fault = f"{entry.base!r} belongs to one study (data: n2n)"
        raise ConfigError(f"{key}.base: {fault}; name another network")


def _check_chain(key: str, name: str, networks: Mapping[str, NetworkEntry]) -> None:
    """The chain of bases ends at a network that is trained from scratch."""
    chain = [name]
    while (base := networks[chain[-1]].base) is not None and base in networks:
        if base in chain:
            circle = " <- ".join([*chain, base])
            raise ConfigError(f"{key}.base: the chain runs in a circle: {circle}")

        chain.append(base)


def _check_score(config: Config, source: str) -> None:
    drop_phi = config.score.drop_phi
    if _has_repeated([0.0, *drop_phi]):
        rule = "each once, and not 0 (always there)"
        raise ConfigError(f"{source}: score.drop_phi: {drop_phi}: {rule}")

    name = config.score.network
    networks = config.networks
    if networks and name not in networks:
        meant = nearest(name, networks)
        raise ConfigError(f"{source}: score.network: unknown network {name!r}; {meant}")

    if networks and networks[name].data == "n2n":
        fault = f"{name!r} belongs to one study (data: n2n)"
        raise ConfigError(f"{source}: score.network: {fault}; name another network")


def _check_sweep(config: Config, source: str) -> None:
    sweep = config.sweep
    networks = config.networks
    if not sweep.phi:
        return

    if _has_repeated(sweep.phi):
        raise ConfigError(f"{source}: sweep.phi: {sweep.phi}: each once")

    if sweep.network not in networks:
        meant = nearest(sweep.network, networks)
        raise ConfigError(f"{source}: sweep.network: unknown network {sweep.network!r}; {meant}")

    entry = networks[sweep.network]
    if (entry.method, entry.data) != ("tgd", "adapt"):
        made = f"{sweep.network!r} has method {entry.method!r} and data {entry.data!r}"
        allowed = "allowed is method tgd with data adapt"
        raise ConfigError(f"{source}: sweep.network: {made}; {allowed}")


def _has_repeated(numbers: Sequence[float]) -> bool:
    """Whether two numbers are the same in file names, which have six digits."""
    names = {f"{number:g}" for number in numbers}

    return len(names) < len(numbers)
