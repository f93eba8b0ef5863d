# Memory and time of jobs, from the sizes of images and list modes.
# A job asks for a GPU where one is configured, or where this machine has one.
GPU = int(
    CONFIG.device == "cuda"
    or (CONFIG.device == "auto" and shutil.which("nvidia-smi") is not None)
)
# What decides a training's result is a parameter as usual, so that a change retrains; how it runs and is watched is not.
WATCHED = ["compile", "volumes", "checkpoint_minutes", "tensorboard"]
COMPUTE = cli.to_options(CONFIG.compute, skip=WATCHED)
WATCH = cli.to_options(CONFIG.compute, skip=["precision", "deterministic"])
# Several GPUs are several processes, each with a part of every batch.
LAUNCH = (
    f"python -m torch.distributed.run --standalone --nproc-per-node {CONFIG.resources.gpus}"
    if GPU and CONFIG.resources.gpus > 1
    else "python"
)
VOXELS = CONFIG.grid.shape[0] * CONFIG.grid.shape[1] * CONFIG.grid.shape[2]
EVENTS = costs.events_per_study(CONFIG)


def untracked(text):
    """A parameter whose change reruns nothing: Snakemake keeps no record of functions of a job's threads."""
    return lambda wildcards, threads: text


def mem(base_mb, per_voxel_bytes=0.0, per_event_bytes=0.0):
    """Memory of a job by the sizes of its images and list modes, more at every retry."""
    size = base_mb + (per_voxel_bytes * VOXELS + per_event_bytes * EVENTS) / 1e6
    return lambda wildcards, attempt: int(size * (1 + 0.5 * (attempt - 1)))


def minutes(core_s):
    """Wall time of a job that is expected to take so many seconds: four times that, at least ten minutes."""
    return lambda wildcards, attempt: int(attempt * max(10, 4 * core_s / 60))
