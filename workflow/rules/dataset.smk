# Stage 4: 2.5D training sets: of the studies of a protocol (v1, v2), of adaptation, and of each study that is learned on itself.


rule dataset_v1:
    input:
        script=source("scripts/04_dataset.py"),
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
        script=source("scripts/04_dataset.py"),
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


use rule dataset_v1 as dataset_adapt with:
    input:
        script=source("scripts/04_dataset.py"),
        images=task_images("adapt"),
    output:
        index=task_paths("adapt")[0],
        volumes=task_paths("adapt")[1:],
    log:
        f"{R}/logs/dataset/adapt.log",
    benchmark:
        FILES.benchmark_path("dataset", "adapt")
    resources:
        mem_mb=mem(300, per_voxel_bytes=12 * LEVELS),
        runtime=minutes(dataset_s(len(TASKS["adapt"][1]))),
        disk_mb=disk(images=len(TASKS["adapt"][1]) * LEVELS),
    params:
        pairs=task_words("adapt"),
        validation=CONFIG.train.validation_fraction,
        seed=CONFIG.seed,


use rule dataset_v1 as dataset_n2n with:
    input:
        script=source("scripts/04_dataset.py"),
        images=lambda w: task_images(f"n2n-{w.study}"),
    output:
        index=f"{R}/dataset/n2n-{{study}}/index.tsv",
        volumes=[f"{R}/dataset/n2n-{{study}}/{{study}}.npy"],
    log:
        f"{R}/logs/dataset/n2n-{{study}}.log",
    benchmark:
        FILES.benchmark_path("dataset", "n2n-{study}")
    wildcard_constraints:
        study=names(ONLINE),
    resources:
        mem_mb=mem(300, per_voxel_bytes=12 * LEVELS),
        runtime=minutes(dataset_s(1)),
        disk_mb=disk(images=LEVELS),
    params:
        pairs=lambda w: task_words(f"n2n-{w.study}"),
        validation=0,
        seed=CONFIG.seed,
