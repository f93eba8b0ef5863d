"""What is attached to a model: which entries of its state may move, and the hooks and routes that
see to it.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
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
from .layer_kinds import BATCHNORM_LAYERS
from .targets import TargetedEntries, targeted_entries

ATTACHED: weakref.WeakSet[Attachment] = weakref.WeakSet()


class Attachment:
    """TGD's hold on a model, from `attach` to `release`.

    `state` is what every step puts back; `targets`, by parameter, what may move; `norms_known`
    whether the norm layers that follow the convolutions have been found.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor], flow: str, batchnorm: str
    ) -> None:
        self.model = model
        self.masks = masks
        self.flow = flow
        self.batchnorm = batchnorm

        # Targeted channels of convolutions and, once known, of the norm layers that follow them.
        self._channels = dict(masks)
        self.norms_known = False
        self.targets: dict[str, TargetedEntries] = {}

        # What every step and the end put back.
        self.state = KeptState(model)
        self._moved_by_passes: list[Place] = []
        self._was_training = {norm: norm.training for _, norm in statistics_layers(model)}
        self.n_restored = 0

        self.attached = True
        self.routes: dict[str, sparse_backward.Route] = {}
        self._handles: list[Any] = []

    def attach(self, gather: str, example_input: Any) -> None:
        """Put hooks and routes in place; after an error nothing of them is left."""
        try:
            self._attach_routes(gather)

            if example_input is not None:
                self._add_norms(following_norms(self.model, example_input))
            else:
                self._choose_parameters()
                hook = ModuleHook(self._first_forward)
                handle = self.model.register_forward_pre_hook(hook, with_kwargs=True)
                self._handles.append(handle)

            self._hook_norms()
            self._hook_buffers()

            if self.flow == "layer":
                self._hook_tgd_layers()

            self._handles.extend(step_hooks.listen(self))
            ATTACHED.add(self)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Take every hook off and give flags and modes back."""
        if not self.attached:
            return

        self.attached = False
        ATTACHED.discard(self)

        for handle in (*self._handles, *self.routes.values()):
            handle.remove()

        self._handles.clear()
        self.routes.clear()

        for place in self.state.parameters:
            parameter = place.module._parameters.get(place.key)
            if parameter is not None:
                parameter.requires_grad_(self.state.required_grad[place.name])

        for norm, was_training in self._was_training.items():
            norm.training = was_training

    def unchanged(self) -> bool:
        """Whether everything useful has the bits of the start; buffers that forward passes have
        moved since the last step are put back before.
        """
        self.state.restore_buffers(self._moved_by_passes)
        return self.state.unchanged()

    # At every step.

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Mask gradients that autograd's hooks did not see, as
        those of sharded or replaced parameters.
        """
        if not self._moves(optimizer):
            return

        for place in self.state.parameters:
            parameter = place.parameter
            if place.free is None or parameter is place.hooked or parameter.grad is None:
                continue

            gradient = local(parameter.grad)
            place.fit(gradient)
            gradient.masked_fill_(~place.free, 0.0)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Put every useful bit back, if it was a step of this model's parameters.

        The restore makes it exact whatever the optimizer adds: decay, momentum of an earlier round,
        NaN.
        """
        if self._moves(optimizer):
            self.state.restore()
            self.n_restored += 1

    def _moves(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimizer holds a parameter of the model."""
        own = {id(place.parameter) for place in self.state.parameters}
        groups: list[dict[str, Any]] = optimizer.param_groups
        return any(id(parameter) in own for group in groups for parameter in group["params"])

    # What may move.

    def _first_forward(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """A forward pre-hook: the first input serves as the example."""
        if self.norms_known:
            return

        only_keywords = kwargs and not args
        self._add_norms(following_norms(model, {**kwargs} if only_keywords else args))

    def _add_norms(self, norms_of: Mapping[str, list[str]]) -> None:
        """Give each norm layer that follows a convolution its convolution's mask."""
        self.norms_known = True

        for conv, norms in norms_of.items():
            if conv in self.masks:
                self._channels.update(dict.fromkeys(norms, self.masks[conv]))

        self._choose_parameters()

    def _choose_parameters(self) -> None:
        """Work out the targeted entries; take every other parameter out of the backward pass."""
        self.targets = targeted_entries(
            self.model, self._channels, include_candidates=not self.norms_known
        )

        for place in self.state.parameters:
            entries = self.targets.get(place.name)
            place.open(None if entries is None else entries.mask)
            place.parameter.requires_grad_(entries is not None)

        self._hook_gradients()
        self._choose_buffers()

    def _choose_buffers(self) -> None:
        """Work out which buffers are free, and which may be moved by forward passes."""
        norms = {norm: name for name, norm in statistics_layers(self.model)}
        whole = _inside_open_convolutions(self.model, self.masks)
        self._moved_by_passes = []

        for place in self.state.buffers:
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
                self.routes[name] = route

    def _hook_gradients(self) -> None:
        """Mask the gradient of every parameter that has targets, once."""
        for place in self.state.parameters:
            parameter = place.parameter
            if place.name not in self.targets or place.hooked is parameter:
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
            entries = self.targets.get(name)

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
        start = {p.key: p for p in self.state.buffers if p.module is norm}
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
            hook = ModuleHook(put_back_hook(self.state, places))
            self._handles.append(module.register_forward_pre_hook(hook, prepend=True))

    def _hook_tgd_layers(self) -> None:
        """A TGD layer after each masked convolution, but where its backward pass is sparse: there
        the useful channels are left out already.
        """
        for name in self.masks.keys() - self.routes.keys():
            conv = self.model.get_submodule(name)
            hook = ModuleHook(_tgd_layer(~self.masks[name]))
            self._handles.append(conv.register_forward_hook(hook))


def check_free(model: nn.Module) -> None:
    """ValueError where something is attached to a part of the model already."""
    parameters = {id(parameter) for parameter in model.parameters()}

    for other in ATTACHED:
        if any(id(parameter) in parameters for parameter in other.model.parameters()):
            raise ValueError("TGD is attached to this model already; detach it first")


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


def _inside_open_convolutions(model: nn.Module, masks: Mapping[str, Tensor]) -> set[nn.Module]:
    """Convolutions all of whose kernels are targeted, with what computes their weights: buffers
    there belong to those kernels alone.
    """
    inside: set[nn.Module] = set()

    for name, mask in masks.items():
        if bool(mask.all()):
            inside.update(model.get_submodule(name).modules())

    return inside
