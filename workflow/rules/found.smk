# Studies whose images are not made but found (source: images), and their files.
FOUND = [s.study for s in STUDIES if s.is_images]
MADE = [s.study for s in STUDIES if not s.is_images]


def as_made(*wanted):
    """The studies of these roles with the images that are made of simulated ones."""
    return [s for s in FILES.studies_of(*wanted) if FILES.is_as_made(s)]


def found_options(study):
    """What is measured of a study that came as images: the protocols and organs that it has."""
    if study not in FOUND:
        return ""
    return f"--partial --protocols {' '.join(FILES.protocols_of_study(study))}"


def found_image(wildcards):
    """The image that a denoised one is made of: of the same name, beside the others of its study."""
    folder = FILES.recon_folder(wildcards.study)
    return f"{folder}/sub-{wildcards.study}/pet/{wildcards.stem}.nii.gz"


def source_image(wildcards):
    """The file of an image before it was brought to other voxels."""
    found = FILES.found_images(wildcards.study).values()
    stem = wildcards.stem
    return next(
        (str(path) for path in found if sidecar_path(path).stem == stem), "none"
    )


def whole_studies(*wanted):
    """The studies of these roles, if their images are made together."""
    together = CONFIG.resources.recon_jobs == "study"
    made = [s for s in FILES.studies_of(*wanted) if s in MADE]
    return names(made if together else [])


def organ_source(wildcards):
    """The label image of a study, if it has one."""
    given = STUDY[wildcards.study].organs
    return [given] if given else []


def body_image(wildcards):
    """The whole scan that a study's body is found in: v2, or of the protocol that there is."""
    study = wildcards.study
    protocol = FILES.protocols_of_study(study)[-1]
    return recon(study, protocol, WHOLE)


def sphere_options(wildcards):
    """The lesions of a study: x:y:z:diameter, mm."""
    spheres = [
        ":".join(f"{value:g}" for value in (*s.centre_mm, s.diameter_mm))
        for s in STUDY[wildcards.study].spheres
    ]
    return f"--spheres={','.join(spheres)}" if spheres else ""
