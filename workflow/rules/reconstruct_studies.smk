# Stage 3: a job a study and protocol (resources.recon_jobs: study). Which images it makes depends on the study's role, so that
# there is a rule for each set (reconstruct.smk).


use rule reconstruct as reconstruct_training with:
    output:
        images=reconstructed(FILES.sample_names(roles.TRAINING)),
        sidecars=sidecars(reconstructed(FILES.sample_names(roles.TRAINING))),
    log:
        f"{R}/logs/reconstruct/{{study}}_{{protocol}}.log",
    benchmark:
        FILES.benchmark_path("reconstruct", "{study}_{protocol}")
    wildcard_constraints:
        study=whole_studies(*roles.TRAINED_ON),


use rule reconstruct_training as reconstruct_lesion with:
    output:
        images=reconstructed(FILES.sample_names(roles.LESION)),
        sidecars=sidecars(reconstructed(FILES.sample_names(roles.LESION))),
    wildcard_constraints:
        study=whole_studies(roles.LESION),


use rule reconstruct_training as reconstruct_high_bmi with:
    output:
        images=reconstructed(FILES.sample_names(roles.HIGH_BMI)),
        sidecars=sidecars(reconstructed(FILES.sample_names(roles.HIGH_BMI))),
    wildcard_constraints:
        study=whole_studies(roles.HIGH_BMI),


use rule reconstruct_training as reconstruct_online with:
    output:
        images=reconstructed(FILES.sample_names(roles.BLADDER)),
        sidecars=sidecars(reconstructed(FILES.sample_names(roles.BLADDER))),
    wildcard_constraints:
        study=whole_studies(*roles.ONLINE),
