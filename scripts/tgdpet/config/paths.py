"""Where the files of a run lie under its results folder, and which of them its configuration makes.

The only module that knows: Snakemake's rules, the evaluation, the figures and the report ask here.
Nothing in it is heavy, as Snakemake imports it before any job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..io.nifti import image_name, sidecar_path
from ..nuclides import FDG
from . import roles, sweep
from .image_files import find_images, natural, subject_folder
from .sections import Config, NetworkEntry
from .studies import Study

INPUT = "input"  # stands for the noisy image itself, in place of a network's name

PAPER_NETWORKS = ("v1-net", "v2-net", "FT-net", "TGD-net")
PAPER_ONLINE = ("TGD-N2N", "TGD2-N2N")
ONLINE_BASES = ("v2-net", "TGD-net")


# A folder of images does not change while a run is planned.
_find_once = cache(find_images)


def image_path(
    root: Path, study: str, protocol: str, sample: str, tracer: str | None = None
) -> Path:
    """Where an image lies under a recon or denoised/{network} folder.

    Without a `tracer` the image that is there, whichever its tracer; FDG's name if there is none.
    """
    folder = root / f"sub-{study}" / "pet"
    if tracer is None:
        found = sorted(folder.glob(image_name(study, protocol, sample, tracer="*")))
        return found[0] if found else folder / image_name(study, protocol, sample)

    return folder / image_name(study, protocol, sample, tracer)


def with_sidecars(images: Iterable[Path]) -> list[Path]:
    """Each image and its sidecar, which is read with it."""
    return [path for image in images for path in (image, sidecar_path(image))]


def training_folder(entry: NetworkEntry) -> str:
    """The folder of a network's files: models/ if it was trained from scratch, else adapted/."""
    return "models" if entry.method == "train" else "adapted"


@dataclass(frozen=True)
class RunFiles:
    """One results folder with the configuration and studies that it is made from."""

    root: Path
    config: Config
    studies: Sequence[Study]

    # Studies and their images

    @property
    def scan(self) -> str:
        """Sample name of the whole scan, the reference."""
        return self.config.images.reference or roles.level_name(self.config.simulation.scan_s)

    def studies_of(self, *wanted: str) -> list[str]:
        """Names of the studies of these roles; none where there is no such study."""
        return [s.study for s in self.studies if s.role in wanted]

    def of_role(self, role: str) -> list[str]:
        """Names of the studies of a role; raises ValueError when there is none."""
        names = self.studies_of(role)
        if not names:
            raise ValueError(f"studies: none has the role {role!r}, which this figure shows")

        return names

    def study(self, name: str) -> Study | None:
        """The row of a study; None where the table has none of this name."""
        return next((s for s in self.studies if s.study == name), None)

    def is_simulated(self, study: str) -> bool:
        """Whether a study's true activity is known."""
        return next(s.is_simulated for s in self.studies if s.study == study)

    def comes_as_images(self, study: str) -> bool:
        """Whether the images of a study are not made but found."""
        row = self.study(study)
        return row is not None and row.is_images

    def found_images(self, study: str) -> Mapping[tuple[str, str], Path]:
        """(protocol, sample) -> file of a study that comes as images."""
        row = self.study(study)
        if row is None or row.path is None or not row.is_images:
            raise ValueError(f"studies: {study} does not come as images")

        return _find_once(row.path, study)

    def is_as_made(self, study: str) -> bool:
        """Whether a study has the images that the workflow would make of it, under its names."""
        row = self.study(study)
        if row is None or not row.is_images:
            return True

        wanted = {}
        for protocol in roles.protocols(row.role, self.config):
            for sample in self.sample_names(row.role):
                wanted[protocol, sample] = image_name(study, protocol, sample)

        found = {key: path.name for key, path in self.found_images(study).items()}
        return found == wanted and not self.config.images.resample

    def sample_names(self, role: str) -> list[str]:
        """Samples that a study of this role is split into."""
        samples = roles.samples_of(role, self.config.sampling, self.config.simulation.scan_s)
        return [sample.name for sample in samples]

    def noisy_names(self, role: str) -> list[str]:
        """Samples of a test study that networks denoise."""
        return [name for name in self.sample_names(role) if self.is_noisy_input(name)]

    def is_noisy_input(self, sample: str) -> bool:
        """Whether networks denoise this sample of a test study: neither the whole scan nor a half
        to learn from.
        """
        return sample != self.scan and sample not in roles.HALVES

    def protocols_of_study(self, study: str) -> tuple[str, ...]:
        """The protocols of a study's images, of those that its role has a use for."""
        row = self.study(study)
        if row is None:
            return ()

        protocols = roles.protocols(row.role, self.config)
        if not row.is_images:
            return protocols

        found = {protocol for protocol, _ in self.found_images(study)}
        return tuple(protocol for protocol in protocols if protocol in found)

    def study_samples(self, study: str, protocol: str) -> list[str]:
        """The samples of a study and protocol: those of its role, or those that were found, whose
        order is the same.
        """
        row = self.study(study)
        if row is None:
            return []

        of_role = self.sample_names(row.role)
        if not row.is_images:
            return of_role

        found = [sample for other, sample in self.found_images(study) if other == protocol]
        known = [sample for sample in of_role if sample in found]
        others = [sample for sample in found if sample not in of_role]
        return sorted(others, key=natural) + known

    def noisy_of_study(self, study: str, protocol: str) -> list[str]:
        """Samples of a test study and protocol that networks denoise."""
        return [name for name in self.study_samples(study, protocol) if self.is_noisy_input(name)]

    def online_studies(self) -> list[str]:
        """Studies that are learned on themselves: those with both halves as v2 images."""
        return [
            study
            for study in self.studies_of(*roles.ONLINE)
            if set(roles.HALVES) <= set(self.study_samples(study, "v2"))
        ]

    def has_drop_images(self) -> bool:
        """Whether there are images for the drop experiment."""
        return self.drop_images(self.protocol_of(self.config.score.network)) is not None

    def drop_images(self, protocol: str) -> tuple[Path, Path] | None:
        """The noisy image that kernels are dropped on and its whole scan; None where no test study
        has both.
        """
        for study in (*self.studies_of(roles.LESION), *self.studies_of(*roles.TESTS)):
            if protocol not in self.protocols_of_study(study):
                continue

            noisy = self.noisy_of_study(study, protocol)
            if noisy and self.scan in self.study_samples(study, protocol):
                first = roles.realisation_name(1)
                sample = first if first in noisy else noisy[0]
                return (
                    self.image_path(study, protocol, sample),
                    self.image_path(study, protocol, self.scan),
                )

        return None

    def image_path(self, study: str, protocol: str, sample: str, network: str = INPUT) -> Path:
        """A reconstructed or, with `network`, a denoised image; where it was found, if a study
        comes as images.
        """
        folder = self.image_folder(network)
        tracer = next((s.tracer for s in self.studies if s.study == study), FDG)
        if not self.comes_as_images(study):
            return image_path(folder, study, protocol, sample, tracer)

        found = self.found_images(study).get((protocol, sample))
        if found is None:
            return image_path(folder, study, protocol, sample, tracer)
        if network == INPUT and not self.config.images.resample:
            return found

        return subject_folder(folder, study) / found.name

    def recon_folder(self, study: str) -> Path:
        """The folder of a study's reconstructed images, above `sub-STUDY`."""
        row = self.study(study)
        if row is None or row.path is None or not row.is_images or self.config.images.resample:
            return self.image_folder()

        return Path(row.path)

    def image_folder(self, network: str = INPUT) -> Path:
        """The folder of all reconstructed or, with `network`, of its denoised images."""
        if network == INPUT:
            return self.root / "recon"

        return self.root / "denoised" / network

    def listmode_path(self, study: str, name: str) -> Path:
        """A file of a study's list mode, such as organs.nii.gz."""
        return self.root / "listmode" / study / name

    def organs_path(self, study: str) -> Path:
        """The label image of a study's organs."""
        if self.comes_as_images(study):
            return self.root / "organs" / f"{study}.nii.gz"

        return self.listmode_path(study, "organs.nii.gz")

    def truth_path(self, study: str) -> Path:
        """The true activity of a simulated study."""
        return self.listmode_path(study, "truth.nii.gz")

    def dataset_path(self, task: str, name: str) -> Path:
        """A file of a training set: index.tsv, or the volumes of a study."""
        return self.root / "dataset" / task / name

    # Networks

    def ordered(self) -> dict[str, NetworkEntry]:
        """The configured networks, the paper's first and in its order (a YAML file may have been
        sorted).
        """
        networks = self.config.networks
        first = [n for n in (*PAPER_NETWORKS, *PAPER_ONLINE) if n in networks]
        rest = [n for n in networks if n not in first]
        return {n: networks[n] for n in (*first, *rest)}

    def population(self, order: Sequence[str] = PAPER_NETWORKS) -> list[str]:
        """Networks for any study: those in `order`; all if it names none, or none of the
        configuration.
        """
        names = [n for n, e in self.ordered().items() if e.data != "n2n"]
        return [n for n in order if n in names] or names

    def online(self, order: Sequence[str] = PAPER_ONLINE) -> list[str]:
        """Networks that online learning makes for one study each: those in `order`, or all if it
        names none.
        """
        names = [n for n, e in self.ordered().items() if e.data == "n2n"]
        return [n for n in order if n in names] or names

    def trainings(self) -> list[tuple[str, str]]:
        """(network, study or "") of every configured network that a run trains; a study in online
        learning.
        """
        made = []
        for network, entry in self.ordered().items():
            if entry.data == "n2n":
                made += [(network, study) for study in sorted(self.online_studies())]
            elif entry.weights is None:
                made.append((network, ""))

        return made

    def protocol_of(self, network: str) -> str:
        """The protocol of the images that a network was made for; v2 unless trained on v1."""
        return "v1" if self._entry(network).data == "v1" else "v2"

    def weights_path(self, network: str, study: str = "") -> Path:
        """Weights of a network, of online learning for a study: its own file if one is
        configured.
        """
        entry = self._entry(network)
        if entry.weights is not None:
            return Path(entry.weights)

        return self._trained(network, study, ".safetensors")

    def training_log(self, network: str, study: str = "") -> Path:
        """The log of a network's training: loss and speed by step."""
        return self._trained(network, study, "_log.csv")

    def training_sidecar(self, network: str, study: str = "") -> Path:
        """What a network was made from and how, beside its weights."""
        return self._trained(network, study, ".json")

    def scored(self) -> list[str]:
        """Networks whose kernels are scored: those that TGD starts from, and that of Fig. 4."""
        entries = sweep.entries(self.config).values()
        bases = {str(e.base) for e in entries if e.method == "tgd"}
        return sorted(bases | {self.config.score.network})

    def scores_path(self, network: str) -> Path:
        """The table of a network's kernel scores."""
        return self.root / "kse" / f"{network}.csv"

    @property
    def drop_table(self) -> Path:
        """What dropping the kernels below each phi changes."""
        return self.root / "kse" / "drop.csv"

    def dropped_path(self, phi: float) -> Path:
        """The drop experiment's image at a threshold; 0: nothing dropped."""
        return self.root / "kse" / "drop" / f"phi-{phi:g}.nii.gz"

    # Numbers

    def metrics_path(self, table: str = "metrics") -> Path:
        """A table of measures: of one study by its name, of all of them, or findings, gain, ..."""
        return self.root / "metrics" / f"{table}.csv"

    def voi_path(self, study: str) -> Path:
        """Values in the volumes of interest of a study, that intervals are computed from."""
        return self.root / "metrics" / f"{study}_voi.npz"

    def benchmark_path(self, stage: str, job: str) -> Path:
        """Snakemake's record of the time that a job took."""
        return self.root / "benchmarks" / stage / f"{job}.tsv"

    def recon_benchmarks(self, study: str, role: str, protocol: str) -> list[Path]:
        """The records of a study's reconstructions: one, or one an image where each is a job."""
        jobs = [f"{study}_{protocol}"]
        if self.config.resources.recon_jobs == "image":
            jobs = sorted(f"{study}_{protocol}_{sample}" for sample in self.sample_names(role))

        return [self.benchmark_path("reconstruct", job) for job in jobs]

    def _entry(self, network: str) -> NetworkEntry:
        return sweep.entries(self.config)[network]

    def _trained(self, network: str, study: str, ending: str) -> Path:
        folder = self.root / training_folder(self._entry(network))
        stem = folder / network / study if study else folder / network
        return stem.with_name(stem.name + ending)
