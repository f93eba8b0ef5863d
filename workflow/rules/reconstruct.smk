# Stage 3: corrections of a study, then TOF list-mode OSEM with a protocol.


rule corrections:
    input:
        script="scripts/03_corrections.py",
        events=rules.simulate.output.events,
        meta=rules.simulate.output.meta,
        scanner=rules.simulate.output.scanner,
        mu=rules.simulate.output.mu,
    output:
        sensitivity=f"{R}/recon/sub-{{study}}/sub-{{study}}_sensitivity.nii.gz",
        additive=temp(f"{R}/listmode/{{study}}/additive.npy"),
    log:
        f"{R}/logs/corrections/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/corrections/{{study}}.tsv"
    threads: CONFIG.resources.reconstruct
    resources:
        mem_mb=mem(600, per_voxel_bytes=80, per_event_bytes=4),
        runtime=minutes(
            (costs.sensitivity_core_s(CONFIG) + costs.additive_core_s(CONFIG))
            / CONFIG.resources.reconstruct
        ),
        disk_mb=disk(images=2, event_bytes=4),
    params:
        dir=lambda w, input: os.path.dirname(input.events),
        cache=f"{R}/cache",
    shell:
        "python {input.script} --listmode {params.dir} --threads {threads} --cache {params.cache}"
        " --out-sensitivity {output.sensitivity} --out-additive {output.additive} 2>&1 | tee {log}"


# What a job makes: all images of a study and protocol, or one. Which images there are depends on the study's role.
if CONFIG.resources.recon_jobs == "study":
    RECON_JOBS = [
        (role, s, samples_names(role), f"reconstruct_{role}")
        for role, s in ROLE_STUDIES.items()
    ]
    RECON_NAME = "{study}_{protocol}"
else:
    RECON_JOBS = [("image", list(STUDY), ["{sample}"], "reconstruct")]
    RECON_NAME = "{study}_{protocol}_{sample}"

for _role, _studies, _samples, _name in RECON_JOBS:

    rule:
        name:
            _name
        input:
            script="scripts/03_reconstruct.py",
            events=rules.simulate.output.events,
            scanner=rules.simulate.output.scanner,
            meta=rules.simulate.output.meta,
            mu=rules.simulate.output.mu,
            additive=rules.corrections.output.additive,
            samples=f"{R}/listmode/{{study}}/samples.json",
            sensitivity=rules.corrections.output.sensitivity,
        output:
            images=[recon("{study}", "{protocol}", s) for s in _samples],
            sidecars=[
                recon("{study}", "{protocol}", s).replace(".nii.gz", ".json")
                for s in _samples
            ],
        log:
            f"{R}/logs/reconstruct/{RECON_NAME}.log",
        benchmark:
            f"{R}/benchmarks/reconstruct/{RECON_NAME}.tsv"
        wildcard_constraints:
            study=names(_studies),
        threads: CONFIG.resources.reconstruct
        resources:
            mem_mb=mem(500, per_voxel_bytes=60, per_event_bytes=40),
            runtime=minutes(recon_s),
            disk_mb=disk(images=len(_samples)),
        params:
            listmode=lambda w, input: os.path.dirname(input.events),
            dir=lambda w, output: os.path.dirname(output.images[0]),
            only=" ".join(["--only", *_samples]),
            options=lambda w: arguments.to_options(CONFIG.protocols[w.protocol]),
        shell:
            "python {input.script} --listmode {params.listmode} --samples {input.samples}"
            " --sensitivity {input.sensitivity} --protocol {wildcards.protocol} {params.only} --threads {threads}"
            " --out-dir {params.dir} {params.options} 2>&1 | tee {log}"
