"""What a bootstrap needs of one study: values in its volumes of interest, image by image.

A file `{study}_voi.npz` holds, for each protocol, the samples' names, the reference (whole scan)
and, for the noisy input and every network, liver voxels (S, V), lesion mean (S,) and errors (S,) of
the same S noisy images. With it, intervals are computed later without reading an image again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config.roles import REALISATION
from ..io.arrays import read_arrays, write_arrays
from .bootstrap import Floats

FORMAT_VERSION = 1
# Measures of a single image that are kept; PSNR may be infinite and SSIM is not taken of every
# image.
ERRORS = (
    "rmse",
    "liver_rmse",
    "liver_cov_spatial",
    "bladder_error",
    "bladder_rim_error",
    "catheter_error",
)


@dataclass(frozen=True, eq=False)
class NetworkValues:
    """One network's values of S images: `liver` (S, V) float32 and `lesion` means (S,), in Bq/mL.

    Both are None without the organ. `errors`: measure -> (S,), in the units of the metrics table.
    """

    liver: Floats | None
    lesion: Floats | None
    errors: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class ProtocolValues:
    """One protocol's images.

    `samples` names the S noisy ones; `liver` (V,) and `lesion` (mean) are the reference's.
    """

    samples: tuple[str, ...]
    liver: Floats | None
    lesion: float | None
    networks: Mapping[str, NetworkValues]

    def realised(self) -> list[int]:
        """Positions of the i.i.d. realisations among the samples."""
        return [i for i, name in enumerate(self.samples) if REALISATION.fullmatch(name)]


@dataclass(frozen=True, eq=False)
class StudyValues:
    """One study's values by protocol (v1, v2)."""

    study: str
    role: str
    protocols: Mapping[str, ProtocolValues]


def file_name(study: str) -> str:
    """Name of a study's file, beside its table of metrics."""
    return f"{study}_voi.npz"


def write_voi_values(path: str | Path, values: StudyValues) -> None:
    """Write one study's values whole or not at all; the same values give the same bytes."""
    check_voi_values(values, str(path))

    arrays: dict[str, Any] = {
        "format": np.array(FORMAT_VERSION),
        "study": np.array(values.study),
        "role": np.array(values.role),
    }

    for name, protocol in values.protocols.items():
        arrays[f"{name}/samples"] = np.array(protocol.samples)

        for key, array in _arrays(protocol):
            arrays[f"{name}/{key}"] = array

    write_arrays(path, arrays)


def read_voi_values(path: str | Path) -> StudyValues:
    """Read what `write_voi_values` wrote.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong: damaged, an array
    that is missing, of another size, or with a value that is not finite.
    """
    path = Path(path)

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; 09_evaluate.py writes it")

    arrays = read_arrays(path, "npz file")

    try:
        values = _study(arrays)
    except KeyError as error:
        raise ValueError(f"{path}: the array {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error

    check_voi_values(values, str(path))
    return values


def check_voi_values(values: StudyValues, source: str) -> None:
    """Raise ValueError where values do not belong together, starting with `source`.

    Sizes that disagree, a name that comes twice, an organ that only the reference has, a value that
    is not finite.
    """
    if not values.protocols:
        raise ValueError(f"{source}: no protocol in it")

    for name, protocol in values.protocols.items():
        _check_samples(protocol, f"{source}: {name}/samples")

        for network, network_values in protocol.networks.items():
            _check_organs(protocol, network_values, f"{source}: {name}/network/{network}")

        for key, array in _arrays(protocol):
            _check_array(array, _expected_shape(key, protocol), f"{source}: {name}/{key}")


def _check_samples(protocol: ProtocolValues, where: str) -> None:
    samples = protocol.samples

    if not samples or len(set(samples)) != len(samples):
        raise ValueError(f"{where}: expected names, each once, got {list(samples)}")


def _check_organs(protocol: ProtocolValues, network: NetworkValues, where: str) -> None:
    for organ in ("liver", "lesion"):
        in_reference = getattr(protocol, organ) is not None
        in_network = getattr(network, organ) is not None

        if in_reference != in_network:
            raise ValueError(
                f"{where}/{organ}: expected in the network and in the reference, found in one"
            )

    if not network.errors:
        raise ValueError(f"{where}: it has no error")


def _expected_shape(key: str, protocol: ProtocolValues) -> tuple[int, ...]:
    n_images = len(protocol.samples)
    n_voxels = 0 if protocol.liver is None else len(protocol.liver)

    if key == "reference/liver":
        return (n_voxels,)

    if key == "reference/lesion":
        return ()

    return (n_images, n_voxels) if key.endswith("/liver") else (n_images,)


def _check_array(array: Floats, expected: tuple[int, ...], where: str) -> None:
    if array.shape != expected:
        raise ValueError(f"{where}: expected the shape {expected}, got {array.shape}")

    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{where}: a value is not a finite number")


def _arrays(protocol: ProtocolValues) -> Iterator[tuple[str, Floats]]:
    """(key, array) of everything but the samples' names."""
    if protocol.liver is not None:
        yield "reference/liver", protocol.liver

    if protocol.lesion is not None:
        yield "reference/lesion", np.array(protocol.lesion, np.float64)

    for network, values in protocol.networks.items():
        if values.liver is not None:
            yield f"network/{network}/liver", values.liver

        if values.lesion is not None:
            yield f"network/{network}/lesion", values.lesion

        for measure, errors in values.errors.items():
            yield f"network/{network}/error/{measure}", errors


def _study(arrays: Mapping[str, Any]) -> StudyValues:
    """The values in a file's arrays; KeyError for one that is missing."""
    if arrays["format"].tolist() != FORMAT_VERSION:
        raise ValueError(
            f"format {arrays['format']} is not read by this version, which reads {FORMAT_VERSION}"
        )

    names = {key.split("/")[0] for key in arrays if key.endswith("/samples")}
    study = str(arrays["study"])
    role = str(arrays["role"])
    protocols = {name: _protocol(arrays, name) for name in sorted(names)}
    return StudyValues(study, role, protocols)


def _protocol(arrays: Mapping[str, Any], name: str) -> ProtocolValues:
    """The arrays of one protocol; KeyError for one that the others call for."""
    prefix = f"{name}/network/"
    liver = f"{name}/reference/liver"
    lesion = f"{name}/reference/lesion"
    networks = {}

    for network, errors in _errors_by_network(arrays, name).items():
        networks[network] = NetworkValues(
            arrays[f"{prefix}{network}/liver"] if liver in arrays else None,
            arrays[f"{prefix}{network}/lesion"] if lesion in arrays else None,
            errors,
        )

    if not networks:
        raise KeyError(f"{prefix}NAME/error/MEASURE")

    return ProtocolValues(
        samples=tuple(map(str, arrays[f"{name}/samples"])),
        liver=arrays.get(liver),
        lesion=float(arrays[lesion]) if lesion in arrays else None,
        networks=networks,
    )


def _errors_by_network(arrays: Mapping[str, Any], name: str) -> dict[str, dict[str, Floats]]:
    """Network -> measure -> errors of one protocol, in the order in which they were written.

    Every network has at least its errors, so that they name the networks.
    """
    errors: dict[str, dict[str, Floats]] = {}

    for key, array in arrays.items():
        match key.split("/"):
            case [protocol, "network", network, "error", measure] if protocol == name:
                errors.setdefault(network, {})[measure] = array

    return errors
