"""Random generators, all derived from the configuration's one seed by stage, study and purpose."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *keys: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every key, the same on every machine."""
    joined = "\x1f".join(map(str, (seed, *keys)))
    digest = hashlib.blake2b(joined.encode(), digest_size=8).digest()

    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, *keys: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive(seed, *keys))


def torch_generator(seed: int, *keys: str | int, device: str = "cpu") -> torch.Generator:
    """A torch generator for one purpose, living on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(seed, *keys))
