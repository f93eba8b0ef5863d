# Studies that come as images: nothing is made of list mode. Their organs on the images' grid; images of other
# voxels, if asked.


rule organs_of_images:
    input:
        script=source("scripts/04_organs.py"),
        image=body_image,
        sidecar=lambda w: sidecars([body_image(w)]),
        labels=organ_source,
    output:
        f"{R}/organs/{{study}}.nii.gz",
    log:
        f"{R}/logs/organs/{{study}}.log",
    benchmark:
        FILES.benchmark_path("organs", "{study}")
    wildcard_constraints:
        study=names(FOUND),
    threads: 1
    resources:
        mem_mb=mem(600, per_voxel_bytes=60),
        runtime=minutes(30 + VOXELS / 1e6),
        disk_mb=disk(images=1),
    params:
        labels=lambda w, input: f"--labels {input.labels}" if input.labels else "",
        spheres=sphere_options,
    shell:
        "python {input.script} --image {input.image} {params.labels} {params.spheres} --out {output} 2>&1 | tee {log}"


if CONFIG.images.resample:

    rule resample_image:
        input:
            script=source("scripts/04_resample.py"),
            image=lambda w: source_image(w),
            sidecar=lambda w: sidecars([source_image(w)]),
        output:
            image=f"{R}/recon/sub-{{study}}/pet/{{stem}}.nii.gz",
            sidecar=f"{R}/recon/sub-{{study}}/pet/{{stem}}.json",
        log:
            f"{R}/logs/resample/{{study}}/{{stem}}.log",
        benchmark:
            FILES.benchmark_path("resample", "{study}/{stem}")
        wildcard_constraints:
            study=names(FOUND),
            stem="sub-[^/]+_pet",
        threads: 1
        resources:
            mem_mb=mem(600, per_voxel_bytes=60),
            runtime=minutes(30 + VOXELS / 1e6),
            disk_mb=disk(images=1),
        params:
            voxel_mm=" ".join(map(arguments.word, CONFIG.grid.voxel_mm)),
        shell:
            "python {input.script} --image {input.image} --voxel-mm {params.voxel_mm} --out {output.image}"
            " 2>&1 | tee {log}"
