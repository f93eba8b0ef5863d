"""The denoising network, its weights and card on disk, and its use on images."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dncnn import DnCNN

__all__ = ["DnCNN"]


def __getattr__(name: str) -> Any:
    """`DnCNN`, imported when first asked for, as it takes torch."""
    if name == "DnCNN":
        return importlib.import_module(".dncnn", __name__).DnCNN

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
