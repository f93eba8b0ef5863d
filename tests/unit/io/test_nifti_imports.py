"""Images are read without pydicom, which can still be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from tgdpet.io import nifti", "False"),
        ("from tgdpet.io import nifti; import pydicom", "True"),
        ("import pydicom; from tgdpet.io import nifti", "True"),
    ],
)
def test_nibabel_does_not_bring_pydicom(root, code, expected):
    pytest.importorskip("pydicom")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print('pydicom' in sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "scripts")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected
