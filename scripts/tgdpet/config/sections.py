"""The configuration: one frozen dataclass a stage, its defaults, its limits and its errors.

The dataclasses are the single source: `schema()` turns them into the JSON schema of the
configuration file (`python -m tgdpet.config.sections` prints it), and `loading.load_config` turns a
mapping into checked dataclasses. No torch in here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .schema import ConfigError, limits, object_schema

METHODS = ("train", "finetune", "tgd")
DATASETS = ("v1", "v2", "adapt", "n2n")
MASKS = ("kse", "l1", "random")
FRACTIONS_OF = ("all", "alive")
# The penalties and the strengths that are tried where none is given; 0 is plain fine-tuning.
PENALTIES = {
    "none": (),
    "ewc": (0.0, 0.1, 1.0, 10.0),
    "l2sp": (0.0, 0.1, 1.0, 10.0),
    "lwf": (0.0, 0.3, 1.0, 3.0),
}

__all__ = [
    "DATASETS",
    "FRACTIONS_OF",
    "MASKS",
    "METHODS",
    "PENALTIES",
    "Config",
    "ConfigError",
    "as_dict",
    "schema",
]


@dataclass(frozen=True)
class Grid:
    """The image grid, centred on the scanner's axis and middle."""

    shape: list[int] = limits(
        [112, 112, 64], low=4, high=2048, length=3, help="voxels along x, y, z"
    )
    voxel_mm: list[float] = limits(
        [4.0, 4.0, 5.0], above=0, high=20, length=3, help="voxel size along x, y, z, mm"
    )


@dataclass(frozen=True)
class ScannerChoice:
    """A scanner preset, with any of its figures replaced."""

    preset: str = limits("demo", choices=("demo", "clinical"), help="figures to start from")
    radius_mm: float | None = limits(None, above=0, help="radius to the crystals' front, mm")
    crystals_per_ring: int | None = limits(None, low=16, help="detector elements in a ring")
    rings: int | None = limits(None, low=1, help="detector rings")
    ring_pitch_mm: float | None = limits(None, above=0, help="axial distance of two rings, mm")
    max_ring_difference: int | None = limits(
        None, low=0, help="largest accepted difference of ring numbers"
    )
    tof_fwhm_ps: float | None = limits(None, above=0, help="coincidence time resolution, ps FWHM")
    tof_bin_ps: float | None = limits(None, above=0, help="width of a TOF bin, ps")
    efficiency: float | None = limits(
        None, above=0, high=1, help="chance that a photon hitting a crystal is counted"
    )


@dataclass(frozen=True)
class Simulation:
    """Scan and physics of the simulated studies."""

    scan_s: float = limits(600.0, above=0, help="scan duration, s")
    dose_mbq_per_kg: float = limits(
        3.7, above=0, help="injected FDG activity per body weight, MBq/kg"
    )
    uptake_min: float = limits(60.0, low=0, help="time from injection to scan start, min")
    oversampling: int = limits(
        2, low=1, high=8, help="phantom voxels per image voxel along each axis"
    )
    psf_fwhm_mm: float = limits(
        6.5, above=0, help="true central resolution without the crystals' width, mm FWHM"
    )
    psf_radial_slope: float = limits(
        0.1, low=0, high=2, help="relative growth of that FWHM from centre to 300 mm"
    )
    scatter_fraction: float = limits(
        0.3, low=0, high=0.9, help="scattered / (true + scattered) coincidences"
    )
    randoms_fraction: float = limits(0.2, low=0, high=0.9, help="random / all coincidences")
    lesion_diameter_mm: float = limits(
        20.0, above=0, help="lesion put into the liver of test_lesion studies, mm"
    )
    lesion_contrast: float = limits(3.0, above=0, help="lesion : liver activity concentration")


@dataclass(frozen=True)
class Sampling:
    """What is drawn from a study's list mode."""

    levels_s: list[float] = limits(
        [30.0, 45.0, 60.0, 90.0, 120.0, 180.0], above=0, help="noise levels, s of the scan"
    )
    online_s: float = limits(120.0, above=0, help="the noisy study that online learning halves, s")
    realisations: int = limits(
        10, low=2, high=1000, help="i.i.d. parts of a test_lesion study's whole scan"
    )
    test_s: float = limits(
        60.0, above=0, help="duration of the noisy test image of a test_high_bmi study, s"
    )


@dataclass(frozen=True)
class Images:
    """Studies that come as images (source: images)."""

    reference: str | None = limits(
        None, help="sample that is the target, `full`; empty: simulation.scan_s, `600s`"
    )
    resample: bool = limits(
        False, help="bring images of other voxels to grid.voxel_mm; else they are refused"
    )


@dataclass(frozen=True)
class ReconProtocol:
    """One TOF list-mode OSEM reconstruction protocol."""

    psf_fwhm_mm: list[float] = limits(
        [8.0, 8.0, 8.0], low=0, high=50, length=3, help="resolution model x, y, z, mm; 0 = none"
    )
    iterations: int = limits(3, low=1, high=100, help="passes over all events")
    subsets: int = limits(4, low=1, high=100, help="subsets a pass")
    post_fwhm_mm: list[float] = limits(
        [0.0, 0.0, 0.0],
        low=0,
        high=50,
        length=3,
        one_for_all=True,
        help="Gaussian filter after reconstruction x, y, z, mm FWHM, or one number for all three",
    )


@dataclass(frozen=True)
class Network:
    """The residual DnCNN."""

    width: float = limits(
        0.25, above=0, high=4, help="multiplies the paper's channel numbers 64..256"
    )


@dataclass(frozen=True)
class Training:
    """One kind of training; an epoch draws `patches_per_slice` patches for every training slice."""

    epochs: int = limits(14, low=1, help="passes over the training slices")
    batch: int = limits(32, low=1, help="patches a step")
    patch: int = limits(32, low=8, help="patch side, voxels")
    patches_per_slice: float = limits(
        1.0, above=0, help="patches drawn per training slice and epoch"
    )
    learning_rate: float = limits(1e-3, above=0, help="Adam's step size")
    loss: str = limits(
        "mse", choices=("mse", "l1"), help="on intensities divided by the network's scale"
    )
    l2: float = limits(
        1e-4, low=0, help="R(W) of eq. 4: l2 / 2 * |w|^2 added to the loss (coupled)"
    )
    air_fraction: float = limits(
        0.05, low=0, high=1, help="largest share of patches centred on air"
    )
    validation_fraction: float = limits(
        0.15, low=0, high=0.9, help="share of studies held out; none of fewer than three"
    )
    log_old: bool = limits(
        False, help="log the loss on the old task too (of adapt alone); decides nothing"
    )


@dataclass(frozen=True)
class Compute:
    """How training and reconstruction use the hardware; the method is the same."""

    precision: str = limits(
        "auto",
        choices=("auto", "float32", "tf32", "bf16"),
        help="of training; auto: bf16 on a GPU or x86 processor that has it",
    )
    compile: str = limits(
        "auto",
        choices=("auto", "always", "never"),
        help="torch.compile; auto: long trainings on a GPU",
    )
    deterministic: bool = limits(
        False, help="the same bits every time on a GPU too, at a cost in speed"
    )
    volumes: str = limits(
        "auto",
        choices=("auto", "memory", "mapped"),
        help="training volumes: on the device, memory-mapped, what fits",
    )
    reconstruct: str = limits(
        "auto", choices=("auto", "cpu", "cuda"), help="to reconstruct; auto: a GPU if found"
    )
    checkpoint_minutes: float = limits(1.0, low=0, help="time from one checkpoint to the next")
    tensorboard: bool = limits(
        False, help="TensorBoard events beside the weights, in NAME_tensorboard/"
    )


@dataclass(frozen=True)
class NetworkEntry:
    """A node of the chain of networks: how it is made, from what, with which data."""

    method: str = limits("train", choices=METHODS, help="from scratch, the last blocks, or tgd")
    data: str = limits(
        "v1", choices=DATASETS, help="the training task; n2n: one test study's halves"
    )
    base: str | None = limits(None, help="network to start from (finetune, tgd)")
    weights: str | None = limits(
        None, help="file of a network to take as it is, instead of training one (train)"
    )
    phi: float = limits(0.3, low=0, high=1, help="KSE below which a kernel is retrained (tgd)")
    fraction: float | None = limits(
        None, low=0, high=1, help="share of kernels to retrain instead of phi (tgd)"
    )
    fraction_of: str = limits(
        "all",
        choices=FRACTIONS_OF,
        help="what fraction counts: all kernels, or those alive beside all dead ones (tgd)",
    )
    keep_blocks: int = limits(0, low=0, high=6, help="first blocks whose kernels all stay (tgd)")
    flow: str = limits("parameter", choices=("parameter", "layer"), help="how the mask acts (tgd)")
    batchnorm: str = limits(
        "eval", choices=("eval", "per_channel", "train"), help="batch statistics while adapting"
    )
    blocks: int = limits(
        3, low=1, high=8, help="convolution blocks to retrain, counted from the end (finetune)"
    )
    mask: str = limits(
        "kse", choices=MASKS, help="kernels by KSE, or as many a layer by L1 norm or chance (tgd)"
    )
    accumulate: bool = limits(False, help="also what the base's own adaptation did: TGD^n (tgd)")
    penalty: str = limits(
        "none", choices=tuple(PENALTIES), help="what holds the network to its base (finetune)"
    )
    strength: float | None = limits(
        None, low=0, help="weight of the penalty; empty: chosen on old data (finetune)"
    )
    replay: float = limits(
        0.0, low=0, high=1, help="share of the old slices trained on too; 1: joint (finetune)"
    )

    @property
    def from_scratch(self) -> bool:
        """Whether it is trained from scratch: neither adapted nor taken from a file."""
        return self.method == "train" and self.weights is None


@dataclass(frozen=True)
class Score:
    """KSE and the drop experiment of Fig. 4."""

    network: str = limits("v1-net", help="network whose kernels are dropped")
    k: int = limits(5, low=1, help="nearest neighbours in the density metric")
    alpha: float = limits(1.0, low=0, help="weight of the entropy in KSE")
    drop_phi: list[float] = limits(
        [0.3, 0.4, 0.5, 0.6], low=0, high=1, help="thresholds of the drop experiment"
    )


@dataclass(frozen=True)
class Sweep:
    """A network made again at each of many phi, and by plain fine-tuning, to choose phi."""

    network: str = limits("TGD-net", help="network to make again (tgd, data: adapt)")
    phi: list[float] = limits(
        [], above=0, high=1, least=0, help="thresholds to retrain it at; none: no sweep"
    )


@dataclass(frozen=True)
class Figures:
    """How figures show images."""

    voxels: bool = limits(
        False, help="voxels as squares; else interpolated between them, as viewers do"
    )


@dataclass(frozen=True)
class Resources:
    """Threads of the heavy rules; memory and time are derived from the sizes in the rules."""

    simulate: int = limits(1, low=1, help="threads of a simulation job")
    reconstruct: int = limits(1, low=1, help="threads of a reconstruction job")
    train: int = limits(1, low=1, help="threads of a training or adaptation job")
    gpus: int = limits(
        1, low=1, high=64, help="GPUs of a training job, where there are GPUs (torchrun)"
    )
    denoise: int = limits(1, low=1, help="threads of a denoising job")
    recon_jobs: str = limits(
        "study", choices=("study", "image"), help="one job per study and protocol, or per image"
    )


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    seed: int = limits(2021, low=0, help="every generator derives from it")
    seeds: list[int] | None = limits(
        None, low=0, help="a study: the whole run once for each of these instead of `seed`"
    )
    device: str = limits("auto", choices=("auto", "cpu", "cuda"), help="where networks run")
    results: str = limits("results", help="folder that everything is written under")
    studies: str = limits("config/studies.tsv", help="table of studies")
    grid: Grid = field(default_factory=Grid)
    scanner: ScannerChoice = field(default_factory=ScannerChoice)
    simulation: Simulation = field(default_factory=Simulation)
    sampling: Sampling = field(default_factory=Sampling)
    images: Images = field(default_factory=Images)
    protocols: dict[str, ReconProtocol] = field(
        default_factory=lambda: {"v1": ReconProtocol(), "v2": ReconProtocol()}
    )
    network: Network = field(default_factory=Network)
    train: Training = field(default_factory=Training)
    adapt: Training = field(default_factory=Training)
    online: Training = field(default_factory=Training)
    networks: dict[str, NetworkEntry] = field(default_factory=dict)
    score: Score = field(default_factory=Score)
    sweep: Sweep = field(default_factory=Sweep)
    compute: Compute = field(default_factory=Compute)
    figures: Figures = field(default_factory=Figures)
    resources: Resources = field(default_factory=Resources)


def as_dict(config: Any) -> Any:
    """Plain dictionaries and lists of a configuration dataclass."""
    return dataclasses.asdict(config)


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of `Config`, for Snakemake's `validate` and for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tgdpet configuration",
        **object_schema(Config),
    }


if __name__ == "__main__":
    import json

    print(json.dumps(schema(), indent=2))
