# Memory, wall time and disk of jobs, by the sizes of images, list modes and networks. The rates and constants were measured: a
# test holds every job of a small run against what it really took.
import math

# A job asks for a GPU where one is configured, or where this machine has one.
GPU = int(
    CONFIG.device == "cuda"
    or (CONFIG.device == "auto" and shutil.which("nvidia-smi") is not None)
)
# Images are reconstructed where networks run, unless the configuration says otherwise.
RECON_DEVICE = job_sizes.recon_device(CONFIG, GPU)
# What decides a training's result is a parameter as usual, so that a change retrains; how it runs and is watched is not.
WATCHED = ["compile", "volumes", "checkpoint_minutes", "tensorboard", "reconstruct"]
COMPUTE = arguments.to_options(CONFIG.compute, skip=WATCHED)
DECISIVE = ["precision", "deterministic", "reconstruct"]
WATCH = arguments.to_options(CONFIG.compute, skip=DECISIVE)
# Several GPUs are several processes, each with a part of every batch.
LAUNCH = (
    f"python -m torch.distributed.run --standalone --nproc-per-node {CONFIG.resources.gpus}"
    if GPU and CONFIG.resources.gpus > 1
    else "python"
)
# What a profile sets for a rule takes the place of what the rule asks for; what it allows in all caps each job.
PROFILE_GPUS, JOB_GPUS = snakemake_internals.gpus_of_profile(workflow, "train")
PROFILE = {str(PROFILE_GPUS), str(JOB_GPUS)}
if PROFILE_GPUS is not None and PROFILE != {str(CONFIG.resources.gpus)}:
    raise WorkflowError(
        f"{SOURCE}: resources.gpus: {CONFIG.resources.gpus}, but the profile asks for gpu: {PROFILE_GPUS} for"
        f" train (set-resources) and allows gpu: {JOB_GPUS} (resources); make all three equal"
    )
VOXELS = max(math.prod(CONFIG.grid.shape), job_sizes.voxels_of_images(STUDIES))
EVENTS = job_sizes.events_per_study(CONFIG)
SNAKEMAKE_MB = 400  # a cluster's job holds two Snakemakes around its script
LEVELS = len(CONFIG.sampling.levels_s) + 1


def untracked(text):
    """A parameter whose change reruns nothing: Snakemake keeps no record of functions of a job's threads."""
    return lambda wildcards, threads: text


def grown(value, step):
    """A resource by its job's wildcards and number of tries: `value` (a number or a function of the wildcards), more at each."""

    def of_attempt(wildcards, attempt):
        first = value(wildcards) if callable(value) else value
        return math.ceil(first * (1 + step * (attempt - 1)))

    return of_attempt


def mem(base_mb, per_voxel_bytes=0.0, per_event_bytes=0.0):
    """Memory of a job by the sizes of its images and list modes; half as much again at every retry."""
    sizes = (per_voxel_bytes * VOXELS + per_event_bytes * EVENTS) / 1e6
    return grown(SNAKEMAKE_MB + base_mb + sizes, 0.5)


def minutes(seconds):
    """Wall time of a job that is expected to take so long: four times that, at least ten minutes; as much again at every retry."""
    of = seconds if callable(seconds) else lambda wildcards: seconds
    return grown(lambda wildcards: max(10, 4 * of(wildcards) / 60), 1)


def disk(images=0, event_bytes=0.0, more_mb=0.0):
    """What a job writes: images of the grid (a number, or a function of wildcards), bytes an event; half as much again at every retry."""
    n_images = images if callable(images) else lambda wildcards: images
    fixed_mb = 20 + event_bytes * EVENTS / 1e6 + more_mb
    return grown(lambda w: fixed_mb + n_images(w) * 4 * VOXELS / 1e6, 0.5)


def recon_s(wildcards):
    """Seconds of a reconstruction job: a study's images, or the one that is made of all events."""
    one_job = CONFIG.resources.recon_jobs == "study"
    shares = roles.fractions(STUDY[wildcards.study].role, CONFIG) if one_job else [1]
    core_s = job_sizes.recon_core_s(CONFIG, wildcards.protocol, shares)
    return core_s / CONFIG.resources.reconstruct


def dataset_s(n_studies):
    """Seconds of a training set of so many studies."""
    return 30 + n_studies * LEVELS * VOXELS / 1e7


def denoising_s(wildcards):
    """Seconds of all noisy images of a study through all its networks."""
    return job_sizes.denoising_s(
        CONFIG, n_denoised(wildcards), CONFIG.resources.denoise, GPU
    )


def training_s(wildcards):
    """Seconds of a training or adaptation on the GPUs or threads that it asks for."""
    parts = CONFIG.resources.train, GPU * CONFIG.resources.gpus
    return job_sizes.training_s(CONFIG, STUDIES, wildcards.network, *parts)


def evaluation_s(wildcards):
    """Seconds of the measures of a study: of its noisy images, and of each network's."""
    n_images = len(inputs_of(wildcards.study)) + n_denoised(wildcards)
    return job_sizes.evaluation_core_s(CONFIG, n_images)
