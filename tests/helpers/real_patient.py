"""The real CT and labels that tests use where they are: a folder shared/data/anatomy above."""

from __future__ import annotations

from pathlib import Path

import pytest

_ABOVE = [parent / "shared/data/anatomy" for parent in Path(__file__).resolve().parents]
FOLDER = next((folder for folder in _ABOVE if folder.is_dir()), None)
needed = pytest.mark.skipif(FOLDER is None, reason="no real anatomy above the checkout")
