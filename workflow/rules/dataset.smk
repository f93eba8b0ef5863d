# Stage 4: 2.5D training sets. One rule a task, as each has its own studies.
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
        for x in samples_names(STUDY[s].role)
        if x != WHOLE
    ]


def task_files(task):
    """The index table, then the volumes of a task's studies."""
    return ["index.tsv", *(f"{s}.npy" for s in TASKS[task][1])]


for _task, (_protocol, _studies) in TASKS.items():

    rule:
        name:
            f"dataset_{_task}".replace("-", "_")
        input:
            script="scripts/04_dataset.py",
            images=sorted({path for pair in task_pairs(_task) for path in pair[2:]}),
        output:
            index=f"{R}/dataset/{_task}/index.tsv",
            volumes=[f"{R}/dataset/{_task}/{s}.npy" for s in _studies],
        log:
            f"{R}/logs/dataset/{_task}.log",
        benchmark:
            f"{R}/benchmarks/dataset/{_task}.tsv"
        threads: 1
        resources:
            mem_mb=mem(300, per_voxel_bytes=12 * LEVELS),
            runtime=minutes(30 + len(_studies) * LEVELS * VOXELS / 1e7),
            disk_mb=disk(images=len(_studies) * LEVELS),
        params:
            pairs=" ".join(":".join(pair) for pair in task_pairs(_task)),
            validation=(
                0 if _task.startswith("n2n-") else CONFIG.train.validation_fraction
            ),
            seed=CONFIG.seed,
        shell:
            "python {input.script} --pairs {params.pairs} --validation-fraction {params.validation}"
            " --seed {params.seed} --out {output.index} 2>&1 | tee {log}"
