"""Shared by all tests."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

# Tests run side by side, and so do the jobs of a workflow: with threads of their own they would
# only wait for one another. Set before torch or numba is imported; processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in its background, or nohup, has them ignore what some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors, where threads only wait for one another, and sums that are the same every
    time.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """What Snakemake makes of two configuration files: mappings merged, everything else
    replaced.
    """
    out = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else copy.deepcopy(value)
    return out


@pytest.fixture
def raw_config() -> Callable[..., dict[str, Any]]:
    """`raw_config("smoke")`: config.yaml with smoke.yaml over it, as Snakemake sees it."""

    def read(name: str = "config") -> dict[str, Any]:
        base, over = (
            yaml.safe_load((ROOT / "config" / f"{n}.yaml").read_text()) for n in ("config", name)
        )
        return merge(base, over)

    return read
