"""What a dry run says about its jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A planned job, with its shell command as Snakemake prints it (`-p`)."""

    rule: str
    input: list[str]
    output: list[str]
    log: str
    shell: str


def jobs(text: str) -> dict[str, dict[str, str]]:
    """Benchmark file (one a job) -> rule, threads and resources, from what a dry run prints."""
    planned = {}
    for rule, told, _ in _blocks(text):
        resources = dict(
            word.split("=", 1) for word in told.get("resources", "").split(", ") if "=" in word
        )
        if "benchmark" in told:
            planned[told["benchmark"]] = {
                **resources,
                "rule": rule,
                "threads": told.get("threads", "1"),
                "output": told.get("output", ""),
            }
    return planned


def commands(text: str) -> list[Job]:
    """The jobs that run a shell command, from what a dry run with `-p` prints."""
    planned = []
    for rule, told, block in _blocks(text):
        shell = re.findall(r"^Shell command: (.*\| tee \S+)$", block, flags=re.M)
        if shell:
            files = (told[name].split(", ") if name in told else [] for name in ("input", "output"))
            planned.append(Job(rule, *files, told["log"], shell[0]))
    return planned


def _blocks(text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """(rule, what is told of the job by keyword, the whole block) of each planned job."""
    for block in re.split(r"^(?=\s*(?:local)?rule \w+:$)", text, flags=re.M)[1:]:
        told = dict(re.findall(r"^ +(\w+): (.*)$", block, flags=re.M))
        yield block.split()[1].rstrip(":"), told, block
