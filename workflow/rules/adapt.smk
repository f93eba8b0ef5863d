# Stage 7: fine-tuning and TGD, for a protocol (data: adapt) or a single study (data: n2n); chains of any length.


rule adapt:
    input:
        script=source("scripts/07_adapt.py"),
        base=lambda w: model(NETWORKS[w.network].base),
        scores=lambda w: scores_of(w.network),
        old=lambda w: old_data(w.network)[:1],
        old_volumes=lambda w: old_data(w.network)[1:],
        index=lambda w: adaptation_data(w)[0],
        volumes=lambda w: adaptation_data(w)[1:],
    output:
        table=f"{R}/adapted/{{network}}_log.csv",
        sidecar=f"{R}/adapted/{{network}}.json",
        card=f"{R}/adapted/{{network}}.md",
        model=f"{R}/adapted/{{network}}.safetensors",
    log:
        f"{R}/logs/adapt/{{network}}.log",
    benchmark:
        FILES.benchmark_path("adapt", "{network}")
    wildcard_constraints:
        network=names(
            n for n, e in NETWORKS.items() if e.method != "train" and e.data != "n2n"
        ),
    threads: CONFIG.resources.train
    resources:
        mem_mb=mem(
            1500 + job_sizes.activations_mb(CONFIG, CONFIG.adapt),
            per_voxel_bytes=8 * len(STUDIES) * LEVELS,
        ),
        runtime=minutes(training_s),
        disk_mb=disk(more_mb=5 * job_sizes.weights_mb(CONFIG)),
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
        options=lambda w: arguments.to_options(adaptation_settings(w.network)),
    shell:
        "{params.launch} {input.script} --dataset {input.index} --name {wildcards.network} --base {input.base}"
        " {params.scores} {params.old} {params.entry} --seed {params.seed} --device {params.device} --threads {threads}"
        " --checkpoint {params.checkpoint} --out {output.model} {params.options}"
        " {params.compute} {params.watch} 2>&1 | tee {log}"


use rule adapt as adapt_online with:
    output:
        table=f"{R}/adapted/{{network}}/{{study}}_log.csv",
        sidecar=f"{R}/adapted/{{network}}/{{study}}.json",
        card=f"{R}/adapted/{{network}}/{{study}}.md",
        model=f"{R}/adapted/{{network}}/{{study}}.safetensors",
    log:
        f"{R}/logs/adapt_online/{{network}}_{{study}}.log",
    benchmark:
        FILES.benchmark_path("adapt_online", "{network}_{study}")
    wildcard_constraints:
        network=names(n for n in N2N if NETWORKS[n].method != "train"),
        study=names(ONLINE),
