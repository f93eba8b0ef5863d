"""Targeted gradient descent (the paper's section 2.1): retrain redundant kernels, keep every other
bit.

    scores = score_kernels(model, example)          # KSE of each output kernel
    masks = select(scores, phi=0.3)                 # True = redundant
    with TGD(model, masks) as tgd:
        optimizer = torch.optim.Adam(tgd.parameters(), lr=1e-4)
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            tgd.step(optimizer)

An average of the weights (EMA, SWA) keeps the useful bits only as far as its own arithmetic does:
the average of equal values may round, and turns -0.0 into 0.0. Make the copy before TGD attaches,
so that it carries no hooks, and call `tgd.restore(average)` (`average.module` of torch's
AveragedModel) after each update, or once at the end.

What stays is the useful kernels' own parameters. They still read feature maps that the retrained
kernels change, so the network's old behaviour is kept approximately, not exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from . import sparse_backward
from .batch_statistics import (
    batchnorm_layers,
    mixed_statistics_hook,
    over_channels,
    use_running_statistics,
)
from .connectivity import following_norms
from .layer_kinds import CONVS
from .masks import TargetedEntries, bits_equal, checked_mask, targeted_entries

FLOWS = ("parameter", "layer")
BATCHNORM_MODES = ("eval", "per_channel", "train")


class TGD:
    """Attach targeted gradient descent to a model; a context manager, or call `detach` at the end.

    masks: module name -> bool (out channels,), True = targeted, may be updated; modules not named
    are frozen.
    flow: "parameter" (the paper's eq. 4: the true gradient flows, only the targets are updated) or
    "layer" (its Fig. 1: dL/dY of useful channels is zeroed after each convolution and its BN).
    batchnorm: "eval" (running statistics for all channels), "per_channel" (batch statistics for the
    targets only), "train". Holds while the model is in train mode, whatever calls `model.train()`.
    gather: "auto", "always" or "never" leave frozen channels out of the convolutions' backward pass
    (`sparse_backward`).
    example_input: used to find the norm layer that follows each convolution; without it the first
    forward is, which torch.compile cannot trace. Raises ValueError naming module, expected and
    given for masks that do not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        *,
        flow: str = "parameter",
        batchnorm: str = "eval",
        gather: str = "auto",
        example_input: Any = None,
    ) -> None:
        _check_option("flow", flow, FLOWS)
        _check_option("batchnorm", batchnorm, BATCHNORM_MODES)
        _check_option("gather", gather, sparse_backward.GATHERS)

        self.model = model
        self.flow = flow
        self.batchnorm = batchnorm
        self.masks = {name: checked_mask(model, name, mask) for name, mask in masks.items()}

        # Targeted channels of convolutions and, once known, of the norm layers that follow them.
        self._channels = dict(self.masks)
        self._norms_known = False
        self._targets: dict[str, TargetedEntries] = {}  # by parameter

        # What `step` and `detach` put back.
        state = model.state_dict(keep_vars=True)
        self._start = {name: tensor.detach().clone() for name, tensor in state.items()}
        self._required_grad = {p: p.requires_grad for p in model.parameters()}
        self._was_training = {norm: norm.training for _, norm in batchnorm_layers(model)}

        self._attached = True
        self._handles: list[Any] = []
        self._routes: dict[str, sparse_backward.Route] = {}

        self._attach_routes(gather)

        if example_input is not None:
            self._add_norms(following_norms(model, example_input))
        else:
            self._choose_parameters()
            hook = model.register_forward_pre_hook(self._first_forward, with_kwargs=True)
            self._handles.append(hook)

        self._hook_norms()

        if flow == "layer":
            self._hook_tgd_layers()

    # In training.

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that hold anything targeted, for the optimizer; their useful part is kept
        by `step`.
        """
        parameters = dict(self.model.named_parameters())

        for name in self._targets:
            yield parameters[name]

    def train_mode(self) -> None:
        """`model.train()`; norm layers keep to `batchnorm` in any case."""
        self.model.train()

    def step(self, optimizer: torch.optim.Optimizer, *, scaler: Any = None) -> None:
        """Step the optimizer (through a gradient scaler if given) and put every useful bit back.

        The restore makes it exact whatever the optimizer adds: decay, momentum of an earlier round,
        NaN.
        """
        if scaler is not None:
            scaler.step(optimizer)
        else:
            optimizer.step()

        self.restore()

    @torch.no_grad()
    def restore(self, model: nn.Module | None = None) -> None:
        """Put every useful parameter, and every statistic that is to stay, back to its bits at the
        start.

        `model`: another model of the same make, such as an average of the weights; default: the
        model itself.
        """
        frozen: list[Tensor] = []
        starts: list[Tensor] = []

        for name, value, targets in self._kept_tensors(model or self.model):
            start = self._start[name]

            if targets is None:
                frozen.append(value)
                starts.append(start)
            else:
                # Chosen, not multiplied by a mask: 0 * NaN is NaN.
                torch.where(targets, value, start, out=value)

        if frozen:
            torch._foreach_copy_(frozen, starts)

    def unchanged(self, model: nn.Module | None = None) -> bool:
        """Whether everything useful has the bits of the start, compared as integers; `model` as in
        `restore`.
        """
        return all(
            bits_equal(value, self._start[name], targets)
            for name, value, targets in self._kept_tensors(model or self.model)
        )

    def counts(self) -> dict[str, int]:
        """Kernels and parameters of the model, and how many of them are targeted."""
        convs = [module for module in self.model.modules() if isinstance(module, CONVS)]

        return {
            "kernels_total": sum(conv.out_channels for conv in convs),
            "kernels_retrained": sum(int(mask.sum()) for mask in self.masks.values()),
            "parameters_total": sum(p.numel() for p in self.model.parameters()),
            "parameters_retrained": sum(entries.count for entries in self._targets.values()),
        }

    # At the end.

    def detach(self) -> None:
        """Remove every hook and check the bits; RuntimeError if a useful one moved (an optimizer
        stepped by itself).

        Nothing is checked if the model never ran: nothing was trained, as when a finished training
        is resumed.
        """
        was_attached = self._release()

        if was_attached and self._norms_known and not self.unchanged():
            raise RuntimeError(
                "useful kernels have changed: "
                "every optimizer step has to go through TGD.step(optimizer)"
            )

    def __enter__(self) -> TGD:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.detach()
        else:
            self._release()

    def __deepcopy__(self, memo: dict[int, Any]) -> TGD:
        """Itself: a copy of an attached model (an average, a teacher) carries hooks, which lead
        here.
        """
        return self

    def _release(self) -> bool:
        """Take every hook off and give flags and modes back; whether there was anything to do."""
        was_attached = self._attached
        self._attached = False

        for handle in (*self._handles, *self._routes.values()):
            handle.remove()

        self._handles.clear()
        self._routes.clear()

        if was_attached:
            for parameter, required_grad in self._required_grad.items():
                parameter.requires_grad_(required_grad)

            for norm, was_training in self._was_training.items():
                norm.training = was_training

        return was_attached

    # What is targeted.

    def _first_forward(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """A forward pre-hook: the first input serves as the example."""
        if self._norms_known:
            return

        only_keywords = kwargs and not args
        self._add_norms(following_norms(model, {**kwargs} if only_keywords else args))

    def _add_norms(self, norms_of: Mapping[str, list[str]]) -> None:
        """Give each norm layer that follows a convolution its convolution's mask."""
        self._norms_known = True

        for conv, norms in norms_of.items():
            if conv in self.masks:
                self._channels.update(dict.fromkeys(norms, self.masks[conv]))

        self._choose_parameters()

    def _choose_parameters(self) -> None:
        """Work out the targeted entries; take every other parameter out of the backward pass."""
        hooked = set(self._targets)
        self._targets = targeted_entries(
            self.model, self._channels, include_candidates=not self._norms_known
        )

        for name, parameter in self.model.named_parameters():
            if name not in self._targets:
                parameter.requires_grad_(False)
            elif name not in hooked:
                self._handles.append(parameter.register_hook(self._gradient_hook(name)))

    def _targeted_statistics(self, norm: str) -> Tensor | None:
        """The channels of a norm layer whose statistics follow the batches; None where none
        does.
        """
        if self.batchnorm != "per_channel":
            return None

        channels = self._channels.get(norm)

        if channels is None or not bool(channels.any()):
            return None

        return channels

    def _kept_tensors(self, model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """(name, value, what of it is targeted) of every parameter, and every statistic that is not
        free to follow the batches.
        """
        for name, parameter in model.named_parameters():
            entries = self._targets.get(name)
            yield name, parameter.detach(), None if entries is None else entries.mask

        if self.batchnorm == "train":
            return

        for name, norm in batchnorm_layers(model):
            channels = self._targeted_statistics(name)

            for key, value in norm.named_buffers(recurse=False):
                if channels is None:
                    yield f"{name}.{key}", value, None
                elif value.ndim:  # the number of batches is free
                    yield f"{name}.{key}", value, channels.to(value.device)

    # Routes and hooks.

    def _attach_routes(self, gather: str) -> None:
        """Leave frozen channels out of the backward pass where that saves time."""
        for name, mask in self.masks.items():
            conv = self.model.get_submodule(name)
            route = sparse_backward.route(conv, mask, layer=self.flow == "layer", gather=gather)

            if route is not None:
                self._routes[name] = route

    def _gradient_hook(self, name: str) -> Callable[[Tensor], Tensor]:
        """The mask M of eq. 4 on one parameter's gradient."""

        def hook(gradient: Tensor) -> Tensor:
            entries = self._targets.get(name)

            if entries is None:
                return torch.zeros_like(gradient)

            # Chosen, not multiplied: 0 * NaN is NaN.
            return torch.where(entries.mask, gradient, 0.0)

        return hook

    def _hook_norms(self) -> None:
        for name, norm in batchnorm_layers(self.model):
            if self.batchnorm != "train":
                self._handles.append(norm.register_forward_pre_hook(use_running_statistics))

            if self.batchnorm == "per_channel" and norm.running_mean is not None:
                self._handles.append(norm.register_forward_hook(self._mixed_statistics(name)))

    def _mixed_statistics(self, norm: str) -> Callable[..., Tensor]:
        return mixed_statistics_hook(
            self.model,
            lambda: self._targeted_statistics(norm),
            self._start[f"{norm}.running_mean"],
            self._start[f"{norm}.running_var"],
        )

    def _hook_tgd_layers(self) -> None:
        """A TGD layer after each masked convolution, but where its backward pass is sparse: there
        the useful channels are left out already.
        """
        for name in self.masks.keys() - self._routes.keys():
            conv = self.model.get_submodule(name)
            self._handles.append(conv.register_forward_hook(_tgd_layer(~self.masks[name])))


def _tgd_layer(useful: Tensor) -> Callable[..., None]:
    """The TGD layer of Fig. 1, as a forward hook of a convolution: identity forward; backward
    without the useful channels.

    Another one after the BN that follows would change nothing: a BN in any mode keeps channels
    apart, so that all that passes through its useful channels ends here, and its own affine is
    masked in any case.
    """

    def hook(conv: Any, args: Any, output: Tensor) -> None:
        if not output.requires_grad:
            return

        n_spatial = conv.weight.ndim - 2
        stopped = over_channels(useful, output, n_spatial)

        # On the tensor, not the module: an in-place ReLU may follow.
        output.register_hook(lambda gradient: torch.where(stopped, 0.0, gradient))

    return hook


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
