# Stage 5: networks from scratch, of a protocol's studies or (data: n2n) of a single study's halves.
SCRATCH_JOBS = [
    (
        "train",
        [n for n in POPULATION if NETWORKS[n].from_scratch],
        "{network}",
        "{network}",
    ),
    (
        "train_online",
        [n for n in N2N if NETWORKS[n].from_scratch],
        "{network}/{study}",
        "{network}_{study}",
    ),
]


def scratch_data(network, study=None):
    """The index table and the volumes that a network is trained on from scratch."""
    data = NETWORKS[network].data
    task = f"n2n-{study}" if data == "n2n" else data
    return [f"{R}/dataset/{task}/{f}" for f in task_files(task)]


def scratch_settings(network):
    """Online learning from scratch takes the step size of training from scratch, and the rest as online learning."""
    if NETWORKS[network].data == "n2n":
        return dataclasses.replace(
            CONFIG.online, learning_rate=CONFIG.train.learning_rate
        )
    return CONFIG.train


for _name, _networks, _path, _job in SCRATCH_JOBS:

    rule:
        name:
            _name
        input:
            script="scripts/05_train.py",
            index=lambda w: scratch_data(w.network, w.get("study"))[0],
            volumes=lambda w: scratch_data(w.network, w.get("study"))[1:],
        output:
            table=f"{R}/models/{_path}_log.csv",
            sidecar=f"{R}/models/{_path}.json",
            card=f"{R}/models/{_path}.md",
            model=f"{R}/models/{_path}.safetensors",
        log:
            f"{R}/logs/{_name}/{_job}.log",
        benchmark:
            f"{R}/benchmarks/{_name}/{_job}.tsv"
        wildcard_constraints:
            network=names(_networks),
            study=names(ONLINE),
        threads: CONFIG.resources.train
        resources:
            mem_mb=mem(
                1500 + costs.activations_mb(CONFIG, CONFIG.train),
                per_voxel_bytes=8 * len(ROLE_STUDIES.get(roles.TRAINING, [])) * LEVELS,
            ),
            runtime=minutes(training_s),
            disk_mb=disk(more_mb=5 * costs.weights_mb(CONFIG)),
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
