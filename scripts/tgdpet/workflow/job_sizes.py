"""What one job takes by the sizes of its images, list modes and networks: seconds, events, MB.

Written formulas times a few rates that were measured once (rates.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..config import roles, sweep
from ..config.chains import chooses_strength, old_task
from ..config.image_files import find_images, read_header
from ..config.sections import PENALTIES, Config, Training
from ..config.studies import Study, with_role
from ..networks.architecture import CHANNELS, layer_channels
from ..scanner.cylinder import from_choice
from ..training.tradeoff import JUDGED_PATCHES
from . import rates


def events_per_study(config: Config) -> float:
    """Expected events of a whole scan: with the detection efficiency squared and the accepted ring
    pairs' area.
    """
    scanner = from_choice(config.scanner)
    demo = from_choice(type(config.scanner)())
    area_mm2 = scanner.n_ring_pairs * scanner.ring_pitch_mm**2
    demo_area_mm2 = demo.n_ring_pairs * demo.ring_pitch_mm**2
    area = area_mm2 / demo_area_mm2

    default = type(config.simulation)()
    dose = config.simulation.dose_mbq_per_kg / default.dose_mbq_per_kg
    efficiency = (scanner.efficiency / demo.efficiency) ** 2

    return rates.EVENTS_PER_S * area * efficiency * dose * config.simulation.scan_s


def recon_device(config: Config, gpus: int) -> str:
    """Where images are reconstructed; `auto`: the script takes a GPU if numba-cuda finds it.

    `compute.reconstruct: auto` asks for one where `device: auto` found it; a cluster's (`device:
    cuda`) are for training unless reconstruction is to have them too.
    """
    wanted = config.compute.reconstruct
    found = gpus > 0 and config.device == "auto"
    return "cpu" if wanted == "auto" and not found else wanted


def sensitivity_core_s(config: Config) -> float:
    """Core seconds of one study's sensitivity image."""
    scanner = from_choice(config.scanner)
    planes = max(config.grid.shape[:2]) / 104
    return scanner.n_lors * planes / rates.SENSITIVITY_LORS_PER_CORE_S


def additive_core_s(config: Config) -> float:
    """Core seconds of one study's attenuation and background, event by event."""
    events = events_per_study(config)
    return events / rates.ADDITIVE_EVENTS_PER_CORE_S * _detail(config)


def recon_core_s(config: Config, protocol: str, shares: Sequence[float]) -> float:
    """Core seconds of the images of one study and protocol that are made from these shares of its
    events.
    """
    p = config.protocols[protocol]
    voxels = math.prod(config.grid.shape)

    events = sum(shares) * events_per_study(config)
    projected = events * p.iterations * _detail(config)
    projecting_s = projected / rates.RECON_EVENTS_PER_CORE_S

    updated = len(shares) * p.iterations * p.subsets * voxels
    return projecting_s + updated / rates.RECON_VOXELS_PER_CORE_S


def training_s(
    config: Config, studies: Sequence[Study], name: str, threads: int, gpus: int
) -> float:
    """Seconds of one training of the network `name` on so many GPUs, or (0) threads."""
    if gpus:
        return rates.START_S + training_gpu_s(config, studies, name, gpus)

    flop_per_s = threads * rates.TRAIN_FLOP_PER_CORE_S
    return rates.START_S + training_flop(config, studies, name) / flop_per_s


def denoising_s(config: Config, images: int, threads: int, gpus: int) -> float:
    """Seconds of so many images through a network on so many GPUs, or (0) threads."""
    flop = images * image_flop(config)
    return rates.START_S + flop / _forward_flop_per_s(threads, gpus)


def scoring_core_s(config: Config) -> float:
    """Core seconds of the KSE of one network: distances of kernels grow with the cube of the
    width.
    """
    return rates.START_S + rates.SCORE_CORE_S * config.network.width**3


def sweep_s(config: Config, threads: int, gpus: int) -> float:
    """Seconds of the measures of a sweep: its networks on patches of both tasks, and one image for
    each phi.
    """
    networks = len(sweep.networks(config)) + 1
    pixels = 2 * networks * JUDGED_PATCHES * config.adapt.patch**2
    flop = pixels * 2 * macs_per_pixel(config.network.width)
    judging_s = flop / _forward_flop_per_s(threads, gpus)

    return judging_s + denoising_s(config, len(config.sweep.phi) + 1, threads, gpus)


def evaluation_core_s(config: Config, images: int) -> float:
    """Core seconds of all measures of so many images."""
    voxels = images * math.prod(config.grid.shape)
    return rates.START_S + voxels * rates.EVALUATE_S_PER_VOXEL


def weights_mb(config: Config) -> float:
    """A network's weights, MB."""
    return macs_per_pixel(config.network.width) * 4 / 1e6


def activations_mb(config: Config, training: Training) -> float:
    """What a training step keeps of a batch, MB: each layer's output, normalised, rectified, and
    its gradient.
    """
    pixels = training.batch * training.patch**2
    return 16 * pixels * sum(CHANNELS) * config.network.width / 1e6


def training_slices(config: Config, studies: Sequence[Study], data: str) -> int:
    """Noisy input slices of a training task, validation included (n2n: of one study, both
    directions).
    """
    if data == "n2n":
        return 2 * config.grid.shape[2]

    of_task = with_role(studies, roles.role_of_dataset(data))
    made = [study for study in of_task if not study.is_images]
    found = sum(n_noisy_slices(study, data) for study in of_task if study.is_images)
    return len(made) * len(config.sampling.levels_s) * config.grid.shape[2] + found


def n_noisy_slices(study: Study, data: str) -> int:
    """Noisy input slices of a study of images for a training task; one image is the target."""
    protocol = "v1" if data == "v1" else "v2"
    images = find_images(study.path or "", study.study)
    paths = [path for (other, _), path in images.items() if other == protocol]

    return sum(read_header(path).shape[2] for path in paths[1:])


def voxels_of_images(studies: Sequence[Study]) -> int:
    """Voxels of the largest images that were found, by the first of each study; 0 without any."""
    sizes = [0]
    for study in studies:
        images = find_images(study.path or "", study.study) if study.is_images else {}
        sizes += [math.prod(read_header(path).shape) for path in list(images.values())[:1]]

    return max(sizes)


def _detail(config: Config) -> float:
    """Voxels crossed in a TOF window, against those of 4 mm."""
    return float(4.0 / math.prod(config.grid.voxel_mm) ** (1 / 3))


def training_flop(config: Config, studies: Sequence[Study], name: str) -> float:
    """Floating-point operations of one training of the network `name`: forward 2 a weight, backward
    4.
    """
    penalty = sweep.entries(config)[name].penalty
    per_weight = 8 if penalty == "lwf" else 6  # the base's own forward for its outputs

    training, patches = _patches(config, studies, name)
    pixels = patches * training.patch**2
    return pixels * per_weight * macs_per_pixel(config.network.width)


def training_gpu_s(config: Config, studies: Sequence[Study], name: str, gpus: int = 1) -> float:
    """Seconds of one training on so many GPUs: its arithmetic, at least the start of its steps."""
    training, patches = _patches(config, studies, name)
    flop = training_flop(config, studies, name)
    arithmetic_s = flop / (gpus * rates.TRAIN_FLOP_PER_GPU_S)

    steps = patches / training.batch
    return max(arithmetic_s, steps * rates.TRAIN_STEP_GPU_S)


def _patches(config: Config, studies: Sequence[Study], name: str) -> tuple[Training, float]:
    """The settings of a network's training and how many patches it reads, all strengths that are
    tried included.
    """
    networks = sweep.entries(config)
    entry = networks[name]
    settings = {"n2n": config.online, "adapt": config.adapt}
    training = settings.get(entry.data, config.train)

    slices = float(training_slices(config, studies, entry.data))
    if entry.replay > 0:
        old = old_task(name, networks)
        slices += entry.replay * training_slices(config, studies, old)

    tried = len(PENALTIES[entry.penalty]) if chooses_strength(entry) else 1
    return training, tried * slices * training.patches_per_slice * training.epochs


def image_flop(config: Config) -> float:
    """Floating-point operations of one image through a network."""
    return math.prod(config.grid.shape) * 2 * macs_per_pixel(config.network.width)


def _forward_flop_per_s(threads: int, gpus: int) -> float:
    """What so many GPUs do without gradients, or (0) threads."""
    if gpus:
        return gpus * rates.DENOISE_FLOP_PER_GPU_S

    return threads * rates.TRAIN_FLOP_PER_CORE_S


def macs_per_pixel(width: float) -> int:
    """Multiplications of a network of this width for each pixel, one a weight."""
    channels = layer_channels(width)
    return sum(9 * a * b for a, b in zip(channels[:-1], channels[1:], strict=True))
