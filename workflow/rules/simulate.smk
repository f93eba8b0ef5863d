# Stages 1 and 2: list mode on disk, and the recipes of its samples.


# Nothing makes this run again: an edited kernel is compiled anew where it is used. (A rerun would make all
# studies out of date; `ancient` on the readers' side made Snakemake 9.27 drop the rest of the plan.)
rule compile:
    input:
        script=ancient(source("scripts/00_compile.py")),
    output:
        f"{R}/compiled.txt",
    log:
        f"{R}/logs/compile.log",
    benchmark:
        f"{R}/benchmarks/compile/compile.tsv"
    threads: 1
    resources:
        mem_mb=mem(600),
        runtime=minutes(60),
        disk_mb=disk(),
    shell:
        "python {input.script} --out {output} 2>&1 | tee {log}"


rule simulate:
    input:
        script=source("scripts/01_simulate.py"),
        compiled=f"{R}/compiled.txt",
        body=lambda w: studies.input_files(STUDY[w.study]),
    output:
        events=temp(f"{R}/listmode/{{study}}/events.npy"),
        scanner=f"{R}/listmode/{{study}}/scanner.json",
        meta=f"{R}/listmode/{{study}}/listmode.json",
        mu=f"{R}/listmode/{{study}}/mu.nii.gz",
        truth=f"{R}/listmode/{{study}}/truth.nii.gz",
        truth_json=f"{R}/listmode/{{study}}/truth.json",
        organs=f"{R}/listmode/{{study}}/organs.nii.gz",
    log:
        f"{R}/logs/simulate/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/simulate/{{study}}.tsv"
    wildcard_constraints:
        study=names(s.study for s in STUDIES if s.is_simulated),
    threads: CONFIG.resources.simulate
    resources:
        mem_mb=mem(500, per_voxel_bytes=60 * CONFIG.simulation.oversampling**3),
        runtime=minutes(
            EVENTS / rates.SIMULATE_EVENTS_PER_CORE_S / CONFIG.resources.simulate
        ),
        disk_mb=disk(images=3, event_bytes=EVENT.itemsize),
    params:
        dir=lambda w, output: os.path.dirname(output.events),
        role=lambda w: STUDY[w.study].role,
        bmi=lambda w: f"{STUDY[w.study].bmi:g}",
        study_seed=lambda w: STUDY[w.study].seed,
        seed=CONFIG.seed,
        source=lambda w: study_options.source_options(STUDY[w.study]),
        options=" ".join(
            arguments.to_options(s)
            for s in (CONFIG.grid, CONFIG.scanner, CONFIG.simulation)
        ),
    shell:
        "python {input.script} --study {wildcards.study} --role {params.role} --bmi {params.bmi}"
        " --study-seed {params.study_seed} --seed {params.seed} --threads {threads} --out-dir {params.dir}"
        " {params.source} {params.options} 2>&1 | tee {log}"


rule subsample:
    input:
        script=source("scripts/02_subsample.py"),
        events=rules.simulate.output.events,
        meta=rules.simulate.output.meta,
        scanner=rules.simulate.output.scanner,
        tables=scanner_tables,
        mu=rules.simulate.output.mu,
    output:
        f"{R}/listmode/{{study}}/samples.json",
    log:
        f"{R}/logs/subsample/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/subsample/{{study}}.tsv"
    threads: 1
    resources:
        mem_mb=mem(400),
        runtime=minutes(20 * EVENTS / rates.SUBSAMPLE_EVENTS_PER_CORE_S),
        disk_mb=disk(),
    params:
        dir=lambda w, input: os.path.dirname(input.events),
        role=lambda w: STUDY[w.study].role,
        seed=CONFIG.seed,
        scan_s=CONFIG.simulation.scan_s,
        options=arguments.to_options(CONFIG.sampling),
    shell:
        "python {input.script} --listmode {params.dir} --role {params.role} --seed {params.seed}"
        " --scan-s {params.scan_s} --out {output} {params.options} 2>&1 | tee {log}"
