"""What a dry run says about its jobs."""

from __future__ import annotations

import re


def jobs(text: str) -> dict[str, dict[str, str]]:
    """Benchmark file (one a job) -> rule, threads and resources, from what a dry run prints."""
    found = {}
    for block in re.split(r"^(?=\s*(?:local)?rule \w+:$)", text, flags=re.M)[1:]:
        told = dict(re.findall(r"^ +(\w+): (.*)$", block, flags=re.M))
        own = dict(
            word.split("=", 1) for word in told.get("resources", "").split(", ") if "=" in word
        )
        if "benchmark" in told:
            found[told["benchmark"]] = {
                **own,
                "rule": block.split()[1].rstrip(":"),
                "threads": told.get("threads", "1"),
                "output": told.get("output", ""),
            }
    return found
