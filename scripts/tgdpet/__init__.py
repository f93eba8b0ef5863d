"""tgdpet: PET list mode to images, denoising networks and Targeted Gradient Descent."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tgd import TGD, score_kernels, select

__version__ = "0.1.0"
__all__ = ["TGD", "__version__", "score_kernels", "select"]


def __getattr__(name: str) -> Any:
    """The method's public names, imported when first asked for: the command line starts without
    torch.
    """
    if name in ("TGD", "score_kernels", "select"):
        return getattr(importlib.import_module(".tgd", __name__), name)

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
