"""Targeted gradient descent: retrain redundant kernels, keep every other bit (the paper's section
2).

    scores = score_kernels(model, example)          # KSE of each output kernel, as its consumers see it
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

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import sparse_backward
from .connectivity import CONVS, followers
from .cut_network import BATCHNORM_LAYERS
from .masks import Movable, accumulate, bits_equal, checked, movable
from .scoring import score_components, score_kernels, select

__all__ = ["TGD", "accumulate", "score_components", "score_kernels", "select"]

FLOWS = ("parameter", "layer")
BATCHNORM_MODES = ("eval", "per_channel", "train")


class TGD:
    """Attach targeted gradient descent to a model; a context manager, or call `detach` at the end.

    masks: module name -> bool (out channels,), True = may move; modules not named are frozen.
    flow: "parameter" (the paper's eq. 4: the true gradient flows, only the targets are updated) or
    "layer" (its Fig. 1: dL/dY of useful channels is zeroed after each convolution and its BN).
    batchnorm: "eval" (running statistics for all channels), "per_channel" (batch statistics for the
    targets only), "train". Holds while the model is in train mode, whatever calls `model.train()`.
    gather: "auto", "always" or "never" leave frozen channels out of the convolutions' backward pass
    (`sparse`).
    example_input: used to find the norm layer that follows each convolution; without it the first
    forward is, which torch.compile cannot trace. Raises ValueError naming module, expected and
    given for masks that do not fit.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor], *, flow: str = "parameter", batchnorm: str = "eval",
        gather: str = "auto", example_input: Any = None,
    ) -> None:  # fmt: skip
        options = (
            ("flow", flow, FLOWS),
            ("batchnorm", batchnorm, BATCHNORM_MODES),
            ("gather", gather, sparse_backward.GATHERS),
        )
        for name, value, allowed in options:
            if value not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
        self.model, self.flow, self.batchnorm = model, flow, batchnorm
        self.masks = {n: checked(model, n, m) for n, m in masks.items()}
        self.channels = dict(self.masks)
        self._handles: list[Any] = []
        self._routes: dict[str, sparse_backward.Route] = {}
        self._attached = True
        self._snapshot = {
            n: t.detach().clone() for n, t in model.state_dict(keep_vars=True).items()
        }
        self._grad = {p: p.requires_grad for p in model.parameters()}
        self._training = {m: m.training for m in model.modules() if isinstance(m, BATCHNORM_LAYERS)}
        self._movable: dict[str, Movable] = {}
        self._resolved = False
        self._route(gather)
        if example_input is not None:
            self._resolve(followers(model, example_input))
        else:
            self._claim()
            self._handles.append(
                model.register_forward_pre_hook(self._first_forward, with_kwargs=True)
            )
        self._hook()

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that hold anything that may move, for the optimizer; their useful part is
        kept by `step`.
        """
        named = dict(self.model.named_parameters())
        yield from (named[n] for n in self._movable)

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
        whole: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, value, moves in self._kept(model or self.model):
            start = self._snapshot[name]
            if moves is None:
                whole[0].append(value)
                whole[1].append(start)
            else:
                torch.where(moves, value, start, out=value)
        if whole[0]:
            torch._foreach_copy_(*whole)

    def train_mode(self) -> None:
        """`model.train()`; norm layers keep to `batchnorm` in any case."""
        self.model.train()

    def unchanged(self, model: nn.Module | None = None) -> bool:
        """Whether everything useful has the bits of the start, compared as integers; `model` as in
        `restore`.
        """
        kept = self._kept(model or self.model)
        return all(bits_equal(value, self._snapshot[name], moves) for name, value, moves in kept)

    def counts(self) -> dict[str, int]:
        """Kernels and parameters of the model, and how many of them may move."""
        convs = [m for m in self.model.modules() if isinstance(m, CONVS)]
        return {
            "kernels_total": sum(m.out_channels for m in convs),
            "kernels_retrained": sum(int(m.sum()) for m in self.masks.values()),
            "parameters_total": sum(p.numel() for p in self.model.parameters()),
            "parameters_retrained": sum(m.count for m in self._movable.values()),
        }

    def detach(self) -> None:
        """Remove every hook and check the bits; RuntimeError if a useful one moved (an optimizer
        stepped by itself).

        Nothing is checked if the model never ran: nothing was trained, as when a finished training
        is found.
        """
        if self._release() and self._resolved and not self.unchanged():
            raise RuntimeError(
                "useful kernels have changed: every optimizer step has to go through TGD.step(optimizer)"
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
        attached, self._attached = self._attached, False
        for handle in (*self._handles, *self._routes.values()):
            handle.remove()
        self._handles.clear()
        self._routes.clear()
        if attached:
            for parameter, flag in self._grad.items():
                parameter.requires_grad_(flag)
            for module, flag in self._training.items():
                module.training = flag
        return attached

    def _first_forward(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if not self._resolved:
            self._resolve(followers(model, {**kwargs} if kwargs and not args else args))

    def _resolve(self, norms: Mapping[str, list[str]]) -> None:
        """Give each following norm layer its convolution's mask."""
        self._resolved = True
        for conv, names in norms.items():
            if conv in self.masks:
                self.channels.update(dict.fromkeys(names, self.masks[conv]))
        self._claim()

    def _claim(self) -> None:
        """Work out what may move; take every other parameter out of the backward pass."""
        known = set(self._movable)
        self._movable = movable(self.model, self.channels, spare=not self._resolved)
        for name, parameter in self.model.named_parameters():
            if name not in self._movable:
                parameter.requires_grad_(False)
            elif name not in known:
                self._handles.append(parameter.register_hook(self._gradient_hook(name)))

    def _gradient_hook(self, name: str) -> Any:
        def hook(gradient: Tensor) -> Tensor:
            found = self._movable.get(name)  # chosen, not multiplied: 0 * NaN is NaN
            return (
                torch.zeros_like(gradient)
                if found is None
                else torch.where(found.mask, gradient, 0.0)
            )

        return hook

    def _kept(self, model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """(name, value, what of it may move) of every parameter, and every statistic that is not
        free to move.
        """
        for name, parameter in model.named_parameters():
            found = self._movable.get(name)
            yield name, parameter.detach(), None if found is None else found.mask
        if self.batchnorm == "train":
            return
        for name, module in _norms(model):
            moves = self._own_statistics(name)
            for key, value in module.named_buffers(recurse=False):
                if moves is None or value.ndim:
                    yield f"{name}.{key}", value, None if moves is None else moves.to(value.device)

    def _own_statistics(self, name: str) -> Tensor | None:
        """The channels of a norm layer whose statistics follow the batches; None where none
        does.
        """
        moves = self.channels.get(name) if self.batchnorm == "per_channel" else None
        return moves if moves is not None and bool(moves.any()) else None

    def _route(self, gather: str) -> None:
        for name, mask in self.masks.items():
            conv = self.model.get_submodule(name)
            if (
                found := sparse_backward.route(
                    conv, mask, layer=self.flow == "layer", gather=gather
                )
            ) is not None:
                self._routes[name] = found

    def _hook(self) -> None:
        for name, norm in _norms(self.model):
            if self.batchnorm != "train":  # whatever mode a loop puts the model in
                self._handles.append(norm.register_forward_pre_hook(_use_running_statistics))
            if self.batchnorm == "per_channel" and norm.running_mean is not None:
                self._handles.append(norm.register_forward_hook(self._mixed_statistics(name)))
        if self.flow == "layer":
            for name in self.masks.keys() - self._routes.keys():
                conv = self.model.get_submodule(name)
                self._handles.append(conv.register_forward_hook(_layer(~self.masks[name])))

    def _mixed_statistics(self, name: str) -> Any:
        """Batch statistics for the targeted channels, the running ones at the start for the
        others.
        """
        means, variances = (
            self._snapshot[f"{name}.running_mean"],
            self._snapshot[f"{name}.running_var"],
        )

        def hook(norm: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            moves = self._own_statistics(name)
            if moves is None or not self.model.training:
                return output
            mean, var = norm.running_mean.clone(), norm.running_var.clone()
            norm.num_batches_tracked += 1
            share = 1.0 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            own = functional.batch_norm(
                args[0], mean, var, norm.weight, norm.bias, True, share, norm.eps
            )
            with torch.no_grad():
                norm.running_mean.copy_(torch.where(moves, mean, means))
                norm.running_var.copy_(torch.where(moves, var, variances))
            fixed = functional.batch_norm(
                args[0], means, variances, norm.weight, norm.bias, False, 0.0, norm.eps
            )
            return torch.where(_over_channels(moves, output, output.ndim - 2), own, fixed)

        return hook


def _layer(useful: Tensor) -> Any:
    """The TGD layer: identity forward; backward without the useful channels.

    Another one after the BN that follows (the paper's Fig. 1) would change nothing: a BN in any
    mode keeps channels apart, so that all that passes through its useful channels ends here, and
    its own affine is masked in any case.
    """

    def hook(conv: Any, args: Any, output: Tensor) -> None:
        if output.requires_grad:
            stopped = _over_channels(useful, output, conv.weight.ndim - 2)
            output.register_hook(
                lambda g: torch.where(stopped, 0.0, g)
            )  # on the tensor: an in-place ReLU may follow

    return hook


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((n, m) for n, m in model.named_modules() if isinstance(m, BATCHNORM_LAYERS))


def _over_channels(mask: Tensor, output: Tensor, spatial: int) -> Tensor:
    return mask.to(output.device).reshape(
        -1, *[1] * spatial
    )  # an unbatched output has no axis before the channels


def _use_running_statistics(norm: nn.Module, args: Any) -> None:
    norm.training = False
