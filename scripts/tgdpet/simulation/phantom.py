"""An analytic FDG phantom of the trunk, from the pelvis to the heart, whose anatomy varies with
seed and BMI.

Organs are ellipsoids in RAS mm (x to the patient's right, y to the front, z to the head), painted
in order. Uptake values are SUV of FDG at 60 min as found in adults (liver 2.2, muscle 0.6, marrow
1.2, ...).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..config import roles
from ..config.sections import Simulation
from ..constants import ORGANS

# Linear attenuation at 511 keV, 1/cm (NIST XCOM: water 0.096, lung at 0.26 g/cm3, adipose, spongy
# bone).
MU_PER_CM = {"air": 0.0, "lung": 0.025, "fat": 0.090, "marrow": 0.110}
MU_SOFT_PER_CM = 0.096
SUV = {
    "air": 0.0, "body": 0.6, "fat": 0.25, "lung": 0.45, "heart": 2.6, "liver": 2.2, "spleen": 1.8, "kidney": 2.6,
    "marrow": 1.3, "bowel": 1.1, "bladder": 9.0, "catheter": 12.0, "lesion": 6.6, "tumour": 5.0,
}  # fmt: skip


@dataclass(frozen=True)
class Organ:
    """An ellipsoid: label name, centre and semi-axes in RAS mm, SUV, turn about z."""

    name: str
    centre_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    suv: float
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Phantom:
    """A painted phantom on a grid: activity in SUV, attenuation in 1/cm, labels; and the body's
    mass in kg.
    """

    suv: np.ndarray
    mu_per_cm: np.ndarray
    labels: np.ndarray
    weight_kg: float
    organs: tuple[Organ, ...]


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

    def vary(value: float, by: float = 0.08) -> float:
        return float(value * np.clip(rng.normal(1, by), 1 - 2.5 * by, 1 + 2.5 * by))

    height_m = float(np.clip(rng.normal(1.70, 0.07), 1.5, 1.9))
    widen = np.sqrt(bmi / 22.0)
    wide, deep = 165 * widen * vary(1, 0.03), 108 * widen * vary(1, 0.03)
    lean_wide, lean_deep = min(wide - 6, 150 * vary(1, 0.03)), min(deep - 6, 95 * vary(1, 0.03))
    shift = vary(1, 0.03)
    at: list[Organ] = [
        Organ("fat", (0, 0, 0), (wide, deep, 2000), vary(SUV["fat"])),
        Organ("body", (0, -2, 0), (lean_wide, lean_deep, 2000), vary(SUV["body"])),
    ]
    at += [
        Organ("lung", (side * 72, 5, 175), (vary(52), vary(70), vary(85)), vary(SUV["lung"]))
        for side in (-1, 1)
    ]
    at.append(
        Organ("heart", (-22, 30, 112), (vary(42), vary(36), vary(34)), vary(SUV["heart"], 0.25))
    )
    liver = Organ(
        "liver", (60 * shift, 10, 56), (vary(78), vary(66), vary(52)), vary(SUV["liver"], 0.1)
    )
    at.append(liver)
    at.append(Organ("liver", (-8, 30, 64), (vary(58), vary(34), vary(34)), liver.suv))
    at.append(
        Organ(
            "spleen",
            (-92 * shift, -30, 70),
            (vary(25), vary(34), vary(42)),
            vary(SUV["spleen"], 0.12),
        )
    )
    at += [
        Organ(
            "kidney",
            (side * 62, -48, 2 + 6 * side),
            (vary(24), vary(22), vary(44)),
            vary(SUV["kidney"], 0.3),
        )
        for side in (-1, 1)
    ]
    at.append(Organ("marrow", (0, -58, 0), (18, 18, 2000), vary(SUV["marrow"], 0.15)))
    at += [
        Organ("marrow", (side * 88, -22, -92), (24, 40, 42), vary(SUV["marrow"], 0.15))
        for side in (-1, 1)
    ]
    for _ in range(5):
        centre = (rng.uniform(-90, 90), rng.uniform(0, 55), rng.uniform(-60, -5))
        at.append(
            Organ(
                "bowel",
                centre,
                (vary(26, 0.2), vary(16, 0.2), vary(18, 0.2)),
                vary(SUV["bowel"], 0.35),
            )
        )
    at += _bladder(role, rng)
    at += _tumours(role, liver, rng, settings)
    return tuple(at), float(bmi * height_m**2)


def _bladder(role: str, rng: np.random.Generator) -> list[Organ]:
    z = (
        -72.0
    )  # all of it, and of a catheter, in slices that a scanner of the trunk's length sees well
    if role == roles.BLADDER:  # full, hot and lobed: unlike any training study
        return [
            Organ("bladder", (0, 22, z), (46, 34, 26), 26.0),
            Organ("bladder", (30, 30, z + 20), (24, 20, 26), 26.0, 35.0),
        ]
    if role == roles.CATHETER:
        tube = [  # as wide as drainage tubing: a thinner one fills four voxels of a slice
            Organ("catheter", (4 + 5.0 * i, 40 + 0.5 * i, z - 12 - 1.4 * i), (6.0, 6.0, 6.0), 20.0)
            for i in range(15)
        ]
        return [Organ("bladder", (0, 24, z), (25, 18, 14), 7.0), *tube]
    axes = tuple(rng.uniform(0.8, 1.2) * a for a in (18, 14, 12))
    return [
        Organ(
            "bladder", (rng.uniform(-5, 5), 22, z + rng.uniform(-4, 4)), axes, rng.uniform(1, 2.5)
        )
    ]  # type: ignore[arg-type]


def _tumours(
    role: str, liver: Organ, rng: np.random.Generator, settings: Simulation
) -> list[Organ]:
    if role == roles.LESION:
        x, y, z = liver.centre_mm
        radius = settings.lesion_diameter_mm / 2
        return [
            Organ(
                "lesion",
                (x + 22, y + 8, z + 2),
                (radius,) * 3,
                liver.suv * settings.lesion_contrast,
            )
        ]
    if role not in roles.TRAINED_ON:
        return []
    out = []
    for _ in range(rng.integers(3, 7)):
        centre = (rng.uniform(-95, 110), rng.uniform(-30, 50), rng.uniform(-90, 130))
        radius = rng.uniform(5, 14)
        out.append(Organ("tumour", centre, (radius,) * 3, rng.uniform(3, 9)))
    for _ in range(
        rng.integers(1, 4)
    ):  # liver metastases of any size, so that hot spots in the liver are known
        direction = rng.normal(size=3)
        direction *= rng.uniform(0.2, 0.75) / np.linalg.norm(direction)
        x, y, z = (
            float(c + d * a)
            for c, d, a in zip(liver.centre_mm, direction, liver.axes_mm, strict=True)
        )
        out.append(
            Organ("tumour", (x, y, z), (rng.uniform(5, 13),) * 3, liver.suv * rng.uniform(1.6, 4.0))
        )
    return out


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
    axes = [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel_mm, strict=True)]
    labels = np.zeros(shape, np.int16)
    suv = np.zeros(shape, np.float32)
    for organ in organs:
        box, inside = _inside(organ, axes)
        if organ.name not in ("fat",):
            inside &= labels[box] != ORGANS["air"]
        labels[box][inside] = ORGANS[organ.name]
        suv[box][inside] = organ.suv
    suv *= texture(shape, voxel_mm, rng)
    mu = np.full(len(ORGANS), MU_SOFT_PER_CM, np.float32)
    for name, value in MU_PER_CM.items():
        mu[ORGANS[name]] = value
    return Phantom(suv, mu[labels], labels, weight_kg, organs)


def _inside(organ: Organ, axes: list[np.ndarray]) -> tuple[tuple[slice, ...], np.ndarray]:
    """The bounding box of an ellipsoid, and which of the box's voxel centres lie inside."""
    reach = (
        [max(organ.axes_mm[:2])] * 2 + [organ.axes_mm[2]] if organ.tilt_deg else list(organ.axes_mm)
    )
    box = tuple(
        slice(*np.searchsorted(axis, (c - r, c + r)))
        for axis, c, r in zip(axes, organ.centre_mm, reach, strict=True)
    )
    x, y, z = np.ix_(*(axis[s] - c for axis, s, c in zip(axes, box, organ.centre_mm, strict=True)))
    angle = np.deg2rad(organ.tilt_deg)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    a, b, c = organ.axes_mm
    power = 2.6 if organ.name in ("fat", "body") else 2.0  # a trunk is squarer than an ellipse
    return box, np.abs(u / a) ** power + np.abs(v / b) ** power + (z / c) ** 2 <= 1


def texture(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """A smooth random field with mean 1 and standard deviation 0.05, correlated over about 25
    mm.
    """
    from scipy.ndimage import zoom

    coarse = [max(4, round(n * v / 25.0)) for n, v in zip(shape, voxel_mm, strict=True)]
    field = rng.normal(0, 1, coarse).astype(np.float32)
    fine = zoom(field, [n / c for n, c in zip(shape, coarse, strict=True)], order=1)[
        tuple(slice(n) for n in shape)
    ]
    return (1 + 0.05 * fine / fine.std()).astype(np.float32)


def downsample(phantom: Phantom, factor: int) -> Phantom:
    """The phantom on voxels `factor` times as large: block means, and the label at each block's
    centre.
    """
    blocks = [s for n in phantom.suv.shape for s in (n // factor, factor)]

    def mean(a: np.ndarray) -> np.ndarray:
        return a.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32)

    centre = phantom.labels[factor // 2 :: factor, factor // 2 :: factor, factor // 2 :: factor]
    return replace(
        phantom,
        suv=mean(phantom.suv),
        mu_per_cm=mean(phantom.mu_per_cm),
        labels=np.ascontiguousarray(centre),
    )
