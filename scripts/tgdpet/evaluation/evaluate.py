"""Every measure of one study, for the noisy images and every network, as one tidy table.

Columns: study, role, protocol, network ("input" = the noisy image), sample ("ensemble" = over the
realisations), measure, value, unit, n (voxels of the VOI; realisations for ensemble measures).
Beside it, what intervals are computed from later (voi_values.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import roles
from ..io.nifti import read_image, read_labels
from ..io.orientation import grid_difference
from ..runtime.progress import Progress
from . import measures as m
from .results import INPUT, METRICS_COLUMNS, find_image, reconstructed_samples
from .voi_values import ERRORS, NetworkValues, ProtocolValues, StudyValues

ENSEMBLE = "ensemble"
PROTOCOLS = ("v1", "v2")
UNSCORED = ("half1", "half2")  # online learning's own data: no network is judged on them
# SSIM costs more than all other measures together; its spread over realisations is small.
SSIM_SAMPLES = 3
RIM_VOXELS = 2

MetricsRow = dict[str, object]


@dataclass(frozen=True)
class VolumesOfInterest:
    """The volumes of interest of a study, each (X, Y, Z) boolean."""

    body: m.Mask
    liver: m.Mask | None
    lesion: m.Mask | None
    distorted: dict[str, m.Mask]  # measure name -> where it is taken


@dataclass(frozen=True)
class StudyImages:
    """Where the images of a study lie, and the grid that they must have."""

    study: str
    recon: Path
    denoised: Path
    shape: tuple[int, ...]
    affine: m.Array

    def noisy_samples(self, protocol: str, reference_sample: str) -> list[str]:
        """Names of the noisy images of a protocol; none where there is no reference."""
        samples = reconstructed_samples(self.recon, self.study, protocol)

        if reference_sample not in samples:
            return []

        return [s for s in samples if s != reference_sample and s not in UNSCORED]

    def read(self, protocol: str, sample: str, network: str = INPUT) -> m.Array:
        """An image (X, Y, Z), Bq/mL; MeasureError that names the file where the grid differs."""
        root = self.recon if network == INPUT else self.denoised / network
        path = find_image(root, self.study, protocol, sample)
        image = read_image(path)
        data: m.Array = image.data

        difference = grid_difference(data.shape, image.affine, self.shape, self.affine)
        if difference:
            raise m.MeasureError(f"{path}: {difference}, as in the labels of the organs")

        return data


def volumes(
    labels: m.Labels, organs: Mapping[str, int], role: str, partial: bool = False
) -> VolumesOfInterest:
    """The VOIs that a role is judged in; MeasureError when the study lacks an organ it needs.

    With `partial` only the body is needed, and VOIs of organs that are not there are left out.
    """
    if partial:
        return _volumes_there(labels, organs, role)

    distorted: dict[str, m.Mask] = {}

    if role in roles.ORGAN_UNLIKE_TRAINING:
        bladder = m.organ(labels, organs, "bladder")
        distorted["bladder_error"] = m.with_rim(bladder, RIM_VOXELS)
        distorted["bladder_rim_error"] = m.rim(bladder, RIM_VOXELS)

    if role == roles.CATHETER:
        distorted["catheter_error"] = m.organ(labels, organs, "catheter")

    lesion = None

    if role == roles.LESION:
        lesion = m.organ(labels, organs, "lesion")

    try:
        liver = m.liver_voi(labels, organs)
    except m.MeasureError:
        if role not in roles.ORGAN_UNLIKE_TRAINING:
            raise

        liver = None  # a bed over the bladder may see the liver's edge only, or nothing of it

    return VolumesOfInterest(m.body(labels), liver, lesion, distorted)


def _volumes_there(labels: m.Labels, organs: Mapping[str, int], role: str) -> VolumesOfInterest:
    """The VOIs of the organs that are labelled, of those that the role is judged in."""

    def labelled(organ: str) -> m.Mask | None:
        return labels == organs[organ] if (labels == organs[organ]).any() else None

    distorted: dict[str, m.Mask] = {}
    bladder = labelled("bladder") if role in roles.ORGAN_UNLIKE_TRAINING else None
    if bladder is not None:
        distorted["bladder_error"] = m.with_rim(bladder, RIM_VOXELS)
        distorted["bladder_rim_error"] = m.rim(bladder, RIM_VOXELS)

    catheter = labelled("catheter") if role == roles.CATHETER else None
    if catheter is not None:
        distorted["catheter_error"] = catheter

    try:
        liver = m.liver_voi(labels, organs)
    except m.MeasureError:
        liver = None

    lesion = labelled("lesion") if role == roles.LESION else None
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
    protocols_of_study: Sequence[str] = PROTOCOLS,
    partial: bool = False,
) -> tuple[pd.DataFrame, StudyValues]:
    """Measure a study's noisy images and every network's output, per protocol.

    All are compared with the whole scan; with `partial` the measures of organs that are not
    labelled are left out. Returns the table, and the values in the volumes of
    interest that a bootstrap needs.

    Raises FileNotFoundError when a network lacks an image that the input has, or no reference
    exists; ValueError (MeasureError) when grids differ or an organ is absent, naming the file.
    """
    labels, affine = read_labels(organs_path)

    try:
        voi = volumes(labels, organs, role, partial)
    except m.MeasureError as error:
        raise m.MeasureError(f"{organs_path}: {error}") from error

    images = StudyImages(study, recon, denoised, labels.shape, affine)
    jobs = {}

    for protocol in protocols_of_study:
        if samples := images.noisy_samples(protocol, reference_sample):
            jobs[protocol] = samples

    if not jobs:
        raise FileNotFoundError(
            f"{recon}: no image of study {study!r} beside its reference {reference_sample!r}"
        )

    rows: list[MetricsRow] = []
    protocols: dict[str, ProtocolValues] = {}
    n_steps = len(jobs) * (len(networks) + 1)

    with Progress(n_steps, f"evaluate {study}", "network") as progress:
        for protocol, samples in jobs.items():
            reference = images.read(protocol, reference_sample)
            network_values: dict[str, NetworkValues] = {}

            for network in (INPUT, *networks):
                stack = np.stack([images.read(protocol, s, network) for s in samples])
                measured = list(measure_network(stack, samples, reference, voi))
                network_values[network] = _network_values(stack, voi, measured)

                head = {
                    "study": study,
                    "role": role,
                    "protocol": protocol,
                    "network": network,
                }
                rows += [{**head, **row} for row in measured]
                progress.update(1)

            protocols[protocol] = _protocol_values(samples, reference, voi, network_values)

    table = pd.DataFrame(rows, columns=METRICS_COLUMNS)
    return table, StudyValues(study, role, protocols)


def measure_network(
    images: m.Array, samples: Sequence[str], reference: m.Array, voi: VolumesOfInterest
) -> Iterator[MetricsRow]:
    """Rows (sample, measure, value, unit, n) of one network, of single images and of all together.

    Images (S, X, Y, Z) and reference (X, Y, Z) are in Bq/mL.
    """
    for number, (sample, image) in enumerate(zip(samples, images, strict=True)):
        with_ssim = number < SSIM_SAMPLES

        for row in _measure_image(image, reference, voi, with_ssim):
            yield {"sample": sample, **row}

    for row in _measure_ensemble(images, samples, reference, voi):
        yield {"sample": ENSEMBLE, **row}


def collect(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All studies' tables under one another; raises ValueError if one has other columns."""
    for table in tables:
        if list(table.columns) != METRICS_COLUMNS:
            raise ValueError(
                f"metrics table: expected columns {METRICS_COLUMNS}, got {list(table.columns)}"
            )

    return pd.concat(list(tables), ignore_index=True)


def _measure_image(
    image: m.Array, reference: m.Array, voi: VolumesOfInterest, with_ssim: bool
) -> Iterator[MetricsRow]:
    """The measures of a single image."""
    n_body = voi.body.sum()

    rmse = m.rmse(image, reference, voi.body)
    yield _row("rmse", rmse, "Bq/mL", n_body)

    psnr = m.psnr(image, reference, voi.body)
    yield _row("psnr", psnr, "dB", n_body)

    if with_ssim:
        ssim = m.ssim(image, reference, voi.body)
        yield _row("ssim", ssim, "1", n_body)

    if voi.liver is not None:
        n_liver = voi.liver.sum()

        cov = m.spatial_cov(image, voi.liver)
        yield _row("liver_cov_spatial", cov, "%", n_liver)

        liver_rmse = m.rmse(image, reference, voi.liver)
        yield _row("liver_rmse", liver_rmse, "Bq/mL", n_liver)

    for name, mask in voi.distorted.items():
        error = m.relative_error(image, reference, mask)
        yield _row(name, error, "%", mask.sum())


def _measure_ensemble(
    images: m.Array, samples: Sequence[str], reference: m.Array, voi: VolumesOfInterest
) -> Iterator[MetricsRow]:
    """The measures of all realisations together, in the liver and the lesion."""
    if voi.liver is None:
        return

    realised = [i for i, sample in enumerate(samples) if roles.REALISATION.fullmatch(sample)]
    repeated = len(realised) > 1

    # One image is an ensemble of one: its liver bias still says whether a network shifts the mean.
    chosen = images[realised] if repeated else images
    n = len(chosen)

    liver_bias = m.lesion_bias(chosen, voi.liver, reference)
    yield _row("liver_bias", liver_bias, "%", n)

    if repeated:
        liver_cov = m.ensemble_cov(chosen, voi.liver)
        yield _row("liver_cov", liver_cov, "%", n)

    if repeated and voi.lesion is not None:
        lesion_bias = m.lesion_bias(chosen, voi.lesion, reference)
        yield _row("lesion_bias", lesion_bias, "%", n)


def _row(name: str, value: float, unit: str, n: int) -> MetricsRow:
    return {
        "measure": name,
        "value": value,
        "unit": unit,
        "n": int(n),
    }


def _network_values(
    images: m.Array, voi: VolumesOfInterest, rows: Sequence[MetricsRow]
) -> NetworkValues:
    """One network's values in the VOIs; `rows` are `measure_network`'s of the same images."""
    errors: dict[str, list[object]] = {}

    for row in rows:
        measure_name = str(row["measure"])

        if row["sample"] != ENSEMBLE and measure_name in ERRORS:
            values = errors.setdefault(measure_name, [])
            values.append(row["value"])

    liver = None
    lesion = None

    if voi.liver is not None:
        liver = images[:, voi.liver].astype(np.float32)

    if voi.lesion is not None:
        lesion = images[:, voi.lesion].mean(axis=1, dtype=np.float64)

    arrays = {}

    for measure_name, values in errors.items():
        arrays[measure_name] = np.array(values, np.float64)

    return NetworkValues(liver, lesion, arrays)


def _protocol_values(
    samples: Sequence[str],
    reference: m.Array,
    voi: VolumesOfInterest,
    networks: Mapping[str, NetworkValues],
) -> ProtocolValues:
    """All networks' values of a protocol, with the reference's."""
    liver = None
    lesion = None

    if voi.liver is not None:
        liver = reference[voi.liver].astype(np.float32)

    if voi.lesion is not None:
        lesion = float(reference[voi.lesion].mean(dtype=np.float64))

    return ProtocolValues(tuple(samples), liver, lesion, networks)
