"""What a bootstrap needs of one study: values in its volumes of interest, image by image.

A file `{study}_voi.npz` holds, for each protocol, the samples' names, the reference (whole scan)
and, for the noisy input and every network, liver voxels (S, V), lesion mean (S,) and errors (S,) of
the same S noisy images. With it, intervals are computed later without reading an image again.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config.roles import REALISATION
from ..io.files import atomic

FORMAT = 1
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
Floats = npt.NDArray[np.floating]


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
    """One protocol's images: `samples` names the S noisy ones; `liver` (V,) and `lesion` (mean) are
    the reference's.
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


def write(path: str | Path, values: StudyValues) -> None:
    """Write one study's values whole or not at all; the same values give the same bytes."""
    check(values, str(path))
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT), "study": np.array(values.study), "role": np.array(values.role),
    }  # fmt: skip
    for name, protocol in values.protocols.items():
        arrays[f"{name}/samples"] = np.array(protocol.samples)
        for key, array in _arrays(protocol):
            arrays[f"{name}/{key}"] = array
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read(path: str | Path) -> StudyValues:
    """Read what `write` wrote.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong: damaged, an array
    that is missing, of another size, or with a value that is not finite.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; 09_evaluate.py writes it")
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path}: not a readable npz file (truncated?): {error}") from error
    try:
        if arrays["format"].tolist() != FORMAT:
            raise ValueError(
                f"format {arrays['format']} is not read by this version, which reads {FORMAT}"
            )
        protocols = {key.split("/")[0] for key in arrays if key.endswith("/samples")}
        values = StudyValues(
            str(arrays["study"]),
            str(arrays["role"]),
            {name: _protocol(arrays, name) for name in sorted(protocols)},
        )
    except KeyError as error:
        raise ValueError(f"{path}: the array {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    check(values, str(path))
    return values


def check(values: StudyValues, source: str) -> None:
    """Raise ValueError, starting with `source`, when sizes disagree, a name comes twice or a value
    is not finite.
    """
    if not values.protocols:
        raise ValueError(f"{source}: no protocol in it")
    for name, protocol in values.protocols.items():
        n = len(protocol.samples)
        if not n or len(set(protocol.samples)) != n:
            raise ValueError(
                f"{source}: {name}/samples: expected names, each once, got {list(protocol.samples)}"
            )
        n_voxels = None if protocol.liver is None else len(protocol.liver)
        for network, own in protocol.networks.items():
            where = f"{source}: {name}/network/{network}"
            for organ in ("liver", "lesion"):
                if (getattr(protocol, organ) is None) != (getattr(own, organ) is None):
                    raise ValueError(
                        f"{where}/{organ}: expected in the network and in the reference, found in one"
                    )
            if not own.errors:
                raise ValueError(f"{where}: it has no error")
        for key, array in _arrays(protocol):
            expected: tuple[int, ...] = (n,)
            if key == "reference/liver":
                expected = (n_voxels or 0,)
            elif key == "reference/lesion":
                expected = ()
            elif key.endswith("/liver"):
                expected = (n, n_voxels or 0)
            if array.shape != expected:
                raise ValueError(
                    f"{source}: {name}/{key}: expected the shape {expected}, got {array.shape}"
                )
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"{source}: {name}/{key}: a value is not a finite number")


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


def _protocol(arrays: Mapping[str, Any], name: str) -> ProtocolValues:
    """The arrays of one protocol; KeyError for one that the others call for."""
    start = f"{name}/network/"
    # Every network has at least its errors, so that they name the networks, in the order in which
    # they were written.
    found: dict[str, dict[str, Floats]] = {}
    for key, array in arrays.items():
        match key.split("/"):
            case [protocol, "network", network, "error", measure] if protocol == name:
                found.setdefault(network, {})[measure] = array
    liver, lesion = (f"{name}/reference/{organ}" for organ in ("liver", "lesion"))
    networks = {
        network: NetworkValues(
            arrays[f"{start}{network}/liver"] if liver in arrays else None,
            arrays[f"{start}{network}/lesion"] if lesion in arrays else None,
            errors,
        )
        for network, errors in found.items()
    }
    if not networks:
        raise KeyError(f"{start}NAME/error/MEASURE")
    return ProtocolValues(
        tuple(map(str, arrays[f"{name}/samples"])),
        arrays.get(liver),
        float(arrays[lesion]) if lesion in arrays else None,
        networks,
    )
