# What users run; the workflow itself lies where the workflow catalog looks for it.
include: "workflow/Snakefile"


# An include restores the includer's default target, which is none.
workflow.default_target = "all"
