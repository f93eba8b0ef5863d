"""Targeted Gradient Descent: kernel scores (KSE), masks, and the layer that retrains redundant
kernels only.

Needs torch and nothing else of this package; `layer.py` has an example.
"""

from .cut_network import TraceError
from .layer import TGD
from .masks import accumulate
from .scoring import consumer_weight, score_components, score_kernels, select

__all__ = [
    "TGD",
    "TraceError",
    "accumulate",
    "consumer_weight",
    "score_components",
    "score_kernels",
    "select",
]
