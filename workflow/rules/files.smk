# Which files jobs read and write: images by study, protocol, sample and network; list mode.
IMPORTED = [s for s in STUDIES if s.source == "petsird"]
# Those with a file of the background that each event is expected to have.
WITH_BACKGROUND = [
    s.study
    for s in IMPORTED
    if any(path.endswith(".background.npy") for path in studies.input_files(s))
]


def recon(study, protocol, sample):
    """Path of a reconstructed image."""
    return str(FILES.image_path(study, protocol, sample))


def denoised(network, study, protocol, sample):
    """Path of a denoised image."""
    return str(FILES.image_path(study, protocol, sample, network))


def sidecars(images):
    """Paths of the sidecars that are read and written with images."""
    return [str(sidecar_path(image)) for image in images]


def inputs_of(study):
    """(protocol, sample) of each noisy image of a test study, which networks denoise."""
    protocols = FILES.protocols_of_study(study)
    return [(p, x) for p in protocols for x in FILES.noisy_of_study(study, p)]


def reconstructed(samples):
    """The images of these samples."""
    return [recon("{study}", "{protocol}", sample) for sample in samples]


def recon_samples(wildcards):
    """What a job makes: one image, or all of its study."""
    one = wildcards.get("sample")
    return [one] if one else FILES.sample_names(STUDY[wildcards.study].role)


def recon_all(study):
    """All reconstructed images of a study."""
    protocols = FILES.protocols_of_study(study)
    return [
        recon(study, p, x) for p in protocols for x in FILES.study_samples(study, p)
    ]


def denoised_all(study):
    """All images that networks make of a study's noisy ones."""
    return [
        denoised(network, study, p, x)
        for network in networks_of(study)
        for p, x in inputs_of(study)
    ]


def scanner_tables(wildcards):
    """What beside scanner.json describes the scanner of a study that was imported."""
    simulated = FILES.is_simulated(wildcards.study)
    return [] if simulated else [f"{R}/listmode/{{study}}/detectors.npz"]


def background_of(wildcards):
    """The background that a study came with."""
    given = wildcards.study in WITH_BACKGROUND
    return [f"{R}/listmode/{{study}}/background.npy"] if given else []


def times_of(figure):
    """Benchmarks and logs that a figure shows."""
    return evaluated.timed_files(FILES, ONLY_FIGURES) if figure == "timing" else []


def n_denoised(wildcards):
    """Images that networks make of a test study."""
    return len(inputs_of(wildcards.study)) * len(networks_of(wildcards.study))


def denoised_images(role):
    """What a job makes of a study of this role: the noisy images by every network."""
    return [
        denoised(network, "{study}", p, sample)
        for network in networks_of_role(role)
        for p in roles.protocols(role, CONFIG)
        for sample in FILES.noisy_names(role)
    ]


def denoised_folders(wildcards):
    """The folder of each network's images of a study."""
    return [
        os.path.dirname(denoised(network, wildcards.study, "v2", WHOLE))
        for network in networks_of(wildcards.study)
    ]
