"""numpy files, memory-mapped."""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np


def map_array(path: str | Path, what: str) -> np.memmap:
    """Memory-map an .npy file; FileNotFoundError or ValueError naming it when it is missing,
    truncated or damaged.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such {what}")
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path}: not a readable {what} (truncated?): {error}") from error
    size, expected = Path(path).stat().st_size, array.offset + array.nbytes
    if size != expected:
        raise ValueError(
            f"{path}: damaged: shape {array.shape} takes {expected} bytes, the file has {size}"
        )
    return array
