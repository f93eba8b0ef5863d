"""What a configuration will cost, before anything runs: jobs, core hours, GPU hours, disk.

Written formulas times a few rates that were measured once; good to about a factor of two on another
machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import roles, sweep
from ..config.sections import Config
from ..config.studies import Study, with_role
from ..figures import drawn
from ..listmode.events import EVENT
from . import job_sizes, rates

# What is counted in a bill.
AMOUNTS = ("jobs", "core_h", "gpu_h", "kept_gb", "temporary_gb")


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
    studies = [s for s in studies if roles.protocols(s.role, config)]
    tests = [s for s in studies if s.role in roles.TESTS]
    made = [s for s in studies if not s.is_images]

    return [
        _simulate(config, made),
        _subsample(config, made),
        _reconstruct(config, made),
        _dataset(config, studies),
        *_networks(config, studies),
        _denoise(config, tests),
        _evaluate(config, tests),
        _figures(config),
    ]


def times(rows: Sequence[Cost], runs: int) -> list[Cost]:
    """The bill of so many runs of the same size."""
    return [replace(row, **{name: runs * getattr(row, name) for name in AMOUNTS}) for row in rows]


def bill_text(rows: Sequence[Cost]) -> str:
    """The bill as a table of one screen."""
    total = Cost("total", *(sum(getattr(row, name) for row in rows) for name in AMOUNTS))

    lines = ["stage        jobs   core h    GPU h   kept GB   temporary GB"]
    for row in [*rows, total]:
        hours = f"{_short(row.core_h):>9}{_short(row.gpu_h):>9}"
        disk = f"{_short(row.kept_gb):>10}{_short(row.temporary_gb):>15}"
        lines.append(f"{row.stage:<11}{row.jobs:>6}{hours}{disk}")

    lines.append(
        f"At most {_short(peak_gb(rows))} GB on disk at once."
        " With a GPU, its hours replace the core hours of that row."
    )
    return "\n".join(lines)


def headline(
    source: str,
    config: Config,
    studies: Sequence[Study],
    runs: int,
    rows: Sequence[Cost],
    cores: int | None,
) -> str:
    """What is run, and how long it will take: the first lines of a run.

    `source` names the configuration's files, `cores` those that Snakemake was given (None: a
    cluster's). Jobs are taken to keep all cores busy.
    """
    core_h = sum(row.core_h for row in rows)
    length = f"{_duration(core_h)} of one core"
    if cores is not None:
        length = f"about {_duration(core_h / cores)} on {_counted(cores, 'core')}"

    what = [_counted(len(studies), "study"), _counted(len(config.networks), "network")]
    if runs > 1:
        what.append(_counted(runs, "seed"))
    return f"Configuration: {source}\n{', '.join(what)}: {length}, if nothing is there yet."


def _counted(number: int, noun: str) -> str:
    """`7 studies`, `1 study`, `2 cores`."""
    if number == 1:
        return f"1 {noun}"

    return f"{number} studies" if noun == "study" else f"{number} {noun}s"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 2 else f"{max(1, round(hours * 60))} min"


def peak_gb(rows: Sequence[Cost]) -> float:
    """Disk that is taken at most, GB."""
    return sum(row.kept_gb + row.temporary_gb for row in rows)


def _short(value: float) -> str:
    if value == 0:
        return "-"

    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _image_gb(config: Config) -> float:
    """A compressed float32 image on disk."""
    return math.prod(config.grid.shape) * 4 * rates.GZIP_SHARE / 1e9


def _simulate(config: Config, studies: Sequence[Study]) -> Cost:
    """List mode, and what is kept of it: true activity and attenuation."""
    n = len(studies)
    events = job_sizes.events_per_study(config)
    each_s = events / rates.SIMULATE_EVENTS_PER_CORE_S + rates.START_S

    return Cost(
        "simulate",
        n,
        core_h=n * each_s / 3600,
        kept_gb=n * 2 * _image_gb(config),
        temporary_gb=n * events * EVENT.itemsize / 1e9,
    )


def _subsample(config: Config, studies: Sequence[Study]) -> Cost:
    n = len(studies)
    events = job_sizes.events_per_study(config)
    each_s = events / rates.SUBSAMPLE_EVENTS_PER_CORE_S + rates.START_S
    return Cost("subsample", n, n * each_s / 3600)


def _reconstruct(config: Config, studies: Sequence[Study]) -> Cost:
    jobs = 0
    seconds = 0.0
    images = 0

    for study in studies:
        shares = roles.fractions(study.role, config)
        protocols = roles.protocols(study.role, config)
        images += len(shares) * len(protocols)

        # Sensitivity image and additive term
        jobs += 1
        sensitivity_s = job_sizes.sensitivity_core_s(config)
        seconds += rates.START_S + sensitivity_s + job_sizes.additive_core_s(config)

        for name in protocols:
            starts = 1 if config.resources.recon_jobs == "study" else len(shares)
            jobs += starts
            seconds += rates.START_S * starts
            seconds += job_sizes.recon_core_s(config, name, shares)

    kept_gb = images * _image_gb(config)
    return Cost("reconstruct", jobs, seconds / 3600, kept_gb=kept_gb)


def _dataset(config: Config, studies: Sequence[Study]) -> Cost:
    volume_gb = math.prod(config.grid.shape) * 4 / 1e9
    levels = len(config.sampling.levels_s) + 1
    jobs = 0
    volumes = 0

    for data in sorted(sweep.datasets(config)):
        if data == "n2n":
            n_online = len(_online(studies))
            jobs += n_online
            volumes += 2 * n_online
        else:
            role = roles.role_of_dataset(data)
            jobs += 1
            volumes += levels * len(with_role(studies, role))

    core_h = jobs * rates.START_S / 3600
    return Cost("dataset", jobs, core_h, kept_gb=volumes * volume_gb)


def _networks(config: Config, studies: Sequence[Study]) -> list[Cost]:
    entries = sweep.entries(config)
    trained = [n for n, e in entries.items() if e.from_scratch]
    adapted = [n for n, e in entries.items() if e.method != "train"]

    return [
        _trainings("train", trained, config, studies),
        _score(config),
        _trainings("adapt", adapted, config, studies),
    ]


def _trainings(
    stage: str, networks: Sequence[str], config: Config, studies: Sequence[Study]
) -> Cost:
    entries = sweep.entries(config)
    jobs = 0
    flop = 0.0
    gpu_s = 0.0

    for name in networks:
        runs = len(_online(studies)) if entries[name].data == "n2n" else 1
        jobs += runs
        flop += runs * job_sizes.training_flop(config, studies, name)
        gpu_s += runs * job_sizes.training_gpu_s(config, studies, name)

    core_s = flop / rates.TRAIN_FLOP_PER_CORE_S + jobs * rates.START_S
    weights_gb = job_sizes.weights_mb(config) / 1e3
    return Cost(stage, jobs, core_s / 3600, gpu_s / 3600, jobs * weights_gb)


def _score(config: Config) -> Cost:
    """KSE of the networks that TGD starts from, the drop experiment and the sweep's measures."""
    entries = sweep.entries(config).values()
    scored = {entry.base for entry in entries if entry.method == "tgd"}
    scored.add(config.score.network)

    jobs = len(scored) + 1
    sweep_h = 0.0
    if config.sweep.phi:
        jobs += 1
        sweep_h = job_sizes.sweep_s(config, 1, 0) / 3600

    return Cost("score", jobs, jobs * rates.START_S / 3600 + sweep_h)


def _denoise(config: Config, tests: Sequence[Study]) -> Cost:
    jobs = len(tests)
    images = _denoised(config, tests)
    flop = images * job_sizes.image_flop(config)
    core_s = flop / rates.TRAIN_FLOP_PER_CORE_S + jobs * rates.START_S
    gpu_s = flop / rates.DENOISE_FLOP_PER_GPU_S

    kept_gb = images * _image_gb(config)
    return Cost("denoise", jobs, core_s / 3600, gpu_s / 3600, kept_gb)


def _evaluate(config: Config, tests: Sequence[Study]) -> Cost:
    """Measures of each test study, their table, the findings, and the choice of phi."""
    voxels = _denoised(config, tests) * math.prod(config.grid.shape)
    measuring_s = voxels * rates.EVALUATE_S_PER_VOXEL
    core_s = len(tests) * rates.START_S + measuring_s

    jobs = len(tests) + 2 + bool(config.sweep.phi)
    return Cost("evaluate", jobs, core_s / 3600)


def _figures(config: Config) -> Cost:
    jobs = len(drawn(config)) + 1  # and the report
    return Cost("figures", jobs, jobs * rates.FIGURE_S / 3600)


def _n_population(config: Config) -> int:
    """Networks that denoise every test study."""
    return sum(e.data != "n2n" for e in config.networks.values())


def _denoised(config: Config, tests: Sequence[Study]) -> int:
    """Number of denoised images: the noisy image, or every realisation, of each protocol."""
    population = _n_population(config)
    online = len(config.networks) - population
    images = 0

    for study in tests:
        networks = population
        if study.role in roles.ONLINE:
            networks += online

        protocols = len(roles.protocols(study.role, config))
        images += networks * protocols * roles.n_noisy_images(study.role, config)

    return images


def _online(studies: Sequence[Study]) -> list[Study]:
    return with_role(studies, *roles.ONLINE)
