# Stage 7: fine-tuning and TGD, for a protocol (data: adapt) or a single study (data: n2n); chains of any length.


def adapt_options(network):
    """Command-line words of a network's entry: those that belong to its method."""
    e = NETWORKS[network]
    others = [k for k, methods in checks.BELONGS.items() if e.method not in methods]
    return arguments.to_options(e, skip=["data", "base", *others])


def old_data(network):
    """What the start of a network's chain was trained on, if the network needs it."""
    if not sections.needs_old_data(NETWORKS[network]):
        return []
    task = sections.old_task(network, NETWORKS)
    return [f"{R}/dataset/{task}/{f}" for f in task_files(task)]


def scores_of(network):
    """The KSE table that decides what is retrained (tgd only)."""
    e = NETWORKS[network]
    return [f"{R}/kse/{e.base}.csv"] if e.method == "tgd" else []


ADAPT_JOBS = [
    (
        "adapt",
        [n for n, e in NETWORKS.items() if e.method != "train" and e.data != "n2n"],
        "adapted/{network}",
        "{network}",
    ),
    (
        "adapt_online",
        [n for n in N2N if NETWORKS[n].method != "train"],
        "adapted/{network}/{study}",
        "{network}_{study}",
    ),
]

for _name, _networks, _path, _job in ADAPT_JOBS:
    _online = _name == "adapt_online"

    rule:
        name:
            _name
        input:
            script="scripts/07_adapt.py",
            base=lambda w: model(NETWORKS[w.network].base),
            scores=lambda w: scores_of(w.network),
            old=lambda w: old_data(w.network)[:1],
            old_volumes=lambda w: old_data(w.network)[1:],
            index=(
                f"{R}/dataset/n2n-{{study}}/index.tsv"
                if _online
                else f"{R}/dataset/adapt/index.tsv"
            ),
            volumes=(
                [f"{R}/dataset/n2n-{{study}}/{{study}}.npy"]
                if _online
                else [f"{R}/dataset/adapt/{s}.npy" for s in TASKS["adapt"][1]]
            ),
        output:
            table=f"{R}/{_path}_log.csv",
            sidecar=f"{R}/{_path}.json",
            card=f"{R}/{_path}.md",
            model=f"{R}/{_path}.safetensors",
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
                1500 + costs.activations_mb(CONFIG, CONFIG.adapt),
                per_voxel_bytes=8 * len(STUDIES) * LEVELS,
            ),
            runtime=minutes(training_s),
            disk_mb=disk(more_mb=5 * costs.weights_mb(CONFIG)),
            gpu=GPU * CONFIG.resources.gpus,
        params:
            scores=lambda w, input: f"--scores {input.scores}" if input.scores else "",
            old=lambda w, input: f"--old {input.old}" if input.old else "",
            entry=lambda w: adapt_options(w.network),
            seed=CONFIG.seed,
            device=CONFIG.device,
            compute=COMPUTE,
            launch=untracked(LAUNCH),
            watch=untracked(WATCH),
            checkpoint=lambda w, output: output.model.replace(
                f"{R}/", f"{R}/checkpoints/", 1
            ),
            options=arguments.to_options(CONFIG.online if _online else CONFIG.adapt),
        shell:
            "{params.launch} {input.script} --dataset {input.index} --name {wildcards.network} --base {input.base}"
            " {params.scores} {params.old} {params.entry} --seed {params.seed} --device {params.device} --threads {threads}"
            " --checkpoint {params.checkpoint} --out {output.model} {params.options}"
            " {params.compute} {params.watch} 2>&1 | tee {log}"
