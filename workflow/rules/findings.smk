# Stage 9: the paper's findings, judged. Also part of `snakemake figures`, as it reads tables only. The resolved configuration, too.
import yaml


rule resolved_config:
    output:
        f"{R}/config.yaml",
    log:
        f"{R}/logs/resolved_config.log",
    benchmark:
        f"{R}/benchmarks/figures/resolved_config.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=mem(200),
        runtime=minutes(1),
        disk_mb=disk(),
    params:
        config=sections.as_dict(CONFIG),
    run:
        from tgdpet.io.files import write_text

        write_text(output[0], yaml.safe_dump(params.config, sort_keys=False))


rule findings:
    input:
        script=source("scripts/09_findings.py"),
        modules=expand(source("scripts/tgdpet/evaluation/{m}.py"), m=JUDGED_BY),
        values=evaluated.findings_files(FILES),
        times=lambda w: evaluated.timed_files(FILES, ONLY_FIGURES),
        studies=CONFIG.studies,
    output:
        table=f"{R}/metrics/findings.csv",
        gain=f"{R}/metrics/gain.csv",
        estimates=f"{R}/metrics/estimates.csv",
    log:
        f"{R}/logs/evaluate/findings.log",
    benchmark:
        f"{R}/benchmarks/evaluate/findings.tsv"
    threads: 1
    resources:
        mem_mb=mem(1000, per_voxel_bytes=4 * CONFIG.sampling.realisations),
        runtime=minutes(30),
        disk_mb=disk(),
    params:
        results=lambda w: R,
    shell:
        "python {input.script} --results {params.results} --out {output.table} --out-gain {output.gain}"
        " --out-estimates {output.estimates} 2>&1 | tee {log}"


if SWEEP:

    rule phi:
        input:
            script=source("scripts/09_phi.py"),
            module=source("scripts/tgdpet/evaluation/phi.py"),
            config=f"{R}/config.yaml",
            sweep=f"{R}/kse/sweep.csv",
        output:
            f"{R}/metrics/phi.csv",
        log:
            f"{R}/logs/evaluate/phi.log",
        benchmark:
            f"{R}/benchmarks/evaluate/phi.tsv"
        threads: 1
        resources:
            mem_mb=mem(800),
            runtime=minutes(30),
            disk_mb=disk(),
        params:
            results=lambda w: R,
        shell:
            "python {input.script} --results {params.results} --out {output} 2>&1 | tee {log}"
