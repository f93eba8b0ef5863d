"""A training job that is killed with -9 again and again ends in the file, and the log, of one that
was left alone.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from tgdpet.cli import arguments
from tgdpet.config.sections import Training
from training_cases import write_index

SETTINGS = Training(epochs=60, batch=4, patch=16, learning_rate=3e-3)  # 480 steps


def command(root, index, out, checkpoint):
    words = [
        root / "scripts/05_train.py",
        "--dataset",
        index,
        "--name",
        "net",
        "--width",
        "0.0625",
        "--seed",
        "3",
    ]
    words += [
        "--device",
        "cpu",
        "--checkpoint",
        checkpoint,
        "--checkpoint-minutes",
        "0",
        "--out",
        out,
    ]
    return [sys.executable, *map(str, words), *arguments.to_options(SETTINGS).split()]


def moved(checkpoint, before):
    return checkpoint.exists() and checkpoint.stat().st_mtime_ns != before


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_bits(root, tmp_path):
    index = write_index(tmp_path / "data", samples=("60s", "45s", "30s", "90s"))
    whole, cut, checkpoint = (
        tmp_path / "whole.safetensors",
        tmp_path / "cut.safetensors",
        tmp_path / "kept",
    )
    subprocess.run(
        command(root, index, whole, tmp_path / "unused"),
        check=True,
        capture_output=True,
        timeout=300,
    )
    killed, rng = 0, random.Random(1)
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        job = subprocess.Popen(
            command(root, index, cut, checkpoint),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while job.poll() is None and not moved(checkpoint, before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))  # at any point of a step, or of writing a checkpoint
        job.kill()
        killed += job.wait() == -9
    assert killed >= 2 and not cut.exists()
    done = subprocess.run(
        command(root, index, cut, checkpoint),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "resumes at step" in done.stderr
    assert whole.read_bytes() == cut.read_bytes()
    logs = [pd.read_csv(path.with_name(f"{path.stem}_log.csv")) for path in (whole, cut)]
    same = ["step", "epoch", "loss", "validation_loss", "validation_psnr", "learning_rate"]
    np.testing.assert_array_equal(logs[0][same], logs[1][same])
    assert not checkpoint.exists()
    assert json.loads(cut.with_suffix(".json").read_text())["network"] == "net"
