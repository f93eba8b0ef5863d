# Stage 8: a job is one network and one study, all its noisy images and protocols.
DENOISE_JOBS = [
    (f"denoise_{'online' if networks is N2N else 'population'}_{role}", networks, role)
    for role in ROLE_STUDIES
    if role in roles.TESTS
    for networks in (POPULATION, N2N)
    if networks and (networks is not N2N or ROLE_STUDIES[role][0] in ONLINE)
]

for _name, _networks, _role in DENOISE_JOBS:
    _images = [
        (p, x) for p in roles.protocols(_role, CONFIG) for x in noisy_names(_role)
    ]

    rule:
        name:
            _name
        input:
            script="scripts/08_denoise.py",
            model=lambda w: model(w.network, w.study),
            images=[recon("{study}", p, x) for p, x in _images],
        output:
            images=[denoised("{network}", "{study}", p, x) for p, x in _images],
            sidecars=[
                denoised("{network}", "{study}", p, x).replace(".nii.gz", ".json")
                for p, x in _images
            ],
        log:
            f"{R}/logs/denoise/{{network}}_{{study}}.log",
        benchmark:
            f"{R}/benchmarks/denoise/{{network}}_{{study}}.tsv"
        wildcard_constraints:
            network=names(_networks),
            study=names(ROLE_STUDIES[_role]),
        threads: CONFIG.resources.denoise
        resources:
            mem_mb=mem(1000, per_voxel_bytes=100),
            runtime=minutes(
                costs.denoising_s(CONFIG, len(_images), CONFIG.resources.denoise, GPU)
            ),
            disk_mb=disk(images=len(_images)),
            gpu=GPU,
        params:
            dir=lambda w, output: os.path.dirname(output.images[0]),
            device=CONFIG.device,
        shell:
            "python {input.script} --network {input.model} --images {input.images} --out-dir {params.dir}"
            " --device {params.device} --threads {threads} 2>&1 | tee {log}"
