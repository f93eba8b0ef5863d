"""numpy files, memory-mapped."""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np


def map_array(path: str | Path, kind: str) -> np.memmap:
    """Memory-map an .npy file; FileNotFoundError or ValueError naming it when it is missing,
    truncated or damaged.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such {kind}")

    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path}: not a readable {kind} (truncated?): {error}") from error

    n_bytes = Path(path).stat().st_size
    expected = array.offset + array.nbytes
    if n_bytes != expected:
        sizes = f"shape {array.shape} takes {expected} bytes, the file has {n_bytes}"
        raise ValueError(f"{path}: damaged: {sizes}")

    return array
