# What users run; the workflow itself lies where the workflow catalog looks for it.
include: "workflow/rules/base.smk"


configfile: DEFAULTS


if config.get("seeds"):

    include: "workflow/study.smk"

else:

    include: "workflow/Snakefile"


include: "workflow/rules/folder.smk"


# An include restores the includer's default target, which is none.
snakemake_internals.set_default_target(
    workflow, "study" if config.get("seeds") else "all"
)
