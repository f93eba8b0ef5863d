# Stage 9: all measures of a test study, then one table.


rule evaluate:
    input:
        script=source("scripts/09_evaluate.py"),
        organs=lambda w: str(FILES.organs_path(w.study)),
        recon=lambda w: recon_all(w.study),
        recon_sidecars=lambda w: sidecars(recon_all(w.study)),
        denoised=lambda w: denoised_all(w.study),
        denoised_sidecars=lambda w: sidecars(denoised_all(w.study)),
    output:
        table=f"{R}/metrics/{{study}}.csv",
        voi=f"{R}/metrics/{{study}}_voi.npz",
    log:
        f"{R}/logs/evaluate/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/evaluate/{{study}}.tsv"
    wildcard_constraints:
        study=names(TESTS),
    threads: 1
    resources:
        mem_mb=mem(800, per_voxel_bytes=16 * (CONFIG.sampling.realisations + 10)),
        runtime=minutes(evaluation_s),
        disk_mb=disk(),
    params:
        role=lambda w: STUDY[w.study].role,
        whole=WHOLE,
        recon=lambda w: str(FILES.recon_folder(w.study)),
        results=lambda w: R,
        found=lambda w: found_options(w.study),
        networks=lambda w: " ".join(networks_of(w.study)),
    shell:
        "python {input.script} --study {wildcards.study} --role {params.role} --reference-sample {params.whole}"
        " --organs {input.organs} --recon {params.recon} --denoised {params.results}/denoised"
        " --networks {params.networks} {params.found} --out {output.table} --out-voi {output.voi} 2>&1 | tee {log}"


rule collect:
    input:
        script=source("scripts/09_collect.py"),
        tables=[f"{R}/metrics/{s}.csv" for s in TESTS],
    output:
        f"{R}/metrics/metrics.csv",
    log:
        f"{R}/logs/evaluate/collect.log",
    benchmark:
        f"{R}/benchmarks/evaluate/collect.tsv"
    threads: 1
    resources:
        mem_mb=mem(500),
        runtime=minutes(30),
        disk_mb=disk(),
    shell:
        "python {input.script} --tables {input.tables} --out {output} 2>&1 | tee {log}"
