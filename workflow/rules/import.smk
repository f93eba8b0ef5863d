# Stages 1 and 2 of studies that come as list mode of the exchange format PETSIRD.


rule import_listmode:
    input:
        script=source("scripts/02_import.py"),
        compiled=f"{R}/compiled.txt",
        petsird=lambda w: studies.input_files(STUDY[w.study]),
    output:
        events=temp(f"{R}/listmode/{{study}}/events.npy"),
        scanner=f"{R}/listmode/{{study}}/scanner.json",
        detectors=f"{R}/listmode/{{study}}/detectors.npz",
        meta=f"{R}/listmode/{{study}}/listmode.json",
        mu=f"{R}/listmode/{{study}}/mu.nii.gz",
        organs=f"{R}/listmode/{{study}}/organs.nii.gz",
    log:
        f"{R}/logs/import/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/import/{{study}}.tsv"
    wildcard_constraints:
        study=names(s.study for s in IMPORTED if s.study not in WITH_BACKGROUND),
    threads: 1
    resources:
        mem_mb=mem(1000, per_voxel_bytes=60),
        runtime=minutes(EVENTS / rates.IMPORT_EVENTS_PER_CORE_S),
        disk_mb=disk(images=2, event_bytes=EVENT.itemsize + 4),
    params:
        dir=lambda w, output: os.path.dirname(output.events),
        tracer=lambda w: STUDY[w.study].tracer,
        options=arguments.to_options(CONFIG.grid),
    shell:
        "python {input.script} --petsird {input.petsird[0]} --study {wildcards.study} --tracer {params.tracer}"
        " --out-dir {params.dir} {params.options} 2>&1 | tee {log}"


use rule import_listmode as import_with_background with:
    output:
        events=temp(f"{R}/listmode/{{study}}/events.npy"),
        background=temp(f"{R}/listmode/{{study}}/background.npy"),
        scanner=f"{R}/listmode/{{study}}/scanner.json",
        detectors=f"{R}/listmode/{{study}}/detectors.npz",
        meta=f"{R}/listmode/{{study}}/listmode.json",
        mu=f"{R}/listmode/{{study}}/mu.nii.gz",
        organs=f"{R}/listmode/{{study}}/organs.nii.gz",
    wildcard_constraints:
        study=names(WITH_BACKGROUND),
