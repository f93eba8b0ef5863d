"""Kernel Sparsity and Entropy (KSE): how much each input channel of a convolution matters.

Li et al., CVPR 2019, as the TGD paper uses it. For a weight W (N, C, kh, kw) and input channel c:
    s_c = sum_n |W[n, c]|_1
    A_c[i, j] = |W[i, c] - W[j, c]|_2 where j is one of the k nearest neighbours of i, else 0
    dm_i = sum_j A_c[i, j],  p_i = dm_i / sum_i dm_i,  e_c = -sum_i p_i log2 p_i
    KSE = minmax(sqrt(minmax(s) / (1 + alpha minmax(e))))
A small KSE marks a redundant channel. Everything is computed in float64: in float32 the distances
lose 2.6e-4.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

DISTANCES = 2**24  # held at a time, 128 MiB


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
    kernels = _check(weight, k, alpha, compat)
    n, c, _ = kernels.shape
    sparsity = kernels.abs().sum(dim=(0, 2))
    by_channel = kernels.transpose(0, 1)
    if compat == "official":  # (C, N) taken for (N, C)
        by_channel = by_channel.reshape(n, c, -1).transpose(0, 1)
    entropy = _entropy(by_channel, k)
    return Components(sparsity, entropy, combine(sparsity, entropy, alpha))


def combine(sparsity: Tensor, entropy: Tensor, alpha: float = 1.0) -> Tensor:
    """Eq. 3 from raw s and e (C,), both terms and the result scaled to [0, 1] over the layer's
    channels.

    A range of zero says nothing about which channel is redundant: s counts as 1, e as 0, KSE as 1
    (keep).
    """
    value = (_minmax(sparsity, flat=1.0) / (1 + alpha * _minmax(entropy, flat=0.0))).sqrt()
    return _minmax(value, flat=1.0)


def _check(weight: Tensor, k: int, alpha: float, compat: str | None) -> Tensor:
    if weight.ndim < 2 or 0 in weight.shape:
        raise ValueError(
            f"weight: expected (N, C, ...) with at least one kernel, got shape {tuple(weight.shape)}"
        )
    if k < 1:
        raise ValueError(f"k: expected at least 1 neighbour, got {k}")
    if not alpha >= 0:
        raise ValueError(f"alpha: expected a number >= 0, got {alpha}")
    if compat not in (None, "official"):
        raise ValueError(f"compat: expected None or 'official', got {compat!r}")
    kernels = weight.detach().to(torch.float64).reshape(weight.shape[0], weight.shape[1], -1)
    if not bool(torch.isfinite(kernels).all()):
        raise ValueError("weight: holds NaN or infinite values; KSE is undefined")
    return kernels


def _entropy(by_channel: Tensor, k: int) -> Tensor:
    """Entropy of the density metric, (C, N, D) -> (C,) in bit; channels with N = 1 have none."""
    c, n, _ = by_channel.shape
    if n == 1:
        return by_channel.new_zeros(c)
    rows = max(1, DISTANCES // (n * n))
    density = torch.cat([_density(part, min(k, n - 1)) for part in by_channel.split(rows)])
    total = density.sum(dim=1, keepdim=True)
    share = density / torch.where(total > 0, total, 1.0)
    entropy = -torch.special.xlogy(share, share).sum(dim=1) / math.log(2)
    return torch.where(total[:, 0] > 0, entropy, math.log2(n))


def _density(points: Tensor, k: int) -> Tensor:
    """Sum of the distances to the k nearest other points, (C, N, D) -> (C, N)."""
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distance.diagonal(dim1=1, dim2=2).fill_(math.inf)
    return distance.topk(k, dim=2, largest=False).values.sum(dim=2)


def _minmax(x: Tensor, flat: float) -> Tensor:
    """Map to [0, 1]; a layer without any range gives `flat`."""
    low, high = x.aminmax()
    return torch.where(high > low, (x - low) / torch.where(high > low, high - low, 1.0), flat)
