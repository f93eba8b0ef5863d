"""An analytic FDG phantom of the trunk, from the pelvis to the heart, whose anatomy varies with
seed and BMI.

Organs are ellipsoids in RAS mm (x to the patient's right, y to the front, z to the head), painted
in order. Uptake values are SUV of FDG at 60 min as found in adults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..config import roles
from ..config.sections import Simulation
from ..constants import ORGANS

# Linear attenuation at 511 keV, 1/cm (NIST XCOM: water 0.096, lung at 0.26 g/cm3, adipose, spongy
# bone).
MU_PER_CM = {"air": 0.0, "lung": 0.025, "fat": 0.090, "marrow": 0.110}
MU_SOFT_PER_CM = 0.096

MUSCLE_SUV = 0.6
FAT_SUV = 0.25
BOWEL_SUV = 1.1
TALLER_THAN_GRID_MM = 2000.0  # semi-axis along z of what runs through all slices
TRUNKS = ("fat", "body")  # a trunk is squarer than an ellipse
TEXTURE_SD = 0.05  # of uptake within organs
TEXTURE_MM = 25.0  # over which it is correlated

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Organ:
    """An ellipsoid: label name, centre and semi-axes in RAS mm, SUV, turn about z."""

    name: str
    centre_mm: Triple
    axes_mm: Triple
    suv: float
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Phantom:
    """A painted phantom on a grid: SUV, attenuation, labels; and the body's mass."""

    suv: np.ndarray
    mu_per_cm: np.ndarray
    labels: np.ndarray
    weight_kg: float
    organs: tuple[Organ, ...]


@dataclass(frozen=True)
class OrganModel:
    """An ellipsoid as it is in the mean, and its relative standard deviations between studies.

    With `suv` None it takes up what the organ before it does. With `moves` its distance from the
    body's midline varies too, in proportion for all organs that move.
    """

    name: str
    centre_mm: Triple
    axes_mm: Triple
    suv: float | None
    suv_spread: float = 0.08
    axes_spread: float = 0.08
    moves: bool = False


# In the order in which they are drawn and painted.
ORGAN_MODELS = (
    OrganModel("lung", (-72, 5, 175), (52, 70, 85), 0.45),
    OrganModel("lung", (72, 5, 175), (52, 70, 85), 0.45),
    OrganModel("heart", (-22, 30, 112), (42, 36, 34), 2.6, suv_spread=0.25),
    OrganModel("liver", (60, 10, 56), (78, 66, 52), 2.2, suv_spread=0.1, moves=True),
    OrganModel("liver", (-8, 30, 64), (58, 34, 34), None),
    OrganModel("spleen", (-92, -30, 70), (25, 34, 42), 1.8, suv_spread=0.12, moves=True),
    OrganModel("kidney", (-62, -48, -4), (24, 22, 44), 2.6, suv_spread=0.3),
    OrganModel("kidney", (62, -48, 8), (24, 22, 44), 2.6, suv_spread=0.3),
    OrganModel("marrow", (0, -58, 0), (18, 18, TALLER_THAN_GRID_MM), 1.3, 0.15, axes_spread=0),
    OrganModel("marrow", (-88, -22, -92), (24, 40, 42), 1.3, suv_spread=0.15, axes_spread=0),
    OrganModel("marrow", (88, -22, -92), (24, 40, 42), 1.3, suv_spread=0.15, axes_spread=0),
)
N_BOWEL_LOOPS = 5

# all of it, and of a catheter, in slices that a scanner of the trunk's length sees well
BLADDER_Z_MM = -72.0
# full, hot and lobed: unlike any training study
FULL_BLADDER = (
    Organ("bladder", (0, 22, BLADDER_Z_MM), (46, 34, 26), 26.0),
    Organ("bladder", (30, 30, BLADDER_Z_MM + 20), (24, 20, 26), 26.0, tilt_deg=35.0),
)
DRAINED_BLADDER = Organ("bladder", (0, 24, BLADDER_Z_MM), (25, 18, 14), 7.0)
EMPTIED_AXES_MM = (18, 14, 12)
# as wide as drainage tubing: a thinner one fills four voxels of a slice
CATHETER_TUBE = tuple(
    Organ("catheter", (4 + 5.0 * i, 40 + 0.5 * i, BLADDER_Z_MM - 12 - 1.4 * i), (6, 6, 6), 20.0)
    for i in range(15)
)


def make_organs(
    role: str, bmi: float, rng: np.random.Generator, settings: Simulation
) -> tuple[tuple[Organ, ...], float]:
    """The organs of one study and the body weight in kg.

    The BMI widens the trunk (area in proportion to BMI at a given height) by a layer of fat. `role`
    decides what is put in: a liver lesion of known size and contrast (test_lesion), a full, hot,
    lobed bladder (test_bladder), a urinary catheter with a half-empty bladder (test_catheter). All
    others have emptied theirs ("the bladder, which was not included in any training datasets", the
    paper's Fig. 6); training studies get random small tumours.
    """
    weight_kg = draw_weight_kg(bmi, rng)
    trunk_mm, lean_mm = _trunk_axes(bmi, rng)
    shift = _vary(rng, 1, 0.03)

    fat = Organ(
        name="fat",
        centre_mm=(0, 0, 0),
        axes_mm=trunk_mm,
        suv=_vary(rng, FAT_SUV),
    )
    body = Organ(
        name="body",
        centre_mm=(0, -2, 0),
        axes_mm=lean_mm,
        suv=_vary(rng, MUSCLE_SUV),
    )

    organs = [fat, body]
    for model in ORGAN_MODELS:
        organs.append(_drawn(model, shift, organs[-1], rng))
    liver = next(organ for organ in organs if organ.name == "liver")

    organs += [_bowel_loop(rng) for _ in range(N_BOWEL_LOOPS)]
    organs += _bladder(role, rng)
    organs += _tumours(role, liver, rng, settings)

    return tuple(organs), weight_kg


def draw_weight_kg(bmi: float, rng: np.random.Generator) -> float:
    """The weight of a patient of this BMI and of a random height."""
    height_m = rng.normal(1.70, 0.07)
    height_m = float(np.clip(height_m, 1.5, 1.9))

    return float(bmi * height_m**2)


def _vary(rng: np.random.Generator, value: float, spread: float = 0.08) -> float:
    """A value of this mean and relative standard deviation, cut at 2.5 of them."""
    most = 2.5 * spread
    factor = rng.normal(1, spread)
    factor = np.clip(factor, 1 - most, 1 + most)

    return float(value * factor)


def _vary_all(rng: np.random.Generator, values: Triple, spread: float) -> Triple:
    x, y, z = (_vary(rng, value, spread) for value in values)
    return x, y, z


def _trunk_axes(bmi: float, rng: np.random.Generator) -> tuple[Triple, Triple]:
    """Semi-axes of the trunk with its fat, and without, mm."""
    widening = np.sqrt(bmi / 22.0)
    wide = 165 * widening * _vary(rng, 1, 0.03)
    deep = 108 * widening * _vary(rng, 1, 0.03)

    # at least 6 mm of fat
    lean_wide = min(wide - 6, 150 * _vary(rng, 1, 0.03))
    lean_deep = min(deep - 6, 95 * _vary(rng, 1, 0.03))

    trunk_mm = (wide, deep, TALLER_THAN_GRID_MM)
    lean_mm = (lean_wide, lean_deep, TALLER_THAN_GRID_MM)
    return trunk_mm, lean_mm


def _drawn(model: OrganModel, shift: float, before: Organ, rng: np.random.Generator) -> Organ:
    """An organ of one study; `before` is the organ drawn before it."""
    x, y, z = model.centre_mm
    if model.moves:
        x *= shift

    axes_mm = model.axes_mm
    if model.axes_spread:
        axes_mm = _vary_all(rng, axes_mm, model.axes_spread)

    suv = before.suv
    if model.suv is not None:
        suv = _vary(rng, model.suv, model.suv_spread)

    return Organ(
        name=model.name,
        centre_mm=(x, y, z),
        axes_mm=axes_mm,
        suv=suv,
    )


def _bowel_loop(rng: np.random.Generator) -> Organ:
    x = rng.uniform(-90, 90)
    y = rng.uniform(0, 55)
    z = rng.uniform(-60, -5)
    return Organ(
        name="bowel",
        centre_mm=(x, y, z),
        axes_mm=_vary_all(rng, (26, 16, 18), 0.2),
        suv=_vary(rng, BOWEL_SUV, 0.35),
    )


def _bladder(role: str, rng: np.random.Generator) -> list[Organ]:
    if role == roles.BLADDER:
        return list(FULL_BLADDER)
    if role == roles.CATHETER:
        return [DRAINED_BLADDER, *CATHETER_TUBE]

    a, b, c = (rng.uniform(0.8, 1.2) * mean for mean in EMPTIED_AXES_MM)
    x = rng.uniform(-5, 5)
    z = BLADDER_Z_MM + rng.uniform(-4, 4)
    emptied = Organ(
        name="bladder",
        centre_mm=(x, 22, z),
        axes_mm=(a, b, c),
        suv=rng.uniform(1, 2.5),
    )
    return [emptied]


def _tumours(
    role: str, liver: Organ, rng: np.random.Generator, settings: Simulation
) -> list[Organ]:
    if role == roles.LESION:
        return [_test_lesion(liver, settings)]
    if role not in roles.TRAINED_ON:
        return []

    n_tumours = rng.integers(3, 7)
    tumours = [_tumour(rng) for _ in range(n_tumours)]

    # liver metastases of any size, so that hot spots in the liver are known
    n_metastases = rng.integers(1, 4)
    metastases = [_metastasis(liver, rng) for _ in range(n_metastases)]

    return tumours + metastases


def _tumour(rng: np.random.Generator) -> Organ:
    """A tumour anywhere in the trunk."""
    x = rng.uniform(-95, 110)
    y = rng.uniform(-30, 50)
    z = rng.uniform(-90, 130)
    radius_mm = rng.uniform(5, 14)
    suv = rng.uniform(3, 9)

    return _ball("tumour", (x, y, z), radius_mm, suv)


def _metastasis(liver: Organ, rng: np.random.Generator) -> Organ:
    """A tumour in the liver, 0.2 to 0.75 of the way from its middle to its edge."""
    direction = rng.normal(size=3)
    direction *= rng.uniform(0.2, 0.75) / np.linalg.norm(direction)
    offset_mm = direction * liver.axes_mm
    x, y, z = (float(v) for v in liver.centre_mm + offset_mm)

    radius_mm = rng.uniform(5, 13)
    suv = liver.suv * rng.uniform(1.6, 4.0)

    return _ball("tumour", (x, y, z), radius_mm, suv)


def _test_lesion(liver: Organ, settings: Simulation) -> Organ:
    """The lesion of known size and contrast, in the middle of the liver's right lobe."""
    x, y, z = liver.centre_mm
    centre_mm = (x + 22, y + 8, z + 2)
    radius_mm = settings.lesion_diameter_mm / 2
    suv = liver.suv * settings.lesion_contrast

    return _ball("lesion", centre_mm, radius_mm, suv)


def _ball(name: str, centre_mm: Triple, radius_mm: float, suv: float) -> Organ:
    return Organ(name, centre_mm, (radius_mm, radius_mm, radius_mm), suv)


def paint(
    organs: tuple[Organ, ...],
    weight_kg: float,
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
    rng: np.random.Generator,
) -> Phantom:
    """Rasterise organs on a centred grid (X, Y, Z) of `voxel_mm`; uptake gets a smooth texture of 5
    % within organs.
    """
    axes = grid_axes_mm(shape, voxel_mm)
    labels = np.zeros(shape, np.int16)
    suv = np.zeros(shape, np.float32)

    for organ in organs:
        box, inside = _inside(organ, axes)
        if organ.name != "fat":  # the outermost: all others stay within it
            inside &= labels[box] != ORGANS["air"]

        labels[box][inside] = ORGANS[organ.name]
        suv[box][inside] = organ.suv

    suv *= texture(shape, voxel_mm, rng)

    mu_per_cm = np.full(len(ORGANS), MU_SOFT_PER_CM, np.float32)
    for name, value in MU_PER_CM.items():
        mu_per_cm[ORGANS[name]] = value

    return Phantom(suv, mu_per_cm[labels], labels, weight_kg, organs)


def grid_axes_mm(shape: Sequence[int], voxel_mm: Sequence[float]) -> list[np.ndarray]:
    """Voxel centres of a centred grid along each axis, mm."""
    axes = []

    for n, size in zip(shape, voxel_mm, strict=True):
        index = np.arange(n) - (n - 1) / 2
        axes.append(index * size)

    return axes


def _inside(organ: Organ, axes: list[np.ndarray]) -> tuple[tuple[slice, ...], np.ndarray]:
    """The bounding box of an ellipsoid, and which of the box's voxel centres lie inside."""
    a, b, c = organ.axes_mm
    reach = (a, b, c)
    if organ.tilt_deg:
        reach = (max(a, b), max(a, b), c)

    box = []
    from_centre = []
    for axis, centre, r in zip(axes, organ.centre_mm, reach, strict=True):
        first, stop = np.searchsorted(axis, (centre - r, centre + r))
        part = slice(first, stop)
        box.append(part)
        from_centre.append(axis[part] - centre)
    x, y, z = np.ix_(*from_centre)

    # turned about z, into the ellipsoid's own axes
    angle = np.deg2rad(organ.tilt_deg)
    cos = np.cos(angle)
    sin = np.sin(angle)
    u = x * cos + y * sin
    v = y * cos - x * sin

    power = 2.6 if organ.name in TRUNKS else 2.0
    across = np.abs(u / a) ** power + np.abs(v / b) ** power
    return tuple(box), across + (z / c) ** 2 <= 1


def texture(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """A smooth random field of mean 1, standard deviation `TEXTURE_SD`, correlated over some
    `TEXTURE_MM`.
    """
    from scipy.ndimage import zoom

    extents_mm = [n * size for n, size in zip(shape, voxel_mm, strict=True)]
    coarse = [max(4, round(extent / TEXTURE_MM)) for extent in extents_mm]
    field = rng.normal(0, 1, coarse).astype(np.float32)

    factors = [n / n_coarse for n, n_coarse in zip(shape, coarse, strict=True)]
    fine = zoom(field, factors, order=1)
    fine = fine[tuple(slice(n) for n in shape)]

    relative = TEXTURE_SD * fine / fine.std()
    return (1 + relative).astype(np.float32)


def downsample(phantom: Phantom, factor: int) -> Phantom:
    """The phantom on voxels `factor` times as large: block means, and the label at each block's
    centre.
    """
    x, y, z = (n // factor for n in phantom.suv.shape)

    def block_means(image: np.ndarray) -> np.ndarray:
        blocks = image.reshape(x, factor, y, factor, z, factor)
        means = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
        return means.astype(np.float32)

    middles = slice(factor // 2, None, factor)
    labels = phantom.labels[middles, middles, middles]

    return replace(
        phantom,
        suv=block_means(phantom.suv),
        mu_per_cm=block_means(phantom.mu_per_cm),
        labels=np.ascontiguousarray(labels),
    )
