"""Trainings and scores that compile nothing leave torch's compiler on the disk."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import sys
from pathlib import Path

import torch
from training_cases import trained, write_index

from tgdpet.tgd import score_kernels

model, _ = trained(write_index(Path("data")), Path("."))
score_kernels(model, torch.zeros(1, 3, 16, 16))

print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def test_neither_a_training_nor_a_score_loads_torchs_compiler(root, tmp_path):
    paths = [str(root / "scripts"), str(root / "tests/helpers")]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
