"""Which files each figure and the report are drawn from; light, as Snakemake's rules ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..config import roles
from ..config.paths import INPUT, ONLINE_BASES, RunFiles, with_sidecars
from ..evaluation.inputs import path_files, timed_files
from . import SHOWN, TABLES, reported
from .absent import absent, shown_roles

# Shown in words too: the tables, and which phi is recommended.
QUOTED = (*TABLES, "phi")


def figure_files(name: str, run: RunFiles) -> list[Path]:
    """All files of a run that a figure is drawn from, each once; without the benchmarks of `timing`
    (evaluation/inputs.py).

    A study that the table of studies lacks has no file: drawing then says which role is missing.
    """
    tables = [run.root / table for table in SHOWN[name].tables]
    more = READ[name](run) if name in READ else ()
    return list(dict.fromkeys([*tables, *more]))


def files_drawn_from(name: str, run: RunFiles) -> list[Path]:
    """What a figure was drawn from: of all that it may be drawn from, the files that exist."""
    times = timed_files(run, finished=True) if name == "timing" else []
    return [path for path in (*figure_files(name, run), *times) if path.exists()]


def report_files(root: Path, runs: Sequence[RunFiles]) -> list[Path]:
    """Pictures and tables of the results folder `root` that its report shows, and of every run its
    configuration and the sidecars of its networks.

    `runs` are the results of single seeds: `root` itself, or several of a study.
    """
    alone = [run.root for run in runs] == [root]
    missing = absent(runs[0])
    names = [name for name in reported(runs[0].config, alone) if name not in missing]

    files = [root / "figures" / f"{name}.png" for name in names if SHOWN[name].drawn]
    files += [root / table for name in names if name in QUOTED for table in SHOWN[name].tables]
    for run in runs:
        files.append(run.root / "config.yaml")
        if any(study.is_images for study in run.studies):
            files.append(run.metrics_path())
        files += [run.training_sidecar(network, study) for network, study in run.trainings()]

    return list(dict.fromkeys(files))


def _fig3(run: RunFiles) -> Iterator[Path]:
    """Whole scan and all realisations of both protocols."""
    yield run.metrics_path()

    for study in run.studies_of(roles.LESION)[:1]:
        yield run.organs_path(study)
        for protocol in ("v1", "v2"):
            names = run.study_samples(study, protocol)
            yield from with_sidecars(run.image_path(study, protocol, name) for name in names)


def _training(run: RunFiles) -> Iterator[Path]:
    for network, study in run.trainings():
        yield run.training_log(network, study)


def _kse(run: RunFiles) -> Iterator[Path]:
    for network in run.scored():
        yield run.scores_path(network)


def _fig4(run: RunFiles) -> Iterator[Path]:
    """The drop experiment's images, and the noisy image that they were made from."""
    for study in run.studies_of(roles.LESION)[:1]:
        yield run.organs_path(study)

    images = run.drop_images(run.protocol_of(run.config.score.network))
    if images is not None:
        yield from with_sidecars(images[:1])

    phis = (0, *run.config.score.drop_phi)
    yield from with_sidecars(run.dropped_path(phi) for phi in phis)


def _fig5(run: RunFiles) -> Iterator[Path]:
    for role in shown_roles(run):
        yield from _shown(run, role, run.population())


def _difference(run: RunFiles) -> Iterator[Path]:
    """The images of Fig. 5, and every realisation of the low-BMI study for its mean."""
    yield from _fig5(run)
    yield from _realisations(run, run.population())


def _mip(run: RunFiles) -> Iterator[Path]:
    yield from _fig5(run)
    yield from _shown(run, roles.BLADDER, _before_and_after(run))


def _profiles(run: RunFiles) -> Iterator[Path]:
    """Lesion: the mean of all realisations; bladder: one image."""
    yield from _shown(run, roles.LESION, ())
    yield from _realisations(run, (INPUT, *run.population()))
    yield from _shown(run, roles.BLADDER, _before_and_after(run))

    for role in (roles.LESION, roles.BLADDER):
        for study in run.studies_of(role)[:1]:
            if run.is_simulated(study):
                yield from with_sidecars([run.truth_path(study)])


def _nps(run: RunFiles) -> Iterator[Path]:
    yield from _shown(run, roles.LESION, ())
    yield from _realisations(run, (INPUT,), "v1")
    yield from _realisations(run, (INPUT, *run.population()))


def _fig6(run: RunFiles) -> Iterator[Path]:
    yield run.metrics_path()
    yield from _shown(run, roles.BLADDER, _before_and_after(run))


def _figs1(run: RunFiles) -> Iterator[Path]:
    yield run.metrics_path()
    yield from _shown(run, roles.CATHETER, _before_and_after(run))


def _before_and_after(run: RunFiles) -> list[str]:
    """Networks before and after online learning."""
    return [*run.population(ONLINE_BASES), *run.online()]


def _shown(run: RunFiles, role: str, networks: Iterable[str]) -> Iterator[Path]:
    """Organs, whole scan and one noisy v2 image of a role's first study, and what these networks
    make of that image.
    """
    for study in run.studies_of(role)[:1]:
        yield run.organs_path(study)

        sample = run.noisy_of_study(study, "v2")[0]
        images = [run.image_path(study, "v2", run.scan), run.image_path(study, "v2", sample)]
        images += [run.image_path(study, "v2", sample, network) for network in networks]
        yield from with_sidecars(images)


def _realisations(run: RunFiles, networks: Iterable[str], protocol: str = "v2") -> Iterator[Path]:
    """Every realisation of the low-BMI study, as these networks (or INPUT) have it."""
    for study in run.studies_of(roles.LESION)[:1]:
        for network in networks:
            names = run.noisy_of_study(study, protocol)
            yield from with_sidecars(
                run.image_path(study, protocol, name, network) for name in names
            )


READ: dict[str, Callable[[RunFiles], Iterable[Path]]] = {
    "fig3": _fig3,
    "training": _training,
    "gain_paths": path_files,
    "kse": _kse,
    "fig4": _fig4,
    "fig5": _fig5,
    "difference": _difference,
    "mip": _mip,
    "profiles": _profiles,
    "nps": _nps,
    "noise_gain": _nps,
    "fig6": _fig6,
    "figS1": _figs1,
}
