# Stage 6: KSE of the networks' kernels; the drop experiment.


rule score:
    input:
        script=source("scripts/06_score.py"),
        model=lambda w: model(w.network),
    output:
        f"{R}/kse/{{network}}.csv",
    log:
        f"{R}/logs/score/{{network}}.log",
    benchmark:
        f"{R}/benchmarks/score/{{network}}.tsv"
    wildcard_constraints:
        network=names(FILES.scored()),
    threads: 1
    resources:
        mem_mb=mem(800 + 2000 * CONFIG.network.width**2),
        runtime=minutes(job_sizes.scoring_core_s(CONFIG)),
        disk_mb=disk(),
    params:
        k=CONFIG.score.k,
        alpha=arguments.word(CONFIG.score.alpha),
    shell:
        "python {input.script} --network {input.model} --k {params.k} --alpha {params.alpha} --out {output}"
        " 2>&1 | tee {log}"


# A noisy image and its whole scan; none where studies of images lack them.
DROP_IMAGES = [
    str(path)
    for path in FILES.drop_images(FILES.protocol_of(CONFIG.score.network)) or ()
]


rule drop:
    input:
        script=source("scripts/06_drop.py"),
        model=model(CONFIG.score.network),
        scores=f"{R}/kse/{CONFIG.score.network}.csv",
        image=DROP_IMAGES[:1],
        reference=DROP_IMAGES[1:],
        sidecars=sidecars(DROP_IMAGES),
    output:
        table=f"{R}/kse/drop.csv",
        images=[str(FILES.dropped_path(p)) for p in (0, *CONFIG.score.drop_phi)],
        sidecars=sidecars(FILES.dropped_path(p) for p in (0, *CONFIG.score.drop_phi)),
    log:
        f"{R}/logs/score/drop.log",
    benchmark:
        f"{R}/benchmarks/score/drop.tsv"
    threads: CONFIG.resources.denoise
    resources:
        mem_mb=mem(1000, per_voxel_bytes=100),
        runtime=minutes(
            job_sizes.denoising_s(
                CONFIG, len(CONFIG.score.drop_phi) + 1, CONFIG.resources.denoise, GPU
            )
        ),
        disk_mb=disk(images=len(CONFIG.score.drop_phi) + 1),
        gpu=GPU,
    params:
        phi=" ".join(map(arguments.word, CONFIG.score.drop_phi)),
        dir=lambda w, output: os.path.dirname(output.images[0]),
        device=CONFIG.device,
    shell:
        "python {input.script} --network {input.model} --scores {input.scores} --image {input.image}"
        " --reference {input.reference} --drop-phi {params.phi} --out-table {output.table} --out-dir {params.dir}"
        " --device {params.device} --threads {threads} 2>&1 | tee {log}"
