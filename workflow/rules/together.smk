# Several seeds: the findings of all of them together, and their figures (workflow/study.smk).


rule findings:
    input:
        script="scripts/09_findings.py",
        modules=["scripts/tgdpet/findings.py", "scripts/tgdpet/claims.py"],
        runs=[f"{r}/metrics/findings.csv" for r in RUNS],
    output:
        table=f"{ROOT_RESULTS}/metrics/findings.csv",
        gain=f"{ROOT_RESULTS}/metrics/gain.csv",
    log:
        f"{ROOT_RESULTS}/logs/findings.log",
    benchmark:
        f"{ROOT_RESULTS}/benchmarks/findings.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        disk_mb=100,
    params:
        runs=RUNS,
    shell:
        "python {input.script} --results {params.runs} --out {output.table} --out-gain {output.gain}"
        " 2>&1 | tee {log}"


rule findings_figure:
    input:
        script="scripts/10_figures.py",
        module="scripts/tgdpet/figures/{figure}.py",
        tables=lambda w: (
            f"{ROOT_RESULTS}/metrics/phi.csv"
            if w.figure == "phi"
            else rules.findings.output
        ),
        config=f"{RUNS[0]}/config.yaml",
        studies=config["studies"],
    output:
        multiext(f"{ROOT_RESULTS}/figures/{{figure}}", ".png", ".pdf", ".csv"),
    log:
        f"{ROOT_RESULTS}/logs/{{figure}}.log",
    benchmark:
        f"{ROOT_RESULTS}/benchmarks/{{figure}}.tsv"
    wildcard_constraints:
        figure="findings|gain|phi",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        disk_mb=100,
    params:
        results=lambda w: ROOT_RESULTS,
        stem=lambda w, output: str(Path(output[0]).with_suffix("")),
    shell:
        "python {input.script} {wildcards.figure} --config {input.config} --studies {input.studies}"
        " --results {params.results} --out {params.stem} 2>&1 | tee {log}"


if SWEEP:

    rule phi:
        input:
            script="scripts/09_phi.py",
            module="scripts/tgdpet/phi.py",
            configs=[f"{r}/config.yaml" for r in RUNS],
            runs=[f"{r}/kse/sweep.csv" for r in RUNS],
        output:
            f"{ROOT_RESULTS}/metrics/phi.csv",
        log:
            f"{ROOT_RESULTS}/logs/phi.log",
        benchmark:
            f"{ROOT_RESULTS}/benchmarks/phi.tsv"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
            disk_mb=100,
        params:
            runs=RUNS,
        shell:
            "python {input.script} --results {params.runs} --out {output} 2>&1 | tee {log}"
