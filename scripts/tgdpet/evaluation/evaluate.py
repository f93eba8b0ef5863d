"""Every measure of one study, for the noisy images and every network, as one tidy table.

Columns: study, role, protocol, network ("input" = the noisy image), sample ("ensemble" = over the
realisations), measure, value, unit, n (voxels of the VOI; realisations for ensemble measures).
Beside it, what intervals are computed from later (voi.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import roles
from ..io.nifti import read_image, read_labels
from ..runtime.progress import Progress
from . import measures as m
from . import voi_values as saved
from .results import INPUT, image_path, reconstructed_samples

COLUMNS = ["study", "role", "protocol", "network", "sample", "measure", "value", "unit", "n"]
ENSEMBLE = "ensemble"
PROTOCOLS = ("v1", "v2")
UNSCORED = ("half1", "half2")  # online learning's own data: no network is judged on them
SSIM_SAMPLES = (
    3  # SSIM costs more than all other measures together; its spread over realisations is small
)
RIM_VOXELS = 2

Row = dict[str, object]


@dataclass(frozen=True)
class VolumesOfInterest:
    """The volumes of interest of a study, each (X, Y, Z) boolean."""

    body: m.Mask
    liver: m.Mask | None
    lesion: m.Mask | None
    distorted: dict[str, m.Mask]  # measure name -> where it is taken


def volumes(labels: m.Labels, organs: Mapping[str, int], role: str) -> VolumesOfInterest:
    """The VOIs that a role is judged in; raises MeasureError when the study lacks an organ it
    needs.
    """
    distorted: dict[str, m.Mask] = {}
    if role in roles.ORGAN_UNLIKE_TRAINING:
        bladder = m.organ(labels, organs, "bladder")
        distorted["bladder_error"] = m.with_rim(bladder, RIM_VOXELS)
        distorted["bladder_rim_error"] = m.rim(bladder, RIM_VOXELS)
    if role == roles.CATHETER:
        distorted["catheter_error"] = m.organ(labels, organs, "catheter")
    lesion = m.organ(labels, organs, "lesion") if role == roles.LESION else None
    try:
        liver = m.liver_voi(labels, organs)
    except m.MeasureError:
        if role not in roles.ORGAN_UNLIKE_TRAINING:
            raise
        liver = None  # a bed over the bladder may see the liver's edge only, or nothing of it
    return VolumesOfInterest(m.body(labels), liver, lesion, distorted)


def evaluate_study(
    study: str,
    role: str,
    reference_sample: str,
    organs_path: Path,
    organs: Mapping[str, int],
    recon: Path,
    denoised: Path,
    networks: Sequence[str],
) -> tuple[pd.DataFrame, saved.StudyValues]:
    """Measure a study's noisy images and every network's output against the whole scan, per
    protocol.

    Returns the table, and the values in the volumes of interest that a bootstrap needs.

    Raises FileNotFoundError when a network lacks an image that the input has, or no reference
    exists; ValueError (MeasureError) when grids differ or an organ is absent, naming the file.
    """
    labels, affine = read_labels(organs_path)
    try:
        voi = volumes(labels, organs, role)
    except m.MeasureError as error:
        raise m.MeasureError(f"{organs_path}: {error}") from error
    jobs = [(p, s) for p in PROTOCOLS if (s := _noisy_samples(recon, study, p, reference_sample))]
    if not jobs:
        raise FileNotFoundError(
            f"{recon}: no image of study {study!r} beside its reference {reference_sample!r}"
        )
    rows: list[Row] = []
    protocols: dict[str, saved.ProtocolValues] = {}
    with Progress(len(jobs) * (len(networks) + 1), f"evaluate {study}", "network") as progress:
        for protocol, samples in jobs:
            reference = _read(
                image_path(recon, study, protocol, reference_sample), labels.shape, affine
            )
            values: dict[str, saved.NetworkValues] = {}
            for network in (INPUT, *networks):
                root = recon if network == INPUT else denoised / network
                images = np.stack(
                    [
                        _read(image_path(root, study, protocol, s), labels.shape, affine)
                        for s in samples
                    ]
                )
                head: Row = {"study": study, "role": role, "protocol": protocol, "network": network}
                measured = list(measure(images, samples, reference, voi))
                rows += [{**head, **row} for row in measured]
                values[network] = _values(images, voi, measured)
                progress.update(1)
            liver = None if voi.liver is None else reference[voi.liver].astype(np.float32)
            lesion = (
                None if voi.lesion is None else float(reference[voi.lesion].mean(dtype=np.float64))
            )
            protocols[protocol] = saved.ProtocolValues(tuple(samples), liver, lesion, values)
    return pd.DataFrame(rows, columns=COLUMNS), saved.StudyValues(study, role, protocols)


def measure(
    images: m.Array, samples: Sequence[str], reference: m.Array, voi: VolumesOfInterest
) -> Iterator[Row]:
    """Rows (sample, measure, value, unit, n) of one network: images (S, X, Y, Z), reference (X, Y,
    Z), Bq/mL.
    """
    for number, (sample, image) in enumerate(zip(samples, images, strict=True)):
        yield _row(sample, "rmse", m.rmse(image, reference, voi.body), "Bq/mL", voi.body.sum())
        yield _row(sample, "psnr", m.psnr(image, reference, voi.body), "dB", voi.body.sum())
        if number < SSIM_SAMPLES:
            yield _row(sample, "ssim", m.ssim(image, reference, voi.body), "1", voi.body.sum())
        if voi.liver is not None:
            yield _row(
                sample, "liver_cov_spatial", m.spatial_cov(image, voi.liver), "%", voi.liver.sum()
            )
            yield _row(
                sample, "liver_rmse", m.rmse(image, reference, voi.liver), "Bq/mL", voi.liver.sum()
            )
        for name, mask in voi.distorted.items():
            yield _row(sample, name, m.relative_error(image, reference, mask), "%", mask.sum())
    if voi.liver is None:
        return
    realised = [i for i, sample in enumerate(samples) if re.fullmatch(r"real\d+", sample)]
    # One image is an ensemble of one: its liver bias still says whether a network shifts the mean.
    chosen = images[realised] if len(realised) > 1 else images
    yield _row(
        ENSEMBLE, "liver_bias", m.lesion_bias(chosen, voi.liver, reference), "%", len(chosen)
    )
    if len(realised) > 1:
        yield _row(ENSEMBLE, "liver_cov", m.ensemble_cov(chosen, voi.liver), "%", len(chosen))
        if voi.lesion is not None:
            yield _row(
                ENSEMBLE,
                "lesion_bias",
                m.lesion_bias(chosen, voi.lesion, reference),
                "%",
                len(chosen),
            )


def _values(images: m.Array, voi: VolumesOfInterest, rows: Sequence[Row]) -> saved.NetworkValues:
    """One network's values in the volumes of interest; `rows` are what `measure` found in the same
    images.
    """
    errors: dict[str, list[object]] = {}
    for row in rows:
        if row["sample"] != ENSEMBLE and row["measure"] in saved.ERRORS:
            errors.setdefault(str(row["measure"]), []).append(row["value"])
    return saved.NetworkValues(
        None if voi.liver is None else images[:, voi.liver].astype(np.float32),
        None if voi.lesion is None else images[:, voi.lesion].mean(axis=1, dtype=np.float64),
        {name: np.array(values, np.float64) for name, values in errors.items()},
    )


def collect(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All studies' tables under one another; raises ValueError if one has other columns."""
    for table in tables:
        if list(table.columns) != COLUMNS:
            raise ValueError(
                f"metrics table: expected columns {COLUMNS}, got {list(table.columns)}"
            )
    return pd.concat(list(tables), ignore_index=True)


def _noisy_samples(recon: Path, study: str, protocol: str, reference_sample: str) -> list[str]:
    found = reconstructed_samples(recon, study, protocol)
    return (
        [s for s in found if s != reference_sample and s not in UNSCORED]
        if reference_sample in found
        else []
    )


def _read(path: Path, shape: tuple[int, ...], affine: m.Array) -> m.Array:
    image = read_image(path)
    data: m.Array = image.data
    if data.shape != shape:
        raise m.MeasureError(f"{path}: grid {data.shape} differs from the organs' {shape}")
    if not np.allclose(image.affine, affine, atol=1e-3):
        raise m.MeasureError(f"{path}: position or voxel size (affine) differs from the organs'")
    return data


def _row(sample: str, name: str, value: float, unit: str, n: int) -> Row:
    return {"sample": sample, "measure": name, "value": value, "unit": unit, "n": int(n)}
