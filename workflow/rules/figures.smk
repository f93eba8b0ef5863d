# Stage 10: tables, figures and the report.
# Without those that studies of images have too little for.
DRAWN = absent.shown(FILES)
OF_SEED = f"seed {CONFIG.seed}"
FIGURE_FILES = expand(
    f"{R}/figures/{{figure}}.{{kind}}",
    figure=DRAWN,
    kind=["png", "pdf", "csv"],
)


rule figure:
    input:
        script=source("scripts/10_figures.py"),
        module=source("scripts/tgdpet/figures/{figure}.py"),
        common=source("scripts/tgdpet/figures/common.py"),
        config=f"{R}/config.yaml",
        studies=CONFIG.studies,
        shown=lambda w: shown.figure_files(w.figure, FILES),
        times=lambda w: times_of(w.figure),
    output:
        multiext(f"{R}/figures/{{figure}}", ".png", ".pdf", ".csv"),
    log:
        f"{R}/logs/figures/{{figure}}.log",
    benchmark:
        f"{R}/benchmarks/figures/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(DRAWN) or "none",
    threads: 1
    resources:
        mem_mb=mem(1000, per_voxel_bytes=100),
        runtime=minutes(60 + VOXELS * CONFIG.sampling.realisations / 1e7),
        disk_mb=disk(more_mb=50),
    params:
        results=lambda w: R,
        stem=lambda w, output: os.path.splitext(output[0])[0],
    shell:
        "python {input.script} {wildcards.figure} --config {input.config} --studies {input.studies}"
        " --results {params.results} --out {params.stem} 2>&1 | tee {log}"


rule report:
    input:
        FIGURE_FILES,
        [in_report(f"{R}/figures/{name}.png", name, OF_SEED) for name in DRAWN],
        script=source("scripts/10_report.py"),
        modules=expand(
            source("scripts/tgdpet/report/{f}"),
            f=["report.py", "html.py", "report.html.j2"],
        ),
        studies=CONFIG.studies,
        shown=shown.report_files(FILES.root, [FILES]),
        captions=expand(
            source("workflow/report/{name}.rst"), name=reported(CONFIG, True)
        ),
    output:
        [in_report(f"{R}/tables/{name}.html", name, OF_SEED) for name in TABLES],
        page=f"{R}/report.html",
    log:
        f"{R}/logs/figures/report.log",
    benchmark:
        f"{R}/benchmarks/figures/report.tsv"
    threads: 1
    resources:
        mem_mb=mem(800),
        runtime=minutes(60),
        disk_mb=disk(more_mb=70),
    params:
        results=lambda w: R,
    shell:
        "python {input.script} --studies {input.studies} --results {params.results}"
        " --tables {params.results}/tables --out {output.page} 2>&1 | tee {log}"
