"""Which files the findings and times of a run are read from; light, as Snakemake's rules ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import roles, sweep
from ..config.chains import logs_old_task
from ..config.paths import RunFiles
from ..config.sections import Config, ConfigError
from ..config.studies import read_studies

Steps = dict[str, "Sequence[TimedJob]"]


@dataclass(frozen=True)
class TimedJob:
    """A job whose time counts: its benchmark file, its result, the log of a training and the pixels
    of one of its steps, and whether a run of this configuration has such a job.
    """

    benchmark: Path
    result: Path
    log: Path | None = None
    step_pixels: int = 0
    made: bool = True


def timed_jobs(run: RunFiles) -> dict[str, Steps]:
    """The jobs that make a network for new images, by way (from scratch, TGD) and step."""
    entries = run.config.networks
    trained = [n for n, e in entries.items() if e.from_scratch and e.data == "v2"]
    adapted = [
        n for n, e in entries.items() if e.method == "tgd" and e.data == "adapt" and e.mask == "kse"
    ]

    return {
        "from scratch": {
            "reconstruction": _reconstructions(run, roles.TRAINING, "v2"),
            "dataset": [_dataset(run, "v2")],
            "training": [_training(run, "train", trained, "no network")],
        },
        "TGD": {
            "reconstruction": _reconstructions(run, roles.ADAPTATION, "adapt"),
            "dataset": [_dataset(run, "adapt")],
            "training": [_training(run, "adapt", adapted, "TGD-net")],
        },
    }


def all_timed_jobs(run: RunFiles) -> list[TimedJob]:
    """The jobs of `timed_jobs` that a run of this configuration has."""
    made: list[TimedJob] = []

    for steps in timed_jobs(run).values():
        for jobs in steps.values():
            made += [job for job in jobs if job.made]

    return made


def timed_files(run: RunFiles, finished: bool = False) -> list[Path]:
    """Benchmarks and logs of `all_timed_jobs`, which finding 7 and the figure of times need.

    A benchmark that was taken away from a result is left out, as no network is trained again for
    it. `finished`: nothing can be made any more; what there is counts.
    """
    files: list[Path] = []

    for job in all_timed_jobs(run):
        will_be_made = not (finished or job.result.exists())
        if job.benchmark.exists() or will_be_made:
            files.append(job.benchmark)

        if job.log is not None and (job.log.exists() or not finished):
            files.append(job.log)

    return files


def adapted_networks(config: Config) -> list[str]:
    """The networks whose way can be followed: adapted to a protocol, with both losses logged."""
    entries = config.networks.items()
    return [name for name, entry in entries if logs_old_task(entry, config.adapt)]


def path_files(run: RunFiles) -> list[Path]:
    """What the ways of all networks are read from."""
    files = []
    for network in adapted_networks(run.config):
        files += [run.training_sidecar(network), run.training_log(network)]

    return files


def findings_files(run: RunFiles) -> list[Path]:
    """The tables and values that findings and estimates are computed from, but for times."""
    tests = run.studies_of(*roles.TESTS)
    return [
        run.root / "config.yaml",
        run.metrics_path(),
        *(run.voi_path(study) for study in tests),
        *([run.drop_table] if run.has_drop_images() else []),
        *path_files(run),
    ]


def files_judged_by(root: Path, config: Config) -> list[Path]:
    """What the findings of a results folder were computed from: of `findings_files`, `timed_files`
    and the table of studies, those that exist.
    """
    try:
        studies = read_studies(config.studies)
    except ConfigError:
        studies = []  # no time is judged without them

    run = RunFiles(root, config, studies)
    files = [*findings_files(run), *timed_files(run, finished=True), Path(config.studies)]
    return [path for path in files if path.exists()]


def _reconstructions(run: RunFiles, role: str, task: str) -> list[TimedJob]:
    """v2 images of a role's studies, which the training set `task` is made from."""
    wanted = task in sweep.datasets(run.config)
    return [
        TimedJob(
            benchmark,
            run.image_path(study, "v2", run.scan),
            made=wanted and not run.comes_as_images(study),
        )
        for study in run.studies_of(role)
        for benchmark in run.recon_benchmarks(study, role, "v2")
    ]


def _dataset(run: RunFiles, task: str) -> TimedJob:
    made = task in sweep.datasets(run.config)
    index = run.dataset_path(task, "index.tsv")
    return TimedJob(run.benchmark_path("dataset", task), index, made=made)


def _training(run: RunFiles, stage: str, networks: Sequence[str], absent: str) -> TimedJob:
    """The first of `networks`; where there is none, a job that nobody runs."""
    if not networks:
        nothing = run.benchmark_path(stage, absent)
        return TimedJob(nothing, nothing, made=False)

    network = networks[0]
    settings = run.config.train if stage == "train" else run.config.adapt
    return TimedJob(
        run.benchmark_path(stage, network),
        run.weights_path(network),
        run.training_log(network),
        settings.batch * settings.patch**2,
    )
