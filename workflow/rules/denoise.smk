# Stage 8: a job is a study: its noisy images of all protocols, by all networks, as the start of a job takes longer than an image.
# Which images and networks there are depends on the study's role, so that there is a rule for each set.


rule denoise_lesion:
    input:
        script=source("scripts/08_denoise.py"),
        models=lambda w: [model(n, w.study) for n in networks_of(w.study)],
        images=lambda w: [recon(w.study, p, x) for p, x in inputs_of(w.study)],
        sidecars=lambda w: sidecars(recon(w.study, p, x) for p, x in inputs_of(w.study)),
    output:
        images=denoised_images(roles.LESION),
        sidecars=sidecars(denoised_images(roles.LESION)),
    log:
        f"{R}/logs/denoise/{{study}}.log",
    benchmark:
        FILES.benchmark_path("denoise", "{study}")
    wildcard_constraints:
        study=names(as_made(roles.LESION)),
    threads: CONFIG.resources.denoise
    resources:
        mem_mb=mem(
            1000 + job_sizes.weights_mb(CONFIG) * len(CONFIG.networks),
            per_voxel_bytes=100,
        ),
        runtime=minutes(denoising_s),
        disk_mb=disk(images=n_denoised),
        gpu=GPU,
    params:
        dirs=denoised_folders,
        device=CONFIG.device,
    shell:
        "python {input.script} --network {input.models} --images {input.images} --out-dir {params.dirs}"
        " --device {params.device} --threads {threads} 2>&1 | tee {log}"


use rule denoise_lesion as denoise_high_bmi with:
    output:
        images=denoised_images(roles.HIGH_BMI),
        sidecars=sidecars(denoised_images(roles.HIGH_BMI)),
    wildcard_constraints:
        study=names(as_made(roles.HIGH_BMI)),


use rule denoise_lesion as denoise_online with:
    output:
        images=denoised_images(roles.BLADDER),
        sidecars=sidecars(denoised_images(roles.BLADDER)),
    wildcard_constraints:
        study=names(as_made(*roles.ONLINE)),
