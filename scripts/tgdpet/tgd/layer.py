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

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import unserializable_hook

from . import sparse_backward, step_hooks
from .batch_statistics import (
    mixed_statistics_hook,
    over_channels,
    statistics_layers,
    use_running_statistics,
)
from .connectivity import following_norms
from .copies import ModuleHook, local
from .kept_state import KeptState, Place, put_back_hook
from .layer_kinds import BATCHNORM_LAYERS, CONVS
from .masks import checked_mask
from .scoring import score_kernels, select
from .targets import TargetedEntries, check_state, targeted_entries

FLOWS = ("parameter", "layer")
BATCHNORM_MODES = ("eval", "per_channel", "train")
ATTACHED: weakref.WeakSet[TGD] = weakref.WeakSet()


class TGD:
    """Attach targeted gradient descent to a model; a context manager, or call `detach` at the end.

    Whoever steps an optimizer with parameters of the model: every useful bit is put back at once.

    - `masks`: module name -> bool (out channels,), True = targeted, may be updated; modules not
      named are frozen. Or `phi` (a KSE) or `fraction` (of all kernels), as in `select`, with an
      `example_input`: kernels are scored and chosen here, and `masks` and `scores` say how.
    - `flow`: "parameter" (the paper's eq. 4: the true gradient flows, only the targets are
      updated) or "layer" (its Fig. 1: dL/dY of useful channels is zeroed after each convolution
      and its BN).
    - `batchnorm`: "eval" (running statistics for all channels), "per_channel" (batch statistics for
      the targets only), "train". Holds while the model is in train mode, whatever calls
      `model.train()`. Instance norm that tracks statistics knows "eval" and "train".
    - `gather`: "auto", "always" or "never" leave frozen channels out of the convolutions' backward
      pass (`sparse_backward`).
    - `example_input`: used to find the norm layer that follows each convolution; without it the
      first forward is, which torch.compile cannot trace.

    A parameter with several owners moves only where all of them allow it; `requires_grad` of what
    the masks name is switched on until the end. Raises ValueError naming module, expected and given
    for masks that do not fit; a model is then as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor] | None = None,
        *,
        phi: float | None = None,
        fraction: float | None = None,
        flow: str = "parameter",
        batchnorm: str = "eval",
        gather: str = "auto",
        example_input: Any = None,
    ) -> None:
        _check_option("flow", flow, FLOWS)
        _check_option("batchnorm", batchnorm, BATCHNORM_MODES)
        _check_option("gather", gather, sparse_backward.GATHERS)
        check_state(model)
        _check_free(model)

        self.model = model
        self.flow = flow
        self.batchnorm = batchnorm
        self.scores: dict[str, Tensor] = {}

        if masks is None:
            self.scores, masks = _choose(model, phi, fraction, example_input)
        elif phi is not None or fraction is not None:
            raise ValueError("masks: expected masks, or phi or fraction to choose them, got both")

        self.masks = {name: checked_mask(model, name, mask) for name, mask in masks.items()}

        # Targeted channels of convolutions and, once known, of the norm layers that follow them.
        self._channels = dict(self.masks)
        self._norms_known = False
        self._targets: dict[str, TargetedEntries] = {}  # by parameter

        # What every step and `detach` put back.
        self._state = KeptState(model)
        self._was_training = {norm: norm.training for _, norm in statistics_layers(model)}
        self._restored = False

        self._attached = True
        self._handles: list[Any] = []
        self._routes: dict[str, sparse_backward.Route] = {}

        try:
            self._attach(gather, example_input)
        except BaseException:
            self._release()
            raise

    def _attach(self, gather: str, example_input: Any) -> None:
        self._attach_routes(gather)

        if example_input is not None:
            self._add_norms(following_norms(self.model, example_input))
        else:
            self._choose_parameters()
            hook = ModuleHook(self._first_forward)
            self._handles.append(self.model.register_forward_pre_hook(hook, with_kwargs=True))

        self._hook_norms()
        self._hook_buffers()

        if self.flow == "layer":
            self._hook_tgd_layers()

        self._handles.extend(step_hooks.listen(self))
        ATTACHED.add(self)

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

        An optimizer of torch needs no such call: its own `step` does the same.
        """
        self._restored = False

        if scaler is not None:
            scaler.step(optimizer)
        else:
            optimizer.step()

        if not self._restored:
            self.restore()

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called at any optimizer's step: masks gradients that autograd's hooks did not see, as
        those of sharded or replaced parameters.
        """
        if not self._moves(optimizer):
            return

        for place in self._state.parameters:
            parameter = place.parameter
            if place.free is None or parameter is place.hooked or parameter.grad is None:
                continue

            gradient = local(parameter.grad)
            place.fit(gradient)
            gradient.masked_fill_(~place.free, 0.0)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called at any optimizer's step: puts every useful bit back if it is of this model.

        The restore makes it exact whatever the optimizer adds: decay, momentum of an earlier round,
        NaN.
        """
        if self._moves(optimizer):
            self.restore()
            self._restored = True

    def _moves(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimizer holds a parameter of the model."""
        own = {id(place.parameter) for place in self._state.parameters}
        groups: list[dict[str, Any]] = optimizer.param_groups
        return any(id(parameter) in own for group in groups for parameter in group["params"])

    def restore(self, model: nn.Module | None = None) -> None:
        """Put every useful parameter, and every buffer that is to stay, back to its bits at the
        start.

        `model`: another model of the same make, such as an average of the weights; default: the
        model itself.
        """
        if model is None or model is self.model:
            self._state.restore()
        else:
            self._state.restore_other(model)

    def unchanged(self, model: nn.Module | None = None) -> bool:
        """Whether everything useful has the bits of the start, compared as integers; `model` as in
        `restore`.

        Buffers that forward passes have moved since the last step are put back before.
        """
        if model is not None and model is not self.model:
            return self._state.unchanged_other(model)

        self._state.restore_buffers(self._moved_by_passes)
        return self._state.unchanged()

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
        """Remove every hook and check the bits; RuntimeError if a useful one moved (by other means
        than an optimizer of torch).

        Nothing is checked if the model never ran: nothing was trained, as when a finished training
        is resumed.
        """
        was_attached = self._attached
        try:
            moved = was_attached and self._norms_known and not self.unchanged()
        finally:
            self._release()

        if moved:
            raise RuntimeError(
                "useful kernels have changed: something other than an optimizer of torch has "
                "written to them; call TGD.restore() after it"
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
            return

        # A step may have been interrupted half-way.
        try:
            if self._attached and self._norms_known:
                self.restore()
        finally:
            self._release()

    def __deepcopy__(self, memo: dict[int, Any]) -> TGD:
        """Itself: what holds both a model and its TGD may be copied; the copied model is a plain
        one.
        """
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "TGD: is attached to a network of this process and cannot be sent or saved; send the "
            "network, which goes as a plain one, and attach TGD there"
        )

    def _release(self) -> None:
        """Take every hook off and give flags and modes back."""
        if not self._attached:
            return

        self._attached = False
        ATTACHED.discard(self)

        for handle in (*self._handles, *self._routes.values()):
            handle.remove()

        self._handles.clear()
        self._routes.clear()

        for place in self._state.parameters:
            parameter = place.module._parameters.get(place.key)
            if parameter is not None:
                parameter.requires_grad_(self._state.required_grad[place.name])

        for norm, was_training in self._was_training.items():
            norm.training = was_training

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
        self._targets = targeted_entries(
            self.model, self._channels, include_candidates=not self._norms_known
        )

        for place in self._state.parameters:
            entries = self._targets.get(place.name)
            place.open(None if entries is None else entries.mask)
            place.parameter.requires_grad_(entries is not None)

        self._hook_gradients()
        self._choose_buffers()

    def _choose_buffers(self) -> None:
        """Work out which buffers are free, and which may be moved by forward passes."""
        norms = {norm: name for name, norm in statistics_layers(self.model)}
        whole = _inside_open_convolutions(self.model, self.masks)
        self._moved_by_passes: list[Place] = []

        for place in self._state.buffers:
            norm = norms.get(place.module)

            if norm is None:
                place.wholly_free = place.module in whole
                if not place.wholly_free:
                    self._moved_by_passes.append(place)
                continue

            channels = self._targeted_statistics(norm)
            is_counter = place.start is not None and place.start.ndim == 0
            place.free = channels
            place.wholly_free = self.batchnorm == "train" or (channels is not None and is_counter)

    def _targeted_statistics(self, norm: str) -> Tensor | None:
        """The channels of a norm layer whose statistics follow the batches; None where none
        does.
        """
        module = self.model.get_submodule(norm)
        if self.batchnorm != "per_channel" or not isinstance(module, BATCHNORM_LAYERS):
            return None

        channels = self._channels.get(norm)

        if channels is None or not bool(channels.any()):
            return None

        return channels

    # Routes and hooks.

    def _attach_routes(self, gather: str) -> None:
        """Leave frozen channels out of the backward pass where that saves time."""
        for name, mask in self.masks.items():
            conv = self.model.get_submodule(name)
            route = sparse_backward.route(conv, mask, layer=self.flow == "layer", gather=gather)

            if route is not None:
                self._routes[name] = route

    def _hook_gradients(self) -> None:
        """Mask the gradient of every parameter that has targets, once."""
        for place in self._state.parameters:
            parameter = place.parameter
            if place.name not in self._targets or place.hooked is parameter:
                continue

            # FSDP2 leaves gradients at its shards without autograd: see `before_step`.
            if local(parameter) is parameter:
                hook = self._gradient_hook(place.name)
                self._handles.append(parameter.register_hook(hook))
                place.hooked = parameter

    def _gradient_hook(self, name: str) -> Callable[[Tensor], Tensor]:
        """The mask M of eq. 4 on one parameter's gradient."""

        @unserializable_hook
        def hook(gradient: Tensor) -> Tensor:
            entries = self._targets.get(name)

            if entries is None:
                return torch.zeros_like(gradient)

            # Chosen, not multiplied: 0 * NaN is NaN.
            return torch.where(entries.mask.to(gradient.device), gradient, 0.0)

        return hook

    def _hook_norms(self) -> None:
        for name, norm in statistics_layers(self.model):
            if self.batchnorm != "train":
                before = ModuleHook(use_running_statistics)
                self._handles.append(norm.register_forward_pre_hook(before))

            mixes = isinstance(norm, BATCHNORM_LAYERS) and norm.running_mean is not None
            if self.batchnorm == "per_channel" and mixes:
                after = ModuleHook(self._mixed_statistics(name, norm))
                self._handles.append(norm.register_forward_hook(after))

    def _mixed_statistics(self, name: str, norm: nn.Module) -> Callable[..., Tensor]:
        start = {p.key: p for p in self._state.buffers if p.module is norm}
        return mixed_statistics_hook(
            self.model,
            lambda: self._targeted_statistics(name),
            start["running_mean"],
            start["running_var"],
        )

    def _hook_buffers(self) -> None:
        """Put buffers back that a forward pass has moved, before the module's next one."""
        by_module: dict[nn.Module, list[Place]] = defaultdict(list)
        for place in self._moved_by_passes:
            by_module[place.module].append(place)

        for module, places in by_module.items():
            hook = ModuleHook(put_back_hook(self._state, places))
            self._handles.append(module.register_forward_pre_hook(hook, prepend=True))

    def _hook_tgd_layers(self) -> None:
        """A TGD layer after each masked convolution, but where its backward pass is sparse: there
        the useful channels are left out already.
        """
        for name in self.masks.keys() - self._routes.keys():
            conv = self.model.get_submodule(name)
            hook = ModuleHook(_tgd_layer(~self.masks[name]))
            self._handles.append(conv.register_forward_hook(hook))


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

        n_spatial = len(conv.kernel_size)
        stopped = over_channels(useful, output, n_spatial)

        # On the tensor, not the module: an in-place ReLU may follow.
        output.register_hook(lambda gradient: torch.where(stopped, 0.0, gradient))

    return hook


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")


def _check_free(model: nn.Module) -> None:
    parameters = {id(parameter) for parameter in model.parameters()}

    for other in ATTACHED:
        if any(id(parameter) in parameters for parameter in other.model.parameters()):
            raise ValueError("TGD is attached to this model already; detach it first")


def _choose(
    model: nn.Module, phi: float | None, fraction: float | None, example_input: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores of all kernels, and masks by phi or fraction."""
    if (phi is None) == (fraction is None):
        raise ValueError("masks: expected masks, or either phi or fraction to choose them")
    if example_input is None:
        raise ValueError("example_input: is needed to score the kernels, got None")

    scores = score_kernels(model, example_input)
    if phi is None:
        return scores, select(scores, fraction=fraction)

    return scores, select(scores, phi)


def _inside_open_convolutions(model: nn.Module, masks: Mapping[str, Tensor]) -> set[nn.Module]:
    """Convolutions all of whose kernels are targeted, with what computes their weights: buffers
    there belong to those kernels alone.
    """
    inside: set[nn.Module] = set()

    for name, mask in masks.items():
        if bool(mask.all()):
            inside.update(model.get_submodule(name).modules())

    return inside
