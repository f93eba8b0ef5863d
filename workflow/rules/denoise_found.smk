# Stage 8 of studies of images that have other samples than the workflow makes: a job is one network and one image.


# By the name of a file: found images have names of their own.
rule denoise_found:
    input:
        script=source("scripts/08_denoise.py"),
        models=lambda w: [model(w.network, w.study)],
        image=found_image,
        sidecar=lambda w: sidecars([found_image(w)]),
    output:
        image=f"{R}/denoised/{{network}}/sub-{{study}}/pet/{{stem}}.nii.gz",
        sidecar=f"{R}/denoised/{{network}}/sub-{{study}}/pet/{{stem}}.json",
    log:
        f"{R}/logs/denoise/{{network}}/{{study}}/{{stem}}.log",
    benchmark:
        FILES.benchmark_path("denoise", "{network}/{study}/{stem}")
    wildcard_constraints:
        study=names(s for s in FOUND if not FILES.is_as_made(s)),
        stem="sub-[^/]+_pet",
    threads: CONFIG.resources.denoise
    resources:
        mem_mb=mem(1000, per_voxel_bytes=100),
        runtime=minutes(job_sizes.denoising_s(CONFIG, 1, CONFIG.resources.denoise, GPU)),
        disk_mb=disk(images=1),
        gpu=GPU,
    params:
        dir=lambda w, output: os.path.dirname(output.image),
        device=CONFIG.device,
    shell:
        "python {input.script} --network {input.models} --images {input.image} --out-dir {params.dir}"
        " --device {params.device} --threads {threads} 2>&1 | tee {log}"
