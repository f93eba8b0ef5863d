"""nibabel, imported without what it does not need here."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def _import_nibabel() -> Any:
    """nibabel without pydicom, which it imports where that is installed, for a header extension
    that is not read here: as much time as for itself, in each of a run's jobs.
    """
    loaded = "pydicom" in sys.modules
    if not loaded:
        sys.modules["pydicom"] = None  # type: ignore[assignment]

    try:
        return importlib.import_module("nibabel")
    finally:
        if not loaded:
            del sys.modules["pydicom"]


nib = _import_nibabel()
