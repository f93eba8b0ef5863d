"""Random numbers of the compiled kernels: uniform (splitmix64) and normal (ziggurat).

The state is an array of one uint64, so that a kernel's numbers follow from its seed alone.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

N_LAYERS = 128
# of the ziggurat with 128 layers (Doornik 2005): where its tail begins, and the layers' area
TAIL = 3.442619855899
AREA = 9.91256303526217e-3


def _layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right edges of the ziggurat's layers, the share of each that lies wholly below the density,
    and the density exp(-x^2 / 2) at the edges.
    """
    edge = np.zeros(N_LAYERS + 1)
    edge[0] = AREA / math.exp(-0.5 * TAIL**2)
    edge[1] = TAIL

    for layer in range(2, N_LAYERS):
        before = edge[layer - 1]
        height = AREA / before + math.exp(-0.5 * before**2)
        edge[layer] = math.sqrt(-2 * math.log(height))

    inside = edge[1:] / edge[:-1]
    density = np.exp(-0.5 * edge**2)
    density[0] = 0.0

    return edge, inside, density


EDGE, INSIDE, DENSITY = _layers()


def state_of(seed: int) -> np.ndarray:
    """The state that a seed begins with."""
    return np.array([seed], np.uint64)


@nb.njit(nogil=True)
def _next(state):  # type: ignore[no-untyped-def]
    """64 random bits: splitmix64 (Steele, Lea, Flood 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)

    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)

    return z ^ (z >> np.uint64(31))


@nb.njit(nogil=True)
def uniform(state):  # type: ignore[no-untyped-def]
    """Uniform in (0, 1)."""
    bits = _next(state) >> np.uint64(11)

    return (np.float64(bits) + 0.5) * (1.0 / 9007199254740992.0)


@nb.njit(nogil=True)
def normal(state):  # type: ignore[no-untyped-def]
    """Standard normal by the ziggurat (Marsaglia and Tsang 2000), whose layers hold all but 1 % of
    what is drawn.
    """
    while True:
        bits = _next(state)
        layer = np.uint64(bits & np.uint64(N_LAYERS - 1))

        # in (-1, 1), from bits that did not choose the layer
        signed = np.float64(bits >> np.uint64(11)) + 0.5
        signed = signed * (2.0 / 9007199254740992.0) - 1.0
        x = signed * EDGE[layer]

        if abs(signed) < INSIDE[layer]:
            return x

        if layer == 0:
            return _tail(state) if signed > 0 else -_tail(state)

        low = DENSITY[layer]
        high = DENSITY[layer + np.uint64(1)]
        if low + uniform(state) * (high - low) < math.exp(-0.5 * x * x):
            return x


@nb.njit(nogil=True)
def _tail(state):  # type: ignore[no-untyped-def]
    """A normal beyond `TAIL` (Marsaglia 1964)."""
    while True:
        beyond = -math.log(uniform(state)) / TAIL
        if -2 * math.log(uniform(state)) > beyond * beyond:
            return TAIL + beyond
