# Several seeds: the findings and numbers of all of them together, their figures and report (workflow/study.smk).


rule study_findings:
    input:
        script=source("scripts/09_findings.py"),
        modules=expand(source("scripts/tgdpet/evaluation/{m}.py"), m=JUDGED_BY),
        runs=[f"{r}/metrics/findings.csv" for r in RUNS],
        values=[
            path for files in SEED_FILES for path in evaluated.findings_files(files)
        ],
        times=lambda w: [
            path
            for files in SEED_FILES
            for path in evaluated.timed_files(files, ONLY_FIGURES)
        ],
        studies=config["studies"],
    output:
        table=f"{ROOT_RESULTS}/metrics/findings.csv",
        gain=f"{ROOT_RESULTS}/metrics/gain.csv",
        estimates=f"{ROOT_RESULTS}/metrics/estimates.csv",
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
        " --out-estimates {output.estimates} 2>&1 | tee {log}"


rule study_figure:
    input:
        script=source("scripts/10_figures.py"),
        module=source("scripts/tgdpet/figures/{figure}.py"),
        shown=lambda w: shown.figure_files(w.figure, ROOT_FILES),
        config=f"{RUNS[0]}/config.yaml",
        studies=config["studies"],
    output:
        multiext(f"{ROOT_RESULTS}/figures/{{figure}}", ".png", ".pdf", ".csv"),
    log:
        f"{ROOT_RESULTS}/logs/figures/{{figure}}.log",
    benchmark:
        f"{ROOT_RESULTS}/benchmarks/figures/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(DRAWN),
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


rule study_report:
    input:
        TOGETHER_FILES,
        [in_report(f"{ROOT_RESULTS}/figures/{f}.png", f, "all seeds") for f in DRAWN],
        script=source("scripts/10_report.py"),
        modules=expand(
            source("scripts/tgdpet/report/{f}"),
            f=["report.py", "html.py", "report.html.j2"],
        ),
        shown=shown.report_files(Path(ROOT_RESULTS), SEED_FILES),
        runs=[f"{r}/report.html" for r in RUNS],
        captions=expand(
            source("workflow/report/{name}.rst"), name=reported(CONFIG, False)
        ),
        studies=config["studies"],
    output:
        [in_report(f"{ROOT_RESULTS}/tables/{t}.html", t, "all seeds") for t in TABLES],
        page=f"{ROOT_RESULTS}/report.html",
    log:
        f"{ROOT_RESULTS}/logs/report.log",
    benchmark:
        f"{ROOT_RESULTS}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        disk_mb=200,
    params:
        results=lambda w: ROOT_RESULTS,
        runs=RUNS,
    shell:
        "python {input.script} --studies {input.studies} --results {params.results} --seeds {params.runs}"
        " --tables {params.results}/tables --out {output.page} 2>&1 | tee {log}"
