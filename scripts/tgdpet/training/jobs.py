"""What the workflow's training jobs do, on files.

They read the data set and the base network, train, and write what belongs together.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ..config.chains import counts_alive
from ..config.sections import NetworkEntry, Training
from ..dataset.index import volumes_of
from ..dataset.patches import intensity_scale
from ..io.files import sha256, sidecar, write_json
from ..networks import model_card, weights
from ..networks.architecture import SLICES
from ..networks.dncnn import DnCNN
from ..networks.domain import from_card, united
from ..networks.score_table import SCORE_COLUMNS, read_alive, read_scores
from ..runtime import device as devices
from ..runtime import distributed
from ..runtime.distributed import World
from ..runtime.seeds import derive, torch_generator
from ..tgd.alive import alive_from
from ..tgd.connectivity import connections
from ..tgd.scoring import components_from
from .adapt import EXAMPLE_PIXELS, KernelScores, adapt_network
from .baselines import candidate_name
from .job import Job
from .loop import fit
from .run import TrainingResult, TrainingRun
from .tasks import Task, held_out_seed, read_patches
from .validation import fixed_batches, validate

# Of the sidecar, where the old task is watched: losses of the base network.
START_NEW = "start_validation_loss"
START_OLD = "start_old_loss"
FINAL = ("loss", "validation_loss", "validation_psnr")  # of the log's last row, for the sidecar


def train(job: Job, settings: Training, width: float) -> None:
    """Train a network from scratch; writes weights, log and sidecar."""
    device = devices.pick(job.device, job.threads)
    with distributed.joined(device) as world:
        scale = intensity_scale(job.dataset)
        task = _read_task(job, job.dataset, "patches", settings, scale, device)
        model = DnCNN(width, torch_generator(job.seed, job.name, "weights"))

        decisive = {"width": width, **asdict(settings)}
        run = _training_run(job, [job.dataset], decisive, world, device)
        rows = fit(model, task.train, task.held_out, settings, run)
        if not world.first:
            return

        card = weights.Card(
            job.name, width, scale, settings=asdict(settings), provenance=_provenance(job)
        )
        result = TrainingResult(rows, {}, _counts(model))
        _write_network(job, model, card, result, device, [])


def adapt(
    job: Job,
    settings: Training,
    entry: NetworkEntry,
    base: Path,
    scores: Path | None,
    old: Path | None = None,
) -> None:
    """Adapt the network in `base`; writes weights, log and sidecar.

    `old` is the index table of the old task's data set.
    """
    device = devices.pick(job.device, job.threads)
    with distributed.joined(device) as world:
        model, parent = weights.load(base, device)
        scale = parent.intensity_scale_bqml

        new_task = _read_task(job, job.dataset, "patches", settings, scale, device)
        old_task = None
        if old is not None:
            old_task = _read_task(job, old, "old patches", settings, scale, device)

        inputs = [path for path in (base, scores, old) if path is not None]
        decisive = {**asdict(entry), **asdict(settings)}
        run = _training_run(job, [job.dataset, *inputs], decisive, world, device, old)
        start: dict[str, float] = {}
        if settings.log_old:
            run, start = _watching(run, model, new_task, old_task, settings)

        result = adapt_network(
            model,
            entry,
            new_task,
            settings,
            run,
            scores=_kernel_scores(scores, model, parent, entry),
            old=old_task,
            seed=derive(job.seed, job.name, "adapt"),
        )
        result.numbers.update(start)
        if not world.first:
            return

        card = weights.Card(
            job.name,
            parent.width,
            scale,
            [*parent.parents, parent.network],
            result.mask,
            asdict(settings) | asdict(entry),
            _provenance(job),
            united(from_card(parent.domain), job.domain).as_dict(),
        )
        _write_network(job, model, card, result, device, inputs)


def score_table(model: nn.Module, k: int, alpha: float) -> pd.DataFrame:
    """One row a scored output kernel: module, channel, sparsity, entropy, kse, alive (0 or 1)."""
    example = torch.zeros(1, SLICES, EXAMPLE_PIXELS, EXAMPLE_PIXELS)
    connected = connections(model, example)
    components = components_from(model, connected, k, alpha)
    alive = alive_from(model, example, connected)

    rows = []
    for name, c in components.items():
        for channel in range(len(c.kse)):
            sparsity = float(c.sparsity[channel])
            entropy = float(c.entropy[channel])
            kse = float(c.kse[channel])
            is_alive = int(alive[name][channel])
            rows.append((name, channel, sparsity, entropy, kse, is_alive))

    return pd.DataFrame(rows, columns=[*SCORE_COLUMNS, "alive"])


def _read_task(
    job: Job, index: Path, purpose: str, settings: Training, scale: float, device: torch.device
) -> Task:
    """The patches of an index table; what is drawn for training depends on the network's name."""
    volumes = job.compute.volumes
    seed = derive(job.seed, job.name, purpose)
    train = read_patches(index, "train", settings, scale, seed, device, volumes)

    seed = held_out_seed(job.seed)
    held_out = read_patches(index, "val", settings, scale, seed, device, volumes)

    return Task(train, held_out)


def _kernel_scores(
    table: Path | None, model: DnCNN, parent: weights.Card, entry: NetworkEntry
) -> KernelScores | None:
    if table is None:
        return None

    kse = read_scores(table, model.scored)
    sparsity = read_scores(table, model.scored, "sparsity") if entry.mask == "l1" else None
    alive = read_alive(table, model.scored) if counts_alive(entry) else None
    return KernelScores(kse, sparsity, weights.masks(model, parent), alive)


def _training_run(
    job: Job,
    inputs: Sequence[Path],
    settings: Mapping[str, Any],
    world: World,
    device: torch.device,
    old: Path | None = None,
) -> TrainingRun:
    """The run, with an identity made of all that decides its result."""
    files = [*inputs]
    for table in (job.dataset, old):
        if table is not None:
            files += volumes_of(table)
    hashes = [sha256(path) for path in files]

    # `auto` may be another arithmetic on another machine, where a checkpoint does not resume.
    compute = {
        "precision": devices.precision(job.compute.precision, device),
        "compile": job.compute.compile,
        "deterministic": job.compute.deterministic,
    }
    decisive = [job.name, job.seed, job.threads, world.size, hashes, settings, compute]
    content = json.dumps(decisive, sort_keys=True)
    identity = hashlib.sha256(content.encode()).hexdigest()

    return TrainingRun(
        name=job.name,
        log=job.log,
        checkpoint=job.checkpoint,
        identity=identity,
        compute=job.compute,
        world=world,
        tensorboard=job.tensorboard,
    )


def _watching(
    run: TrainingRun, model: nn.Module, new: Task, old: Task | None, settings: Training
) -> tuple[TrainingRun, dict[str, float]]:
    """The run that logs the loss on the old task too, and where both losses start, for the sidecar;
    ValueError where one of the tasks has nothing held out.
    """
    if old is None:
        raise ValueError(f"{run.name}: log_old: needs the old task's data (--old)")

    losses = {}
    for key, task in ((START_NEW, new), (START_OLD, old)):
        if not task.has_held_out:
            raise ValueError(f"{run.name}: log_old: no study is held out (validation_fraction)")

        batches = fixed_batches(task.held_out, settings)
        losses[key], _ = validate(model, batches, settings.loss)

    return replace(run, watched=old.held_out), losses


def _counts(model: DnCNN) -> dict[str, int]:
    """Kernels and parameters of a network that was trained whole."""
    parameters = sum(p.numel() for p in model.parameters())

    return {
        "kernels_total": model.kernels,
        "kernels_retrained": model.kernels,
        "parameters_total": parameters,
        "parameters_retrained": parameters,
    }


def _provenance(job: Job) -> dict[str, Any]:
    return {"seed": job.seed, "dataset": sha256(job.dataset)}


def _write_network(
    job: Job,
    model: nn.Module,
    card: weights.Card,
    result: TrainingResult,
    device: torch.device,
    inputs: Sequence[Path],
) -> None:
    """Write weights, sidecar and model card; then the checkpoints are of no use any more."""
    weights.save(job.weights, model, card)

    content = {
        "network": job.name,
        "intensity_scale_bqml": card.intensity_scale_bqml,
        "precision": devices.precision(job.compute.precision, device),
        **result.numbers,
        **_final_losses(result.rows),
    }
    files = [job.dataset, *volumes_of(job.dataset), *inputs]
    computed_on = devices.describe(device)
    provenance = sidecar(files, job.options, job.seed, computed_on, job.started)
    write_json(job.weights.with_suffix(".json"), {**content, "provenance": provenance})
    model_card.write(job.weights, card, content, job.dataset)

    if job.checkpoint is not None:
        candidates = job.checkpoint.parent.glob(candidate_name(job.checkpoint.stem))
        for path in [job.checkpoint, *candidates]:
            path.unlink(missing_ok=True)


def _final_losses(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Losses and PSNR at the end of the training; none where nothing was trained."""
    if not rows:
        return {}

    losses: dict[str, float | None] = {}
    for key in FINAL:
        value = rows[-1][key]
        losses[f"final_{key}"] = None if math.isnan(value) else value  # JSON has no NaN

    return losses
