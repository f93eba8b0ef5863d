# Stage 4: 2.5D training sets: of the studies of a protocol (v1, v2), of adaptation, and of each study that is learned on itself.
TASKS = {
    "v1": ("v1", ROLE_STUDIES.get(roles.TRAINING, [])),
    "v2": ("v2", ROLE_STUDIES.get(roles.TRAINING, [])),
    "adapt": ("v2", ROLE_STUDIES.get(roles.ADAPTATION, [])),
    **{f"n2n-{s}": ("v2", [s]) for s in ONLINE},
}


def task_pairs(task):
    """(study, sample, noisy image, target image) of a task."""
    protocol, studies = TASKS[task]
    if task.startswith("n2n-"):
        halves = [recon(studies[0], protocol, f"half{i}") for i in (1, 2)]
        return [(studies[0], "half1", *halves), (studies[0], "half2", *halves[::-1])]
    return [
        (s, x, recon(s, protocol, x), recon(s, protocol, WHOLE))
        for s in studies
        for x in FILES.sample_names(STUDY[s].role)
        if x != WHOLE
    ]


def task_paths(task):
    """The index table, then the volumes of a task's studies."""
    files = ["index.tsv", *(f"{s}.npy" for s in TASKS[task][1])]
    return [str(FILES.dataset_path(task, f)) for f in files]


def task_images(task):
    """The images that a task's volumes are taken from, and their sidecars."""
    images = sorted({path for pair in task_pairs(task) for path in pair[2:]})
    return images + sidecars(images)


def task_words(task):
    """The pairs of a task as the script takes them."""
    return " ".join(":".join(pair) for pair in task_pairs(task))


rule dataset_v1:
    input:
        script="scripts/04_dataset.py",
        images=task_images("v1"),
    output:
        index=task_paths("v1")[0],
        volumes=task_paths("v1")[1:],
    log:
        f"{R}/logs/dataset/v1.log",
    benchmark:
        FILES.benchmark_path("dataset", "v1")
    threads: 1
    resources:
        mem_mb=mem(300, per_voxel_bytes=12 * LEVELS),
        runtime=minutes(dataset_s(len(TASKS["v1"][1]))),
        disk_mb=disk(images=len(TASKS["v1"][1]) * LEVELS),
    params:
        pairs=task_words("v1"),
        validation=CONFIG.train.validation_fraction,
        seed=CONFIG.seed,
    shell:
        "python {input.script} --pairs {params.pairs} --validation-fraction {params.validation}"
        " --seed {params.seed} --out {output.index} 2>&1 | tee {log}"


use rule dataset_v1 as dataset_v2 with:
    input:
        script="scripts/04_dataset.py",
        images=task_images("v2"),
    output:
        index=task_paths("v2")[0],
        volumes=task_paths("v2")[1:],
    log:
        f"{R}/logs/dataset/v2.log",
    benchmark:
        FILES.benchmark_path("dataset", "v2")
    params:
        pairs=task_words("v2"),
        validation=CONFIG.train.validation_fraction,
        seed=CONFIG.seed,
