"""A failed job is one line: rule, what it worked on, the first line of the real error, the log."""

from __future__ import annotations

import pytest

from tgdpet.workflow.failures import summary

LOCAL = """Building DAG of jobs...
Error in rule simulate:
    message: None
    jobid: 0
    input: scripts/01_simulate.py
    log: {log} (check log file(s) for error details)
    shell:
        python scripts/01_simulate.py
        (command exited with non-zero exit code)
Logfile {log}:
log: not/this/one.log
"""
SLURM = """Error in rule train:
    message: SLURM-job '12' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable.
    jobid: 3
    log: {log}, {slurm} (check log file(s) for error details)
    external_jobid: 12
Error in rule train:
    message: SLURM-job '13' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable.
    jobid: 3
    log: {log}, {slurm} (check log file(s) for error details)
    external_jobid: 13
"""


def test_the_first_line_of_the_real_error_is_told(tmp_path):
    log = tmp_path / "lesion.log"
    log.write_text(
        "simulate lesion: 10 %\n"
        "error: events.npy: cannot be written: No space left on device\n"
        "later words\n"
    )
    assert summary(LOCAL.format(log=log)) == [
        "FAILED: rule simulate, lesion: events.npy: cannot be written: No space left on device"
        f" (log: {log})"
    ]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (
            "Traceback (most recent call last):\n  File x\nValueError: 3 is not 4",
            "ValueError: 3 is not 4",
        ),
        (
            "numpy._core._exceptions._ArrayMemoryError: no",
            "numpy._core._exceptions._ArrayMemoryError: no",
        ),
        (
            "/bin/bash: line 1: 77 Killed    python x.py",
            "/bin/bash: line 1: 77 Killed    python x.py",
        ),
        ("all is well", "killed, or no error in its log"),
    ],
)
def test_causes_in_other_words(tmp_path, words, cause):
    log = tmp_path / "lesion.log"
    log.write_text(words + "\n")
    assert summary(LOCAL.format(log=log)) == [
        f"FAILED: rule simulate, lesion: {cause} (log: {log})"
    ]


def test_a_missing_program_is_named(tmp_path):
    log = tmp_path / "lesion.log"
    log.write_text("/usr/bin/bash: line 1: python: command not found\n")
    (line,) = summary(LOCAL.format(log=log))
    assert "python: command not found" in line


def test_slurms_word_is_told_where_the_jobs_log_knows_nothing(tmp_path):
    log, slurm = tmp_path / "v1-net.log", tmp_path / "12.log"
    log.write_text("train v1-net: 40 %\n")
    (line,) = summary(SLURM.format(log=log, slurm=slurm))  # two tries of one job
    assert "rule train, v1-net" in line and "TIMEOUT" in line and str(log) in line
    slurm.write_text("slurmstepd: error: Exceeded job memory limit\n")
    (line,) = summary(SLURM.format(log=log, slurm=slurm))
    assert "Exceeded job memory limit" in line


def test_nothing_failed():
    assert summary("Building DAG of jobs...\nFinished jobid: 1 (Rule: compile)\n") == []
