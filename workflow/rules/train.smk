# Stage 5: networks from scratch, of a protocol's studies or (data: n2n) of a single study's halves.


rule train:
    input:
        script=source("scripts/05_train.py"),
        index=lambda w: scratch_data(w)[0],
        volumes=lambda w: scratch_data(w)[1:],
    output:
        table=f"{R}/models/{{network}}_log.csv",
        sidecar=f"{R}/models/{{network}}.json",
        card=f"{R}/models/{{network}}.md",
        model=f"{R}/models/{{network}}.safetensors",
    log:
        f"{R}/logs/train/{{network}}.log",
    benchmark:
        FILES.benchmark_path("train", "{network}")
    wildcard_constraints:
        network=names(n for n in POPULATION if NETWORKS[n].from_scratch),
    threads: CONFIG.resources.train
    resources:
        mem_mb=mem(
            1500 + job_sizes.activations_mb(CONFIG, CONFIG.train),
            per_voxel_bytes=8 * len(ROLE_STUDIES.get(roles.TRAINING, [])) * LEVELS,
        ),
        runtime=minutes(training_s),
        disk_mb=disk(more_mb=5 * job_sizes.weights_mb(CONFIG)),
        gpu=GPU * CONFIG.resources.gpus,
    params:
        width=arguments.word(CONFIG.network.width),
        seed=CONFIG.seed,
        device=CONFIG.device,
        compute=COMPUTE,
        launch=untracked(LAUNCH),
        watch=untracked(WATCH),
        checkpoint=lambda w, output: (
            output.model.replace(f"{R}/models/", f"{R}/checkpoints/", 1)
        ),
        options=lambda w: arguments.to_options(scratch_settings(w.network)),
    shell:
        "{params.launch} {input.script} --dataset {input.index} --name {wildcards.network} --width {params.width}"
        " --seed {params.seed} --device {params.device} --threads {threads} --checkpoint {params.checkpoint}"
        " --out {output.model} {params.options}"
        " {params.compute} {params.watch} 2>&1 | tee {log}"


use rule train as train_online with:
    output:
        table=f"{R}/models/{{network}}/{{study}}_log.csv",
        sidecar=f"{R}/models/{{network}}/{{study}}.json",
        card=f"{R}/models/{{network}}/{{study}}.md",
        model=f"{R}/models/{{network}}/{{study}}.safetensors",
    log:
        f"{R}/logs/train_online/{{network}}_{{study}}.log",
    benchmark:
        FILES.benchmark_path("train_online", "{network}_{study}")
    wildcard_constraints:
        network=names(n for n in N2N if NETWORKS[n].from_scratch),
        study=names(ONLINE),
