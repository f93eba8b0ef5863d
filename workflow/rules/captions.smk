# What the rules of single seeds and those of a study's figures share.
from tgdpet.figures import TABLES, drawn, numbered, reported


def in_report(path, name, of):
    """This file with its caption and its place in `snakemake --report`; `of`: whose it is, e.g. "seed 3"."""
    category, title = numbered(name)
    return report(
        path,
        caption=f"../report/{name}.rst",
        category=category,
        subcategory=of,
        labels={"shown": title},
    )


# The modules that decide what is found; an edit of one judges anew.
JUDGED_BY = [
    "findings",
    "paper_claims",
    "adaptation_paths",
    "effects",
    "changes",
    "estimates",
    "inputs",
]
