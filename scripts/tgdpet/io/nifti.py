"""Images on disk: NIfTI in mm with a BIDS-PET JSON sidecar; activity concentration in Bq/mL.

Whatever the order of a file's voxels, arrays are RAS+ (X, Y, Z) when they are read, axial slices
last; names and keys follow BIDS-PET (PET-BIDS 1.9).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import bids
from .contents import Number
from .damage import readable, shown
from .files import atomic, atomic_together, json_text
from .inheritance import read_sidecar
from .nibabel_alone import nib
from .nifti_size import check_size
from .orientation import from_ras, grid_difference, to_ras, voxel_mm

ACTIVITY_UNITS = "Bq/mL"
# Bq/mL and kBq/mL as programs write them, in small letters without blanks: Bq/cc, BQML, Bq.mL-1.
_MILLILITRE = r"(ml|cc|cm\^?3)"
ACTIVITY = re.compile(rf"(k?)bq(/?{_MILLILITRE}|[.*]?{_MILLILITRE}\^?-1)")
MM = 2  # NIfTI's code
# Endings of image files, in small letters; files may have them in capitals.
SUFFIXES = (".nii.gz", ".nii", ".img", ".hdr")
# Header fields that an image made from another one takes over as they are.
KEPT_FIELDS = (
    *("sform_code", "srow_x", "srow_y", "srow_z"),
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("pixdim", "xyzt_units", "descrip", "aux_file"),
    *("intent_code", "intent_name", "intent_p1", "intent_p2", "intent_p3"),
)


@dataclass(frozen=True)
class Stored:
    """How a file holds its voxels: their affine (4, 4), and the header with both of its forms."""

    affine: np.ndarray
    header: Any


@dataclass(frozen=True)
class Image:
    """An activity image: `data` (X, Y, Z) float32 in Bq/mL as RAS+, `affine` (4, 4) to RAS mm,
    `sidecar`; `stored` says how its file holds it, where it was read from one.
    """

    data: np.ndarray
    affine: np.ndarray
    sidecar: dict[str, Any] = field(default_factory=dict)
    stored: Stored | None = None

    @property
    def voxel_mm(self) -> np.ndarray:
        """Voxel size along the array's axes, mm."""
        return voxel_mm(self.affine)

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Voxels along the axes of the file that it was read from, else of the array."""
        if self.stored is None:
            return self.data.shape

        return from_ras(self.data, self.stored.affine).shape


def grid_affine(shape: tuple[int, ...], voxel_mm: tuple[float, ...]) -> np.ndarray:
    """RAS affine of a grid whose middle is the origin, mm."""
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * v for n, v in zip(shape, voxel_mm, strict=True)]

    return affine


def image_name(study: str, protocol: str, sample: str, tracer: str = "FDG") -> str:
    """BIDS-PET file name of an image."""
    return f"sub-{study}_trc-{tracer}_rec-{protocol}_desc-{sample}_pet.nii.gz"


def suffix(path: str | Path) -> str:
    """The ending of a NIfTI file's name, in small letters; empty where it is not that of one."""
    name = Path(path).name.lower()

    return next((ending for ending in SUFFIXES if name.endswith(ending)), "")


def sidecar_path(path: str | Path) -> Path:
    """The JSON file beside a NIfTI file."""
    path = Path(path)
    stem = path.name[: len(path.name) - len(suffix(path))]
    beside = path.with_name(stem + ".json")

    # Beside X.NII.GZ there may be X.JSON.
    in_capitals = beside.with_suffix(".JSON")
    has_capitals = path.suffix != path.suffix.lower()
    if has_capitals and in_capitals.exists() and not beside.exists():
        return in_capitals

    return beside


def with_sidecars(paths: Iterable[str | Path]) -> list[Path]:
    """The images and the JSON files beside them: what `read_image` reads."""
    images = [Path(path) for path in paths]

    return [*images, *map(sidecar_path, images)]


def read_image(path: str | Path) -> Image:
    """Read an activity image and its sidecar.

    Raises FileNotFoundError or ValueError naming the file when it is missing, truncated, not 3-D,
    not finite, without an affine, or when its sidecar is missing or says other units than Bq/mL.
    """
    data, affine, stored = _read(path)
    sidecar = _sidecar(path)

    units = sidecar.get("Units")
    if _factor(units) != 1:
        raise ValueError(f"{sidecar_path(path)}: Units: expected {ACTIVITY_UNITS!r}, got {units!r}")

    return Image(_finite(path, data), affine, sidecar, stored)


def read_like(path: str | Path, other: Image, other_path: str | Path) -> np.ndarray:
    """The voxels of an activity image that has to lie on the grid of another one, (X, Y, Z).

    Raises what `read_image` raises, and ValueError naming what differs.
    """
    image = read_image(path)

    difference = grid_difference(image.data.shape, image.affine, other.data.shape, other.affine)
    if difference:
        raise ValueError(f"{path}: {difference}, as in {other_path}")

    return image.data


def read_converted(path: str | Path, units: str | None = None) -> Image:
    """Read an activity image of another program as Bq/mL; kBq/mL is converted.

    `units` says what the sidecar does not, where it is missing or lacks `Units`. Raises what
    `read_image` raises, and ValueError where the units are not known, are SUV, or differ between
    `units` and the sidecar.
    """
    _check_name(path)
    beside = sidecar_path(path)
    sidecar = read_sidecar(beside) or {}
    in_sidecar = sidecar.get("Units")
    if isinstance(in_sidecar, str) and not in_sidecar.strip():
        in_sidecar = None  # as good as not said

    factor = _bqml_per_unit(path, beside, in_sidecar, units)

    data, affine, stored = _read(path)
    with np.errstate(over="ignore"):  # what overflows is not finite, and caught below
        data = data if factor == 1 else data * np.float32(factor)

    in_bqml = {**sidecar, "Units": ACTIVITY_UNITS}
    return Image(_finite(path, data), affine, in_bqml, stored)


def write_image(
    path: str | Path,
    data: np.ndarray,
    affine: np.ndarray,
    sidecar: Mapping[str, Any],
    like: Stored | None = None,
) -> None:
    """Write an activity image in Bq/mL (float32) and its sidecar: both, or none; and what the
    data set says of itself, where it lies in one (`bids`).

    With `like`, `data` is RAS+ on the grid of that image, and the file has its order of voxels, its
    affines with their codes, units and description.
    """
    bids.describe(path)
    text = json_text({**sidecar, "Units": ACTIVITY_UNITS})

    with atomic_together(path, sidecar_path(path)) as (image, beside):
        beside.write_text(text, encoding="utf-8")
        nib.save(_nifti(np.asarray(data, np.float32), affine, like), image)


def read_labels(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a label map: (X, Y, Z) int16 as RAS+, and its affine."""
    data, affine, _ = _read(path)

    with np.errstate(invalid="ignore"):  # NaN is caught below
        labels = np.rint(data).astype(np.int16)

    if not np.array_equal(labels, data):
        raise ValueError(f"{path}: expected whole-number labels, got fractions or NaN")

    return labels, affine


def write_labels(path: str | Path, labels: np.ndarray, affine: np.ndarray) -> None:
    """Write a label map (int16)."""
    _write(path, labels.astype(np.int16), affine)


def read_plain(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read any 3-D NIfTI volume: (X, Y, Z) float32 as RAS+, and its affine."""
    data, affine, _ = _read(path)

    return data.astype(np.float32, copy=False), affine


def write_plain(path: str | Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write any 3-D volume as float32 NIfTI (attenuation, sensitivity)."""
    _write(path, np.asarray(data, np.float32), affine)


def suv_factor(sidecar: Mapping[str, Any]) -> float:
    """Bq/mL of an SUV (body weight) of 1 at scan start.

    Raises ValueError naming the missing key; SUV is never guessed.
    """
    for key in ("InjectedRadioactivity", "BodyWeight", "ScanStart", "TracerHalfLife"):
        low = -math.inf if key == "ScanStart" else 0.0
        if not Number(above=low).holds(sidecar.get(key)):
            needed = "SUV needs dose (MBq), weight (kg), times (s)"
            raise ValueError(f"sidecar: {key} is missing; {needed}")

    decay = 0.5 ** (sidecar["ScanStart"] / sidecar["TracerHalfLife"])
    dose_bq = sidecar["InjectedRadioactivity"] * 1e6 * decay
    weight_g = sidecar["BodyWeight"] * 1e3

    return float(dose_bq / weight_g)


def _sidecar(path: str | Path) -> dict[str, Any]:
    beside = sidecar_path(path)
    sidecar = read_sidecar(beside)

    if sidecar is None:
        expected = f'it has to say "Units": "{ACTIVITY_UNITS}"'
        raise FileNotFoundError(f"{path}: its sidecar {beside.name} is missing; {expected}")

    return sidecar


def _bqml_per_unit(path: str | Path, beside: Path, in_sidecar: Any, given: str | None) -> float:
    """Bq/mL of one unit of the image `path`, by its sidecar `beside` or as `given`; ValueError."""
    if in_sidecar is None and given is None:
        missing = f"no sidecar {beside.name} says the units"
        raise ValueError(f"{path}: {missing}; give them: --units Bq/mL or --units kBq/mL")

    if in_sidecar is None:
        return _bqml(path, given)

    factor = _bqml(beside, in_sidecar)
    if given is not None and _bqml("--units", given) != factor:
        both = f"the sidecar says {in_sidecar!r}, --units {given!r}"
        raise ValueError(f"{beside}: Units: {both}; one of them is wrong")

    return factor


def _bqml(source: str | Path, units: Any) -> float:
    """Bq/mL of one unit; ValueError naming `source`, which says the unit."""
    name = str(units).strip().lower()
    message = f"{source}: Units: expected Bq/mL or kBq/mL, got {shown(units)}"

    if name.startswith("suv") or name == "g/ml":
        raise ValueError(
            f"{message}; the network needs activity, which SUV gives only with injected dose, "
            "body weight and times: export the image in Bq/mL"
        )

    factor = _factor(units)
    if factor is None:
        raise ValueError(message)

    return factor


def _factor(units: Any) -> float | None:
    """Bq/mL of one unit; None where it is no unit of activity concentration."""
    found = ACTIVITY.fullmatch("".join(str(units).lower().split()))
    if found is None:
        return None

    return 1e3 if found.group(1) else 1.0


def _finite(path: str | Path, data: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        data = data.astype(np.float32, copy=False)

    n_bad = int(np.count_nonzero(~np.isfinite(data)))
    if n_bad:
        raise ValueError(f"{path}: {n_bad} of {data.size} voxels are NaN or infinite")

    return data


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray, Stored]:
    """Voxels as RAS+ and their affine; how the file holds them."""
    _check_name(path)

    check_size(path)
    with readable(path, "NIfTI file"), _without_remarks():
        image: Any = nib.load(path)
        fault = _fault(image)
        data = np.asarray(image.dataobj) if fault is None else None

    if data is None:
        raise ValueError(f"{path}: {fault}")

    if data.dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected one real number a voxel, got {data.dtype}")

    stored = Stored(np.asarray(image.affine, float), image.header)
    return *to_ras(data.reshape(data.shape[:3]), stored.affine), stored


def _check_name(path: str | Path) -> None:
    """Raise FileNotFoundError or ValueError for what is no image by its name alone."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such image")

    if not suffix(path):
        expected = "*.nii.gz or *.nii"
        raise ValueError(f"{path}: expected an image named {expected}, got {Path(path).name!r}")


def _fault(image: Any) -> str | None:
    """What the header alone says against an image, before its voxels are read; None where nothing
    does.
    """
    if not isinstance(image, nib.Nifti1Pair):
        return f"not a NIfTI file but {type(image).__name__}"

    # A single frame is a 3-D image, whatever the number of axes.
    n_frames = math.prod(image.shape[3:])
    if len(image.shape) >= 3 and n_frames != 1:
        frames = f"{n_frames} frame(s); take out a single one first"
        return f"expected a 3-D image, got shape {image.shape}: {frames}"

    if len(image.shape) < 3:
        return f"expected a 3-D image, got shape {image.shape}"

    if 0 in image.shape:
        return f"expected an image with voxels, got shape {image.shape}"

    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        return "no affine (sform and qform codes are 0); position and orientation are unknown"

    affine = np.asarray(image.affine, float)
    if not _has_three_axes(affine):
        return f"expected an affine with three axes, mm, got {affine[:3].tolist()}"

    # The lowest three bits are the unit of space; 0 is unknown, taken as mm.
    code = int(image.header["xyzt_units"]) % 8
    if code not in (0, MM):
        name = {1: "metre", 3: "micron"}.get(code, f"code {code}")
        return f"xyzt_units: expected mm, got {name}"

    return None


def _has_three_axes(affine: np.ndarray) -> bool:
    """Whether an affine (4, 4) is finite, with voxels above a micrometre and independent axes."""
    axes = affine[:3, :3]
    size_mm = np.sqrt((axes**2).sum(axis=0))

    if not np.isfinite(affine).all() or size_mm.min() < 1e-3:
        return False

    return bool(abs(np.linalg.det(axes / size_mm)) >= 1e-3)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep nibabel's own lines about a header off the screen: what matters of it is checked here,
    and said in one line.
    """
    from nibabel.imageglobals import LoggingOutputSuppressor

    with LoggingOutputSuppressor(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _write(path: str | Path, data: np.ndarray, affine: np.ndarray) -> None:
    with atomic(path) as temporary:
        nib.save(_nifti(data, affine), temporary)


def _nifti(data: np.ndarray, affine: np.ndarray, like: Stored | None = None) -> Any:
    if like is None:
        image = nib.Nifti1Image(data, affine)
        image.header.set_xyzt_units("mm", "sec")
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
    else:
        image = nib.Nifti1Image(from_ras(data, like.affine), like.affine)
        for name in KEPT_FIELDS:
            image.header[name] = like.header[name]
        if int(like.header["xyzt_units"]) % 8 == 0:  # unknown, which was taken as mm
            image.header["xyzt_units"] += MM

    image.header["cal_min"] = 0
    image.header["cal_max"] = 0

    return image
