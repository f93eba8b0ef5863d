# Stage 7: a network made again at each phi of the sweep (adapt.smk), compared on studies held out of training.
SWEPT = NETWORKS[CONFIG.sweep.network]
SWEEP_OLD = chains.old_task(CONFIG.sweep.network, NETWORKS)
SWEEP_PROTOCOL = FILES.protocol_of(SWEPT.base)
SWEEP_IMAGES = [str(path) for path in FILES.drop_images(SWEEP_PROTOCOL) or ()]
if not SWEEP_IMAGES:
    raise WorkflowError(
        f"{CONFIG.studies}: sweep: no test study has a noisy {SWEEP_PROTOCOL} image and its"
        f" whole scan {WHOLE} to drop kernels on"
    )


rule sweep:
    input:
        script=source("scripts/07_sweep.py"),
        base=model(SWEPT.base),
        scores=f"{R}/kse/{SWEPT.base}.csv",
        networks=[model(n) for n in SWEEP.values()],
        old=task_paths(SWEEP_OLD)[0],
        old_volumes=task_paths(SWEEP_OLD)[1:],
        new=task_paths(SWEPT.data)[0],
        new_volumes=task_paths(SWEPT.data)[1:],
        image=SWEEP_IMAGES[0],
        reference=SWEEP_IMAGES[1],
        sidecars=sidecars(SWEEP_IMAGES),
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
        runtime=minutes(job_sizes.sweep_s(CONFIG, CONFIG.resources.denoise, GPU)),
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
