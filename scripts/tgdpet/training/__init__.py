"""The training loop, adaptation, baselines, and the jobs of the workflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loop import fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    """`fit`, imported when first asked for, as it takes torch."""
    if name == "fit":
        return importlib.import_module(".loop", __name__).fit

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
