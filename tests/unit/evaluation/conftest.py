"""A made-up results tree, and copies of it as of other seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import fabricate
from tgdpet.config.loading import read_config as read_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A copy of the tables and values, as if made from another seed."""

    def make(seed: int = 2021) -> Path:
        root = tmp_path / f"seed{seed}"
        for part in ("metrics", "kse", "benchmarks", "adapted"):
            shutil.copytree(made / part, root / part)
        raw = yaml.safe_load((made / "config.yaml").read_text())
        (root / "config.yaml").write_text(yaml.safe_dump({**raw, "seed": seed}, sort_keys=False))
        return root

    return make
