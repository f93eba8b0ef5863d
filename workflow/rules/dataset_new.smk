# Stage 4: the training sets of adaptation and of online learning (dataset.smk).


use rule dataset_v1 as dataset_adapt with:
    input:
        script="scripts/04_dataset.py",
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
        script="scripts/04_dataset.py",
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
