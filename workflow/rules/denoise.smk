# Stage 8: a job is one network and one study, all its noisy images and protocols. Which images there are depends on the study's
# role, so that there is a rule for each set.


rule denoise_lesion:
    input:
        script=source("scripts/08_denoise.py"),
        model=lambda w: model(w.network, w.study),
        images=lambda w: [recon(w.study, p, x) for p, x in inputs_of(w.study)],
        sidecars=lambda w: sidecars(recon(w.study, p, x) for p, x in inputs_of(w.study)),
    output:
        images=denoised_images(roles.LESION),
        sidecars=sidecars(denoised_images(roles.LESION)),
    log:
        f"{R}/logs/denoise/{{network}}_{{study}}.log",
    benchmark:
        FILES.benchmark_path("denoise", "{network}_{study}")
    wildcard_constraints:
        network=names(POPULATION),
        study=names(FILES.studies_of(roles.LESION)),
    threads: CONFIG.resources.denoise
    resources:
        mem_mb=mem(1000, per_voxel_bytes=100),
        runtime=minutes(denoising_s),
        disk_mb=disk(images=n_inputs),
        gpu=GPU,
    params:
        dir=lambda w, output: os.path.dirname(output.images[0]),
        device=CONFIG.device,
    shell:
        "python {input.script} --network {input.model} --images {input.images} --out-dir {params.dir}"
        " --device {params.device} --threads {threads} 2>&1 | tee {log}"


use rule denoise_lesion as denoise_high_bmi with:
    output:
        images=denoised_images(roles.HIGH_BMI),
        sidecars=sidecars(denoised_images(roles.HIGH_BMI)),
    wildcard_constraints:
        network=names(POPULATION),
        study=names(FILES.studies_of(roles.HIGH_BMI)),


# Bladder and catheter: also by the networks that were adapted to the study itself.
use rule denoise_lesion as denoise_online with:
    output:
        images=denoised_images(roles.BLADDER),
        sidecars=sidecars(denoised_images(roles.BLADDER)),
    wildcard_constraints:
        network=names(POPULATION + N2N),
        study=names(ONLINE),
