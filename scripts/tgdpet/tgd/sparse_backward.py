"""Convolutions whose backward pass computes the targeted output channels only; the forward pass is
the plain one.

With dL/dY restricted to the targeted channels (rows R of the weight W), for Y = conv(X, W) + b:

    dL/dW[R] = conv_weight_gradient(X, dL/dY[R]),  dL/db[R] = sum dL/dY[R],  0 elsewhere      (both flows)
    dL/dX    = conv_input_gradient(W[R], dL/dY[R])                                           (flow "layer")

The second line is exact, as the TGD layer zeroes the other channels of dL/dY (the paper's Fig. 1);
so this takes the layer's place. A fraction f of frozen kernels takes f / 3 (flow "parameter": one
of the three convolutions of a step) or 2 f / 3 (flow "layer") off a step, less what gathering the
channels costs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GATHERS = ("auto", "always", "never")
KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PLAIN = (functional.conv1d, functional.conv2d, functional.conv3d)
# Under this many products saved for each gathered value, gathering for the weight gradient alone
# costs more than it saves; oneDNN computes that gradient for 16 kernels at once, so fewer save
# nothing (benchmarks/tgd_step.py).
LEAST_SAVED = 30.0
BLOCK = 16


class Route:
    """What a convolution calls in place of its own `_conv_forward` while TGD is attached; `remove`
    ends it.

    A copy of the convolution gets a copy of its route, so copying an attached model works.
    """

    def __init__(self, conv: nn.Module, rows: Tensor, *, layer: bool) -> None:
        self.conv, self.rows, self.layer = conv, rows, layer
        conv._conv_forward = self  # type: ignore[assignment]

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of x (B, C, ...) with weight (N, C, ...) -> (B, N, ...)."""
        conv: Any = self.conv
        moves = weight.requires_grad or (bias is not None and bias.requires_grad)
        if not torch.is_grad_enabled() or not (moves or (self.layer and x.requires_grad)):
            return type(conv)._conv_forward(conv, x, weight, bias)
        if x.ndim < weight.ndim:
            return self(x.unsqueeze(0), weight, bias).squeeze(0)
        padding = _padding(conv)
        if conv.padding_mode != "zeros":
            x = functional.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode)
            padding = (0,) * len(conv.kernel_size)
        out: Tensor = _Gathered.apply(
            x, weight, bias, self.rows.to(x.device), self.layer, conv.stride, padding, conv.dilation
        )
        return out

    def remove(self) -> None:
        """Give the convolution its own forward pass back."""
        self.conv.__dict__.pop("_conv_forward", None)


def route(conv: nn.Module, mask: Tensor, *, layer: bool, gather: str) -> Route | None:
    """Attach to a convolution; None where the plain backward is kept.

    mask: bool (out channels,), True = may move. gather: "auto" (where it saves more than it costs,
    which for flow "layer" is everywhere), "always" (wherever it can) or "never". Transposed and
    grouped convolutions, subclasses with a forward pass of their own and an asymmetric "same"
    padding keep the plain backward.
    """
    if gather == "never" or bool(mask.all()) or not _can(conv):
        return None
    if gather == "auto" and not layer and _saved(conv, mask) < LEAST_SAVED:
        return None
    return Route(conv, mask.nonzero()[:, 0], layer=layer)


def _can(conv: Any) -> bool:
    plain = next((k for k in KINDS if isinstance(conv, k)), None)
    return (
        plain is not None
        and type(conv)._conv_forward is plain._conv_forward
        and type(conv).forward is plain.forward
        and not {"_conv_forward", "forward"} & set(vars(conv))
        and conv.groups == 1
        and _padding(conv) is not None
    )


def _padding(conv: Any) -> tuple[int, ...] | None:
    """Zeros on each side; None where the two sides differ."""
    if conv.padding == "valid":
        return (0,) * len(conv.kernel_size)
    if conv.padding == "same":
        both = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return None if any(b % 2 for b in both) else tuple(b // 2 for b in both)
    return conv.padding


def _saved(conv: Any, mask: Tensor) -> float:
    """Products of the weight gradient that gathering saves, for each value that it reads and writes
    (per pixel).
    """
    targets, kernels = int(mask.sum()), len(mask)
    computed = BLOCK * math.ceil(targets / BLOCK)
    return (
        max(0, kernels - computed)
        * conv.in_channels
        * math.prod(conv.kernel_size)
        / (kernels + targets)
    )


class _Gathered(torch.autograd.Function):
    """The plain convolution forward; backward as in this module's docstring."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, layer: bool,
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...],
    ) -> Tensor:  # fmt: skip
        return PLAIN[weight.ndim - 3](x, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, rows, ctx.layer, *ctx.geometry = inputs
        ctx.save_for_backward(x, weight, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (full,) = gradients
        x, weight, rows = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        few = take(full, rows) if ctx.layer or for_weight or for_bias else full
        kernels = weight.index_select(0, rows)
        of_x = of_weight = of_bias = None
        if ctx.layer and not len(rows):
            return (
                (torch.zeros_like(x) if for_x else None),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            )
        if for_x and not ctx.layer:
            of_x = _convolution(ctx, full, x, weight, (True, False, False))[0]
        wanted = (for_x and ctx.layer, for_weight, for_bias)
        if any(wanted):
            found = _convolution(ctx, few, x, kernels, wanted)
            of_x = found[0] if wanted[0] else of_x
            of_weight = (
                torch.zeros_like(weight).index_copy_(0, rows, found[1]) if for_weight else None
            )
            of_bias = (
                weight.new_zeros(len(weight)).index_copy_(0, rows, found[2]) if for_bias else None
            )
        return of_x, of_weight, of_bias, None, None, None, None, None


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Channels `rows` (axis 1) of `values`, in its memory format, which a plain index would
    lose.
    """
    if values.stride(1) > 1:
        return values.index_select(1, rows)
    last = values.movedim(
        1, -1
    )  # channels_last: neighbours in memory, for which gather is as quick as a copy
    return last.gather(-1, rows.expand(*last.shape[:-1], -1)).movedim(-1, 1)


def _convolution(
    ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> Any:
    """Gradients (input, weight, bias) as wanted; under autocast in the low precision of `gradient`,
    as it would.
    """
    stride, padding, dilation = ctx.geometry
    zeros = [0] * len(stride)
    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        gradient, x.to(gradient.dtype), weight.to(gradient.dtype), [weight.shape[0]], stride, padding, dilation,
        False, zeros, 1, wanted,
    )  # fmt: skip
    parameters = (
        g.to(weight.dtype) if want else None
        for g, want in zip((of_weight, of_bias), wanted[1:], strict=True)
    )
    return of_x, *parameters  # autograd itself gives of_x the precision of x
