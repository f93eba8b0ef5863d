"""What a configuration will cost, before anything runs: jobs, core hours, GPU hours, disk.

Written formulas times a few rates that were measured once; good to about a factor of two on another
machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import roles, sweep
from ..config.sections import PENALTIES, Config, Training, chooses_strength, old_task
from ..config.studies import Study, with_role
from ..figures import drawn
from ..listmode.events import EVENT
from ..networks.architecture import CHANNELS, layer_channels
from ..scanner.cylinder import from_choice
from ..training.tradeoff import JUDGED_PATCHES
from . import rates


@dataclass(frozen=True)
class Cost:
    """One stage's bill; GPU hours replace the core hours of a stage that can use a GPU."""

    stage: str
    jobs: int
    core_h: float
    gpu_h: float = 0.0
    kept_gb: float = 0.0
    temporary_gb: float = 0.0


def estimate(config: Config, studies: Sequence[Study]) -> list[Cost]:
    """The bill, one row a stage in the pipeline's order."""
    voxels = math.prod(config.grid.shape)
    image_gb = voxels * 4 * rates.GZIP_SHARE / 1e9
    events = events_per_study(config)
    studies = [s for s in studies if roles.protocols(s.role, config)]
    images = sum(
        len(roles.fractions(s.role, config)) * len(roles.protocols(s.role, config)) for s in studies
    )
    tests = [s for s in studies if s.role in roles.TESTS]
    n, kept_gb = len(studies), len(studies) * 2 * image_gb  # kept: true activity and attenuation
    core_h = n * (events / rates.SIMULATE_EVENTS_PER_CORE_S + rates.START_S) / 3600
    measured_h = (
        len(tests) * rates.START_S + _denoised(config, tests) * voxels * rates.EVALUATE_S_PER_VOXEL
    ) / 3600
    return [
        Cost(
            "simulate", n, core_h, kept_gb=kept_gb, temporary_gb=n * events * EVENT.itemsize / 1e9
        ),
        Cost(
            "subsample", n, n * (events / rates.SUBSAMPLE_EVENTS_PER_CORE_S + rates.START_S) / 3600
        ),
        _reconstruct(config, studies, images * image_gb),
        _dataset(config, studies),
        *_networks(config, studies),
        _denoise(config, tests, image_gb),
        Cost("evaluate", len(tests) + 2 + bool(config.sweep.phi), measured_h),
        Cost("figures", len(drawn(config)) + 1, (len(drawn(config)) + 1) * rates.FIGURE_S / 3600),
    ]


def times(rows: Sequence[Cost], runs: int) -> list[Cost]:
    """The bill of so many runs of the same size."""
    names = ("jobs", "core_h", "gpu_h", "kept_gb", "temporary_gb")
    return [replace(row, **{name: runs * getattr(row, name) for name in names}) for row in rows]


def events_per_study(config: Config) -> float:
    """Expected events of a whole scan: with the detection efficiency squared and the accepted ring
    pairs' area.
    """
    scanner, demo = from_choice(config.scanner), from_choice(type(config.scanner)())
    area = (
        scanner.n_ring_pairs
        * scanner.ring_pitch_mm**2
        / (demo.n_ring_pairs * demo.ring_pitch_mm**2)
    )
    dose = config.simulation.dose_mbq_per_kg / type(config.simulation)().dose_mbq_per_kg
    return (
        rates.EVENTS_PER_S
        * area
        * (scanner.efficiency / demo.efficiency) ** 2
        * dose
        * config.simulation.scan_s
    )


def sensitivity_core_s(config: Config) -> float:
    """Core seconds of one study's sensitivity image."""
    planes = max(config.grid.shape[:2]) / 104
    return from_choice(config.scanner).n_lors * planes / rates.SENSITIVITY_LORS_PER_CORE_S


def additive_core_s(config: Config) -> float:
    """Core seconds of one study's attenuation and background, event by event."""
    return events_per_study(config) / rates.ADDITIVE_EVENTS_PER_CORE_S * _detail(config)


def recon_core_s(config: Config, protocol: str, shares: Sequence[float]) -> float:
    """Core seconds of the images of one study and protocol that are made from these shares of its
    events.
    """
    p, voxels = config.protocols[protocol], math.prod(config.grid.shape)
    projections = (
        sum(shares)
        * events_per_study(config)
        * p.iterations
        * _detail(config)
        / rates.RECON_EVENTS_PER_CORE_S
    )
    return (
        projections
        + len(shares) * p.iterations * p.subsets * voxels / rates.RECON_VOXELS_PER_CORE_S
    )


def training_s(
    config: Config, studies: Sequence[Study], name: str, threads: int, gpus: int
) -> float:
    """Seconds of one training of the network `name` on so many GPUs, or (0) threads."""
    if gpus:
        return rates.START_S + _training_gpu_s(config, studies, name, gpus)
    return rates.START_S + training_flop(config, studies, name) / (
        threads * rates.TRAIN_FLOP_PER_CORE_S
    )


def denoising_s(config: Config, images: int, threads: int, gpus: int) -> float:
    """Seconds of so many images through a network on so many GPUs, or (0) threads."""
    rate = gpus * rates.DENOISE_FLOP_PER_GPU_S if gpus else threads * rates.TRAIN_FLOP_PER_CORE_S
    return (
        rates.START_S
        + images * math.prod(config.grid.shape) * 2 * _macs_per_pixel(config.network.width) / rate
    )


def scoring_core_s(config: Config) -> float:
    """Core seconds of the KSE of one network: distances of kernels grow with the cube of the
    width.
    """
    return rates.START_S + rates.SCORE_CORE_S * config.network.width**3


def sweep_s(config: Config, threads: int, gpus: int) -> float:
    """Seconds of the measures of a sweep: its networks on patches of both tasks, and one image for
    each phi.
    """
    pixels = 2 * (len(sweep.networks(config)) + 1) * JUDGED_PATCHES * config.adapt.patch**2
    rate = gpus * rates.DENOISE_FLOP_PER_GPU_S if gpus else threads * rates.TRAIN_FLOP_PER_CORE_S
    judged = pixels * 2 * _macs_per_pixel(config.network.width) / rate
    return judged + denoising_s(config, len(config.sweep.phi) + 1, threads, gpus)


def evaluation_core_s(config: Config, images: int) -> float:
    """Core seconds of all measures of so many images."""
    return rates.START_S + images * math.prod(config.grid.shape) * rates.EVALUATE_S_PER_VOXEL


def weights_mb(config: Config) -> float:
    """A network's weights, MB."""
    return _macs_per_pixel(config.network.width) * 4 / 1e6


def activations_mb(config: Config, training: Training) -> float:
    """What a training step keeps of a batch, MB: each layer's output, normalised, rectified, and
    its gradient.
    """
    return 16 * training.batch * training.patch**2 * sum(CHANNELS) * config.network.width / 1e6


def training_slices(config: Config, studies: Sequence[Study], data: str) -> int:
    """Noisy input slices of a training task, validation included (n2n: of one study, both
    directions).
    """
    if data == "n2n":
        return 2 * config.grid.shape[2]
    role = roles.role_of_dataset(data)
    return len(with_role(studies, role)) * len(config.sampling.levels_s) * config.grid.shape[2]


def bill_text(rows: Sequence[Cost]) -> str:
    """The bill as a table of one screen."""
    lines = ["stage        jobs   core h    GPU h   kept GB   temporary GB"]
    total = Cost(
        "total",
        *(
            sum(getattr(r, n) for r in rows)
            for n in ("jobs", "core_h", "gpu_h", "kept_gb", "temporary_gb")
        ),
    )
    for row in [*rows, total]:
        lines.append(
            f"{row.stage:<11}{row.jobs:>6}{_short(row.core_h):>9}{_short(row.gpu_h):>9}"
            f"{_short(row.kept_gb):>10}{_short(row.temporary_gb):>15}"
        )
    lines.append(
        f"At most {_short(peak_gb(rows))} GB on disk at once. With a GPU, its hours replace the core hours of that row."
    )
    return "\n".join(lines)


def peak_gb(rows: Sequence[Cost]) -> float:
    """Disk that is taken at most, GB."""
    return sum(row.kept_gb + row.temporary_gb for row in rows)


def _short(value: float) -> str:
    if value == 0:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _detail(config: Config) -> float:
    """Voxels crossed in a TOF window, against those of 4 mm."""
    return float(4.0 / math.prod(config.grid.voxel_mm) ** (1 / 3))


def _reconstruct(config: Config, studies: Sequence[Study], kept_gb: float) -> Cost:
    jobs, seconds = 0, 0.0
    for study in studies:
        shares = roles.fractions(study.role, config)
        jobs += 1  # sensitivity image and additive term
        seconds += rates.START_S + sensitivity_core_s(config) + additive_core_s(config)
        for name in roles.protocols(study.role, config):
            one_job = config.resources.recon_jobs == "study"
            jobs += 1 if one_job else len(shares)
            seconds += rates.START_S * (1 if one_job else len(shares))
            seconds += recon_core_s(config, name, shares)
    return Cost("reconstruct", jobs, seconds / 3600, kept_gb=kept_gb)


def _dataset(config: Config, studies: Sequence[Study]) -> Cost:
    volume_gb, levels = math.prod(config.grid.shape) * 4 / 1e9, len(config.sampling.levels_s) + 1
    jobs, volumes = 0, 0
    for data in sorted(sweep.datasets(config)):
        if data == "n2n":
            jobs += len(_online(studies))
            volumes += 2 * len(_online(studies))
        else:
            jobs += 1
            volumes += levels * len(with_role(studies, roles.role_of_dataset(data)))
    return Cost("dataset", jobs, jobs * rates.START_S / 3600, kept_gb=volumes * volume_gb)


def _networks(config: Config, studies: Sequence[Study]) -> list[Cost]:
    entries = sweep.entries(config)
    trained = [n for n, e in entries.items() if e.from_scratch]
    adapted = [n for n, e in entries.items() if e.method != "train"]
    scored = {e.base for e in entries.values() if e.method == "tgd"} | {config.score.network}
    weights_gb = weights_mb(config) / 1e3
    online = len(_online(studies))
    rows = []
    for stage, group in (("train", trained), ("adapt", adapted)):
        runs = [(n, online if entries[n].data == "n2n" else 1) for n in group]
        jobs = sum(n for _, n in runs)
        flop = sum(n * training_flop(config, studies, name) for name, n in runs)
        core_h = (flop / rates.TRAIN_FLOP_PER_CORE_S + jobs * rates.START_S) / 3600
        gpu_h = sum(n * _training_gpu_s(config, studies, name) for name, n in runs) / 3600
        rows.append(Cost(stage, jobs, core_h, gpu_h, jobs * weights_gb))
    jobs = len(scored) + 1 + bool(config.sweep.phi)
    sweep_h = sweep_s(config, 1, 0) / 3600 if config.sweep.phi else 0
    score = Cost("score", jobs, jobs * rates.START_S / 3600 + sweep_h)
    return [rows[0], score, rows[1]]


def _denoise(config: Config, tests: Sequence[Study], image_gb: float) -> Cost:
    population = sum(e.data != "n2n" for e in config.networks.values())
    jobs = population * len(tests) + (len(config.networks) - population) * len(_online(tests))
    images = _denoised(config, tests)
    flop = images * math.prod(config.grid.shape) * 2 * _macs_per_pixel(config.network.width)
    core_h = (flop / rates.TRAIN_FLOP_PER_CORE_S + jobs * rates.START_S) / 3600
    return Cost(
        "denoise", jobs, core_h, flop / rates.DENOISE_FLOP_PER_GPU_S / 3600, images * image_gb
    )


def _denoised(config: Config, tests: Sequence[Study]) -> int:
    """Number of denoised images: the noisy image, or every realisation, of each protocol."""
    population = sum(e.data != "n2n" for e in config.networks.values())
    inputs = {
        s.study: roles.n_noisy_images(s.role, config) * len(roles.protocols(s.role, config))
        for s in tests
    }
    own = sum(inputs[s.study] for s in _online(tests))
    return population * sum(inputs.values()) + (len(config.networks) - population) * own


def _online(studies: Sequence[Study]) -> list[Study]:
    return with_role(studies, *roles.ONLINE)


def training_flop(config: Config, studies: Sequence[Study], name: str) -> float:
    """Floating-point operations of one training of the network `name`: forward 2 a weight, backward
    4.
    """
    each = (
        8 if sweep.entries(config)[name].penalty == "lwf" else 6
    )  # the base's own forward for its outputs
    training, patches = _patches(config, studies, name)
    return patches * training.patch**2 * each * _macs_per_pixel(config.network.width)


def _training_gpu_s(config: Config, studies: Sequence[Study], name: str, gpus: int = 1) -> float:
    training, patches = _patches(config, studies, name)
    arithmetic = training_flop(config, studies, name) / (gpus * rates.TRAIN_FLOP_PER_GPU_S)
    return max(arithmetic, patches / training.batch * rates.TRAIN_STEP_GPU_S)


def _patches(config: Config, studies: Sequence[Study], name: str) -> tuple[Training, float]:
    """The settings of a network's training and how many patches it reads, all strengths that are
    tried included.
    """
    networks = sweep.entries(config)
    entry = networks[name]
    training = (
        config.online
        if entry.data == "n2n"
        else config.adapt
        if entry.data == "adapt"
        else config.train
    )
    slices = float(training_slices(config, studies, entry.data))
    if entry.replay > 0:
        slices += entry.replay * training_slices(config, studies, old_task(name, networks))
    times = len(PENALTIES[entry.penalty]) if chooses_strength(entry) else 1
    return training, times * slices * training.patches_per_slice * training.epochs


def _macs_per_pixel(width: float) -> int:
    channels = layer_channels(width)
    return sum(9 * a * b for a, b in zip(channels[:-1], channels[1:], strict=True))
