"""Convolutions whose backward pass computes the targeted output channels only; the forward pass is
the plain one.

With dL/dY restricted to the targeted channels (rows R of the weight W), for Y = conv(X, W) + b:

    both flows:    dL/dW[R] = conv_weight_gradient(X, dL/dY[R]),  dL/db[R] = sum dL/dY[R];
                   0 elsewhere
    flow "layer":  dL/dX = conv_input_gradient(W[R], dL/dY[R])

The second line is exact, as the TGD layer zeroes the other channels of dL/dY (the paper's Fig. 1);
so this takes the layer's place. A fraction f of frozen kernels takes f / 3 (flow "parameter": one
of the three convolutions of a step) or 2 f / 3 (flow "layer") off a step, less what gathering the
channels costs.
"""

from __future__ import annotations

import copy
import math
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GATHERS = ("auto", "always", "never")
PLAIN_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FUNCTIONAL_CONVS = (functional.conv1d, functional.conv2d, functional.conv3d)  # by spatial axes - 1
# Under this many products saved for each gathered value, gathering for the weight gradient alone
# costs more than it saves; oneDNN computes that gradient for 16 kernels at once, so fewer save
# nothing (benchmarks/tgd_step.py).
LEAST_SAVED = 30.0
KERNELS_AT_ONCE = 16


class Route:
    """What a convolution calls in place of its own `_conv_forward` while TGD is attached; `remove`
    ends it.

    A copy of the convolution gets its own plain forward pass.
    """

    def __init__(self, conv: nn.Module, targets: Tensor, *, layer: bool) -> None:
        self.conv = conv
        self.targets = targets
        self.layer = layer

        conv._conv_forward = self  # type: ignore[assignment]

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of x (B, C, ...) with weight (N, C, ...) -> (B, N, ...)."""
        conv: Any = self.conv

        bias_needs_grad = bias is not None and bias.requires_grad
        for_parameters = weight.requires_grad or bias_needs_grad
        leaves_out = for_parameters or (self.layer and x.requires_grad)
        if not torch.is_grad_enabled() or not leaves_out:
            return type(conv)._conv_forward(conv, x, weight, bias)

        if x.ndim < weight.ndim:
            batch_of_one = x.unsqueeze(0)
            return self(batch_of_one, weight, bias).squeeze(0)

        if conv.padding_mode == "zeros":
            padding = _zero_padding(conv)
        else:
            both_sides = conv._reversed_padding_repeated_twice
            x = functional.pad(x, both_sides, mode=conv.padding_mode)
            padding = (0,) * len(conv.kernel_size)

        targets = self.targets.to(x.device)
        output: Tensor = _SparseBackward.apply(
            x,
            weight,
            bias,
            targets,
            self.layer,
            conv.stride,
            padding,
            conv.dilation,
        )
        return output

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return plain_forward(copy.deepcopy(self.conv, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return plain_forward, (self.conv,)

    def remove(self) -> None:
        """Give the convolution its own forward pass back."""
        self.conv.__dict__.pop("_conv_forward", None)


def plain_forward(conv: nn.Module) -> Any:
    """A convolution's own `_conv_forward`."""
    return types.MethodType(type(conv)._conv_forward, conv)  # type: ignore[attr-defined]


def route(conv: nn.Module, mask: Tensor, *, layer: bool, gather: str) -> Route | None:
    """Attach to a convolution; None where the plain backward is kept.

    mask: bool (out channels,), True = targeted. gather: "auto" (where it saves more than it costs,
    which for flow "layer" is everywhere), "always" (wherever it can) or "never". Transposed and
    grouped convolutions, subclasses with a forward pass of their own and an asymmetric "same"
    padding keep the plain backward.
    """
    if gather == "never" or bool(mask.all()) or not _is_plain(conv):
        return None
    if gather == "auto" and not layer and _products_saved(conv, mask) < LEAST_SAVED:
        return None

    targets = mask.nonzero()[:, 0]
    return Route(conv, targets, layer=layer)


def take_channels(values: Tensor, channels: Tensor) -> Tensor:
    """Some channels (axis 1) of `values`, in its memory format, which a plain index would lose."""
    if values.stride(1) > 1:
        return values.index_select(1, channels)

    # channels_last: neighbours in memory, for which gather is as quick as a copy.
    channels_last = values.movedim(1, -1)
    index = channels.expand(*channels_last.shape[:-1], -1)
    taken = channels_last.gather(-1, index)

    return taken.movedim(-1, 1)


def _is_plain(conv: Any) -> bool:
    """Whether nobody changed what the convolution computes, and one zero padding says it all."""
    kinds = [kind for kind in PLAIN_CONVS if isinstance(conv, kind)]
    if not kinds:
        return False

    own_class = type(conv)
    for name in ("forward", "_conv_forward"):
        own_function = getattr(own_class, name)
        overridden = own_function is not getattr(kinds[0], name)

        # A copy of an attached convolution holds its own function.
        replacement = vars(conv).get(name)
        replaced = replacement is not None and replacement != types.MethodType(own_function, conv)
        if overridden or replaced:
            return False

    return conv.groups == 1 and _zero_padding(conv) is not None


def _zero_padding(conv: Any) -> tuple[int, ...] | None:
    """Zeros on each side; None where the two sides differ."""
    if conv.padding == "valid":
        return (0,) * len(conv.kernel_size)

    if conv.padding == "same":
        both_sides = [
            dilation * (size - 1)
            for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True)
        ]
        if any(zeros % 2 for zeros in both_sides):
            return None

        return tuple(zeros // 2 for zeros in both_sides)

    return conv.padding


def _products_saved(conv: Any, mask: Tensor) -> float:
    """Products of the weight gradient that gathering saves, for each value that it reads and writes
    (per pixel).
    """
    n_kernels = len(mask)
    n_targets = int(mask.sum())
    n_computed = KERNELS_AT_ONCE * math.ceil(n_targets / KERNELS_AT_ONCE)
    n_saved = max(0, n_kernels - n_computed)

    products = n_saved * conv.in_channels * math.prod(conv.kernel_size)
    gathered = n_kernels + n_targets

    return products / gathered


class _SparseBackward(torch.autograd.Function):
    """The plain convolution forward; backward as in this module's docstring."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        layer: bool,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> Tensor:
        convolution = FUNCTIONAL_CONVS[weight.ndim - 3]
        return convolution(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, targets, ctx.layer, *ctx.geometry = inputs
        ctx.save_for_backward(x, weight, targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (of_output,) = gradients
        x, weight, targets = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]

        of_x = None
        of_weight = torch.zeros_like(weight) if for_weight else None
        of_bias = weight.new_zeros(len(weight)) if for_bias else None

        # A convolution takes no empty set of kernels.
        if not len(targets):
            for_weight = False
            for_bias = False
            if ctx.layer and for_x:
                of_x = torch.zeros_like(x)
                for_x = False

        # Only the targeted channels of dL/dY and rows of W.
        if ctx.layer or for_weight or for_bias:
            of_targets = take_channels(of_output, targets)
        else:
            of_targets = of_output

        kernels = weight.index_select(0, targets)

        # Flow "parameter": the true gradient goes on to earlier layers.
        if for_x and not ctx.layer:
            only_x = (True, False, False)
            of_x, _, _ = _convolution_gradients(ctx, of_output, x, weight, only_x)

        sparse_x = for_x and ctx.layer
        wanted = (sparse_x, for_weight, for_bias)
        if any(wanted):
            gradients_of = _convolution_gradients(ctx, of_targets, x, kernels, wanted)
            if sparse_x:
                of_x = gradients_of[0]
            if of_weight is not None and for_weight:
                of_weight.index_copy_(0, targets, gradients_of[1])
            if of_bias is not None and for_bias:
                of_bias.index_copy_(0, targets, gradients_of[2])

        return of_x, of_weight, of_bias, None, None, None, None, None


def _convolution_gradients(
    ctx: Any, of_output: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Any, Any, Any]:
    """Gradients (input, weight, bias) as wanted; under autocast in the low precision of
    `of_output`, as autograd would.
    """
    stride, padding, dilation = ctx.geometry
    bias_sizes = [weight.shape[0]]
    output_padding = [0] * len(stride)

    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        of_output,
        x.to(of_output.dtype),
        weight.to(of_output.dtype),
        bias_sizes,
        stride,
        padding,
        dilation,
        False,  # transposed
        output_padding,
        1,  # groups
        wanted,
    )

    if wanted[1]:
        of_weight = of_weight.to(weight.dtype)
    if wanted[2]:
        of_bias = of_bias.to(weight.dtype)

    # autograd itself gives of_x the precision of x.
    return of_x, of_weight, of_bias
