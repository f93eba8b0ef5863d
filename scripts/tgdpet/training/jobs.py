"""The training stages as jobs on files: read the data set and the base network, train, write what
belongs together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ..config.sections import NetworkEntry, Training
from ..dataset.index import read_index
from ..dataset.patches import PatchData, intensity_scale
from ..io.files import sha256, sidecar, write_json
from ..networks import model_card, weights
from ..networks.architecture import SLICES
from ..networks.dncnn import DnCNN
from ..networks.score_table import SCORE_COLUMNS, read_scores
from ..runtime import device, distributed
from ..runtime.distributed import World
from ..runtime.seeds import derive, torch_generator
from ..tgd.scoring import score_components
from . import adapt as adaptation
from .baselines import Old, candidate_name
from .job import Job
from .loop import TrainingRun, fit


def train(job: Job, settings: Training, width: float) -> None:
    """Train a network from scratch; writes weights, log and sidecar."""
    place = device.pick(job.device, job.threads)
    with distributed.joined(place) as world:
        _train(job, settings, width, place, world)


def _train(job: Job, settings: Training, width: float, place: torch.device, world: World) -> None:
    scale = intensity_scale(job.dataset)
    data, validation = _data(job, job.dataset, "patches", settings, scale, place)
    model = DnCNN(width, torch_generator(job.seed, job.name, "weights"))
    rows = fit(
        model,
        data,
        validation,
        settings,
        _run(job, [job.dataset], {"width": width, **asdict(settings)}, world=world),
    )
    if not world.first:
        return
    card = weights.Card(
        job.name, width, scale, settings=asdict(settings), provenance=_provenance(job)
    )
    parameters = sum(p.numel() for p in model.parameters())
    numbers = {
        "kernels_total": model.kernels,
        "kernels_retrained": model.kernels,
        "parameters_total": parameters,
        "parameters_retrained": parameters,
    }
    _finish(job, model, card, rows, numbers, place, [])


def adapt(
    job: Job,
    settings: Training,
    entry: NetworkEntry,
    base: Path,
    scores: Path | None,
    old: Path | None = None,
) -> None:
    """Adapt the network in `base`; `old` is the index of the old task's data set. Writes weights,
    log and sidecar.
    """
    place = device.pick(job.device, job.threads)
    with distributed.joined(place) as world:
        _adapt(job, settings, entry, base, scores, old, place, world)


def _adapt(
    job: Job, settings: Training, entry: NetworkEntry, base: Path, scores: Path | None, old: Path | None,
    place: torch.device, world: World,
) -> None:  # fmt: skip
    model, parent = weights.load(base, place)
    scale = parent.intensity_scale_bqml
    data, validation = _data(job, job.dataset, "patches", settings, scale, place)
    past = Old(*_data(job, old, "old patches", settings, scale, place)) if old is not None else None
    inputs = [job.dataset, base, *(p for p in (scores, old) if p is not None)]
    run = _run(job, inputs, {**asdict(entry), **asdict(settings)}, old, world=world)
    kernels = read_scores(scores, model.scored) if scores is not None else None
    sparsity = (
        read_scores(scores, model.scored, "sparsity")
        if scores is not None and entry.mask == "l1"
        else None
    )
    seed = derive(job.seed, job.name, "adapt")
    done = adaptation.adapt(
        model, entry, kernels, data, validation, settings, run, sparsity=sparsity, old=past, seed=seed,
        previous=weights.masks(model, parent),
    )  # fmt: skip
    if not world.first:
        return
    card = weights.Card(
        job.name, parent.width, parent.intensity_scale_bqml, [*parent.parents, parent.network], done.mask,
        asdict(settings) | asdict(entry), _provenance(job),
    )  # fmt: skip
    _finish(job, model, card, done.rows, done.numbers, place, inputs[1:])


def score_table(model: nn.Module, k: int, alpha: float) -> pd.DataFrame:
    """One row a scored output kernel: module, channel, sparsity, entropy, kse."""
    parts = score_components(model, torch.zeros(1, SLICES, 16, 16), k=k, alpha=alpha)
    rows = [
        (
            name,
            channel,
            float(c.sparsity[channel]),
            float(c.entropy[channel]),
            float(c.kse[channel]),
        )
        for name, c in parts.items()
        for channel in range(len(c.kse))
    ]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _data(
    job: Job, index: Path, purpose: str, settings: Training, scale: float, place: torch.device
) -> tuple[PatchData, PatchData]:
    # Held-out patches are the same for every network, so that their losses can be compared.
    seeds = {"train": derive(job.seed, job.name, purpose), "val": derive(job.seed, "held out")}
    train_part, val_part = (
        PatchData(
            index,
            split,
            scale=scale,
            patch=settings.patch,
            air_fraction=settings.air_fraction,
            seed=seeds[split],
            device=place,
            volumes=job.compute.volumes,
        )
        for split in ("train", "val")
    )
    return train_part, val_part


def _run(
    job: Job,
    inputs: list[Path],
    settings: Mapping[str, Any],
    old: Path | None = None,
    *,
    world: World | None = None,
) -> TrainingRun:
    """The run, with an identity made of all that decides its result."""
    tables = [path for path in (job.dataset, old) if path is not None]
    volumes = [
        path.parent / name for path in tables for name in sorted(read_index(path)["file"].unique())
    ]
    hashes = [sha256(path) for path in [*inputs, *volumes]]
    world = world or World()
    compute = {k: getattr(job.compute, k) for k in ("precision", "compile", "deterministic")}
    text = json.dumps(
        [job.name, job.seed, job.threads, world.size, hashes, settings, compute], sort_keys=True
    )
    board = job.out.with_name(f"{job.out.stem}_tensorboard") if job.compute.tensorboard else None
    identity = hashlib.sha256(text.encode()).hexdigest()
    return TrainingRun(
        job.name, _log_path(job.out), job.checkpoint, identity, job.compute, world, board
    )


def _provenance(job: Job) -> dict[str, Any]:
    return {"seed": job.seed, "dataset": sha256(job.dataset)}


def _finish(
    job: Job, model: nn.Module, card: weights.Card, rows: list[dict[str, Any]], numbers: Mapping[str, Any],
    place: torch.device, inputs: list[Path],
) -> None:  # fmt: skip
    weights.save(job.out, model, card)
    final = (
        {f"final_{k}": rows[-1][k] for k in ("loss", "validation_loss", "validation_psnr")}
        if rows
        else {}
    )
    final = {k: (None if v != v else v) for k, v in final.items()}  # NaN is no JSON
    provenance = sidecar(
        [job.dataset, *inputs], job.options, job.seed, device.describe(place), job.started
    )
    content = {
        "network": job.name,
        "intensity_scale_bqml": card.intensity_scale_bqml,
        **numbers,
        **final,
    }
    write_json(job.out.with_suffix(".json"), {**content, "provenance": provenance})
    model_card.write(job.out, card, content, job.dataset)
    if job.checkpoint is not None:
        for path in [
            job.checkpoint,
            *job.checkpoint.parent.glob(candidate_name(job.checkpoint.stem)),
        ]:
            path.unlink(missing_ok=True)


def _log_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}_log.csv")
