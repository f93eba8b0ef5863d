"""Targeted Gradient Descent: kernel scores (KSE), masks, and the layer that retrains redundant
kernels only.

Needs torch and nothing else of this package; `layer.py` has an example. In the order of the paper's
section 2: `kse` (eqs. 1 to 3), `scoring` (whose kernels a score is of, which are redundant),
`layer` (eq. 4), with an `attachment` behind it: what may move (`targets`), what stays
(`kept_state`), and when it is put back (`step_hooks`). `connectivity` finds out which kernel feeds
which convolution, from passes through an `activation_graph`; `alive`, which does anything.
"""

from .alive import alive_kernels
from .layer import TGD
from .masks import accumulate
from .plotting import plot
from .scoring import consumer_weight, score_components, score_kernels, select
from .tracing_modes import TraceError

__all__ = [
    "TGD",
    "TraceError",
    "accumulate",
    "alive_kernels",
    "consumer_weight",
    "plot",
    "score_components",
    "score_kernels",
    "select",
]
