"""Kernel Sparsity and Entropy (KSE): how much each input channel of a convolution matters.

Li et al., CVPR 2019, as the TGD paper's section 2 uses it. For a weight W (N, C, kh, kw) and input
channel c:
    eq. 1  s_c = sum_n |W[n, c]|_1
    eq. 2  e_c = -sum_i p_i log2 p_i,  p_i = dm_i / sum_i dm_i,  dm_i = sum_j A_c[i, j],
           A_c[i, j] = |W[i, c] - W[j, c]|_2 where j is one of the k nearest neighbours of i, else 0
    eq. 3  KSE = minmax(sqrt(minmax(s) / (1 + alpha minmax(e))))
A small KSE marks a redundant channel. Everything is computed in float64: in float32 the distances
lose 2.6e-4.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

DISTANCES_AT_ONCE = 2**24  # held in memory, 128 MiB


class Components(NamedTuple):
    """Raw sparsity, raw entropy (bit) and KSE in [0, 1] of each input channel, float64 (C,)."""

    sparsity: Tensor
    entropy: Tensor
    kse: Tensor


def score(weight: Tensor, *, k: int = 5, alpha: float = 1.0, compat: str | None = None) -> Tensor:
    """KSE of each input channel of a convolution weight (N, C, ...): float64 (C,) in [0, 1].

    `compat="official"` repeats the published code, which scrambles input and output axes in the
    entropy (a reshape where a transpose belongs); only to compare with it. Raises ValueError for a
    weight that has no kernels, is not finite, or for impossible k, alpha, compat.
    """
    return components(weight, k=k, alpha=alpha, compat=compat).kse


def components(
    weight: Tensor, *, k: int = 5, alpha: float = 1.0, compat: str | None = None
) -> Components:
    """Sparsity, entropy and KSE of each input channel; arguments as in `score`."""
    kernels = _checked_kernels(weight, k, alpha, compat)

    # One set of N kernels, to be compared with one another, for each input channel: (C, N, D).
    by_channel = kernels.transpose(0, 1)
    if compat == "official":
        # The published code takes (C, N) for (N, C).
        n_out, n_in, _ = kernels.shape
        by_channel = by_channel.reshape(n_out, n_in, -1)
        by_channel = by_channel.transpose(0, 1)

    s = kernel_sparsity(kernels)
    e = kernel_entropy(by_channel, k)
    kse = combine(s, e, alpha)

    return Components(s, e, kse)


def kernel_sparsity(kernels: Tensor) -> Tensor:
    """Eq. 1: the L1 norm of all kernels that read a channel, (N, C, D) -> (C,)."""
    return kernels.abs().sum(dim=(0, 2))


def kernel_entropy(by_channel: Tensor, k: int) -> Tensor:
    """Eq. 2: entropy of the density metric, (C, N, D) -> (C,) in bit; 0 for a single kernel."""
    n_channels, n_kernels, _ = by_channel.shape
    if n_kernels == 1:
        return by_channel.new_zeros(n_channels)

    # N^2 distances a channel: as many channels at once as memory allows.
    n_distances = n_kernels * n_kernels
    channels_at_once = max(1, DISTANCES_AT_ONCE // n_distances)
    n_neighbours = min(k, n_kernels - 1)
    density = torch.cat(
        [density_metric(channels, n_neighbours) for channels in by_channel.split(channels_at_once)]
    )

    total = density.sum(dim=1, keepdim=True)
    has_density = total > 0
    p = density / torch.where(has_density, total, 1.0)
    nats = -torch.special.xlogy(p, p).sum(dim=1)
    bits = nats / math.log(2)

    # Equal kernels have no density; they are as redundant as can be.
    most_bits = math.log2(n_kernels)
    return torch.where(has_density[:, 0], bits, most_bits)


def density_metric(by_channel: Tensor, k: int) -> Tensor:
    """dm of eq. 2: each kernel's distances to its k nearest others, summed, (C, N, D) -> (C, N)."""
    distance = torch.cdist(by_channel, by_channel, compute_mode="donot_use_mm_for_euclid_dist")

    # No kernel is its own neighbour.
    to_itself = distance.diagonal(dim1=1, dim2=2)
    to_itself.fill_(math.inf)

    nearest, _ = distance.topk(k, dim=2, largest=False)
    return nearest.sum(dim=2)


def combine(sparsity: Tensor, entropy: Tensor, alpha: float = 1.0) -> Tensor:
    """Eq. 3: KSE in [0, 1] from raw sparsity and entropy (C,), scaled over the layer's channels.

    A range of zero says nothing about which channel is redundant: s counts as 1, e as 0, KSE as 1
    (keep).
    """
    s = _minmax(sparsity, no_range=1.0)
    e = _minmax(entropy, no_range=0.0)
    value = (s / (1 + alpha * e)).sqrt()

    return _minmax(value, no_range=1.0)


def _minmax(x: Tensor, no_range: float) -> Tensor:
    """Map to [0, 1]; a layer whose channels are all equal gives `no_range`."""
    low, high = x.aminmax()
    has_range = high > low
    divisor = torch.where(has_range, high - low, 1.0)
    scaled = (x - low) / divisor

    return torch.where(has_range, scaled, no_range)


def _checked_kernels(weight: Tensor, k: int, alpha: float, compat: str | None) -> Tensor:
    """The kernels (N, C, D) in float64, or a ValueError that names what is wrong."""
    if weight.ndim < 2 or 0 in weight.shape:
        raise ValueError(
            "weight: expected (N, C, ...) with at least one kernel, "
            f"got shape {tuple(weight.shape)}"
        )
    if k < 1:
        raise ValueError(f"k: expected at least 1 neighbour, got {k}")
    if not alpha >= 0:
        raise ValueError(f"alpha: expected a number >= 0, got {alpha}")
    if compat not in (None, "official"):
        raise ValueError(f"compat: expected None or 'official', got {compat!r}")

    n_out, n_in = weight.shape[:2]
    double = weight.detach().to(torch.float64)
    kernels = double.reshape(n_out, n_in, -1)
    if not bool(torch.isfinite(kernels).all()):
        raise ValueError("weight: holds NaN or infinite values; KSE is undefined")

    return kernels
