# Several seeds: phi chosen by all of their sweeps together (workflow/study.smk).


rule study_phi:
    input:
        script=source("scripts/09_phi.py"),
        module=source("scripts/tgdpet/evaluation/phi.py"),
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
