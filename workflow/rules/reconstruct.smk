# Stage 3: corrections of a study, then TOF list-mode OSEM with a protocol.


rule corrections:
    input:
        script=source("scripts/03_corrections.py"),
        events=rules.simulate.output.events,
        meta=rules.simulate.output.meta,
        scanner=rules.simulate.output.scanner,
        tables=scanner_tables,
        background=background_of,
        mu=rules.simulate.output.mu,
    output:
        sensitivity=f"{R}/recon/sub-{{study}}/sub-{{study}}_sensitivity.nii.gz",
        additive=temp(f"{R}/listmode/{{study}}/additive.npy"),
    log:
        f"{R}/logs/corrections/{{study}}.log",
    benchmark:
        FILES.benchmark_path("corrections", "{study}")
    threads: CONFIG.resources.reconstruct
    resources:
        mem_mb=mem(600, per_voxel_bytes=80, per_event_bytes=4),
        runtime=minutes(
            (job_sizes.sensitivity_core_s(CONFIG) + job_sizes.additive_core_s(CONFIG))
            / CONFIG.resources.reconstruct
        ),
        disk_mb=disk(images=2, event_bytes=4),
    params:
        dir=lambda w, input: os.path.dirname(input.events),
        cache=f"{R}/cache",
    shell:
        "python {input.script} --listmode {params.dir} --threads {threads} --cache {params.cache}"
        " --out-sensitivity {output.sensitivity} --out-additive {output.additive} 2>&1 | tee {log}"


# A job an image (resources.recon_jobs: image).
rule reconstruct:
    input:
        script=source("scripts/03_reconstruct.py"),
        events=rules.simulate.output.events,
        scanner=rules.simulate.output.scanner,
        tables=scanner_tables,
        meta=rules.simulate.output.meta,
        mu=rules.simulate.output.mu,
        additive=rules.corrections.output.additive,
        samples=f"{R}/listmode/{{study}}/samples.json",
        sensitivity=rules.corrections.output.sensitivity,
    output:
        images=reconstructed(["{sample}"]),
        sidecars=sidecars(reconstructed(["{sample}"])),
    log:
        f"{R}/logs/reconstruct/{{study}}_{{protocol}}_{{sample}}.log",
    benchmark:
        FILES.benchmark_path("reconstruct", "{study}_{protocol}_{sample}")
    wildcard_constraints:
        study=names(MADE if CONFIG.resources.recon_jobs == "image" else []),
    threads: CONFIG.resources.reconstruct
    resources:
        mem_mb=mem(500, per_voxel_bytes=60, per_event_bytes=40),
        runtime=minutes(recon_s),
        disk_mb=disk(images=lambda w: len(recon_samples(w))),
        gpu=int(RECON_DEVICE != "cpu"),
    params:
        device=RECON_DEVICE,
        listmode=lambda w, input: os.path.dirname(input.events),
        dir=lambda w, output: os.path.dirname(output.images[0]),
        only=lambda w: " ".join(["--only", *recon_samples(w)]),
        options=lambda w: arguments.to_options(CONFIG.protocols[w.protocol]),
    shell:
        "python {input.script} --listmode {params.listmode} --samples {input.samples}"
        " --sensitivity {input.sensitivity} --protocol {wildcards.protocol} {params.only} --threads {threads}"
        " --device {params.device} --out-dir {params.dir} {params.options} 2>&1 | tee {log}"
