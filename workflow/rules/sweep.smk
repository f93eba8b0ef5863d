# Stage 7: a network made again at each phi of the sweep (adapt.smk), compared on studies held out of training.
SWEPT = NETWORKS[CONFIG.sweep.network]
SWEEP_OLD = sections.old_task(CONFIG.sweep.network, NETWORKS)
SWEEP_PROTOCOL = "v2" if NETWORKS[SWEPT.base].data != "v1" else "v1"


rule sweep:
    input:
        script="scripts/07_sweep.py",
        base=model(SWEPT.base),
        scores=f"{R}/kse/{SWEPT.base}.csv",
        networks=[model(n) for n in SWEEP.values()],
        old=f"{R}/dataset/{SWEEP_OLD}/index.tsv",
        old_volumes=[f"{R}/dataset/{SWEEP_OLD}/{f}" for f in task_files(SWEEP_OLD)[1:]],
        new=f"{R}/dataset/{SWEPT.data}/index.tsv",
        new_volumes=[
            f"{R}/dataset/{SWEPT.data}/{f}" for f in task_files(SWEPT.data)[1:]
        ],
        image=recon(DROP_STUDY, SWEEP_PROTOCOL, "real01"),
        reference=recon(DROP_STUDY, SWEEP_PROTOCOL, WHOLE),
    output:
        f"{R}/kse/sweep.csv",
    log:
        f"{R}/logs/score/sweep.log",
    benchmark:
        f"{R}/benchmarks/score/sweep.tsv"
    threads: CONFIG.resources.denoise
    resources:
        mem_mb=mem(
            1000,
            per_voxel_bytes=8 * len(ROLE_STUDIES.get(roles.TRAINING, [])) * LEVELS,
        ),
        runtime=minutes(costs.sweep_s(CONFIG, CONFIG.resources.denoise, GPU)),
        disk_mb=disk(),
        gpu=GPU,
    params:
        phi=" ".join(map(arguments.word, SWEEP)),
        seed=CONFIG.seed,
        device=CONFIG.device,
        options=arguments.to_options(CONFIG.adapt),
    shell:
        "python {input.script} --base {input.base} --scores {input.scores} --phi {params.phi}"
        " --networks {input.networks} --old {input.old} --new {input.new} --image {input.image}"
        " --reference {input.reference} --seed {params.seed} --device {params.device} --threads {threads}"
        " --out {output} {params.options} 2>&1 | tee {log}"
