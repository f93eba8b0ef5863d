"""The state of a network that is to keep its bits: every parameter and every buffer, but for what
is known to be free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .copies import local, shard_like
from .masks import bits_equal


@dataclasses.dataclass(eq=False)
class Place:
    """Where a tensor lies in a module, what it held at the start, and which of it may move.

    `free`: None (nothing) or a mask that broadcasts over the tensor, True = may move. `seen` and
    `version` tell whether a buffer was written since it was last as it should be.
    """

    name: str
    module: nn.Module
    key: str
    start: Tensor | None
    free: Tensor | None = None
    wholly_free: bool = False
    hooked: nn.Parameter | None = None
    seen: Tensor | None = None
    version: int = -1

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that lies there now; RuntimeError where it was taken away."""
        parameter = self.module._parameters.get(self.key)
        if parameter is None:
            raise RuntimeError(
                f"parameter {self.name!r} is no longer in its module: wrap, prune or parametrise a "
                "network before TGD attaches"
            )

        return parameter

    @torch.no_grad()
    def fit(self, value: Tensor) -> Tensor:
        """The start, on the device and in the shard of what lies there now.

        `value`: what of the tensor lies in this process. Raises RuntimeError where its type or
        shape is another one.
        """
        start = self.start
        assert start is not None
        if _fits(value, start) and value.device == start.device:
            return start

        if value.dtype != start.dtype:
            raise RuntimeError(
                f"{self.name}: expected {start.dtype} as when TGD attached, got {value.dtype}; "
                "change a network's type before"
            )

        now = self.module._parameters.get(self.key)
        if value.shape != start.shape and now is not None and now.shape == start.shape:
            # A shard of it (FSDP2).
            if self.free is not None:
                self.free = shard_like(self.free.expand(start.shape), now)
            start = shard_like(start, now)

        if value.shape != start.shape:
            raise RuntimeError(
                f"{self.name}: expected shape {tuple(start.shape)} as when TGD attached, "
                f"got {tuple(value.shape)}"
            )

        self.start = start.to(value.device)
        if self.free is not None:
            self.free = self.free.to(value.device)

        return self.start

    def open(self, free: Tensor | None) -> None:
        """Say which entries may move, as a mask over the whole parameter."""
        value = self.module._parameters.get(self.key)
        if free is not None and value is not None and local(value) is not value:
            free = shard_like(free.expand(value.shape), value)

        self.free = free


class KeptState:
    """Parameters and buffers of a model as they were when this was made.

    What is free is said by `Place.free` and `Place.wholly_free`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters: list[Place] = []
        self.buffers: list[Place] = []
        self.required_grad: dict[str, bool] = {}
        seen: set[int] = set()

        for name, module in model.named_modules():
            prefix = f"{name}." if name else ""

            for key, parameter in module._parameters.items():
                if parameter is None or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                start = local(parameter.detach()).clone()
                self.parameters.append(Place(prefix + key, module, key, start))
                self.required_grad[prefix + key] = parameter.requires_grad

            for key, buffer in module._buffers.items():
                copy_of = None if buffer is None else local(buffer.detach()).clone()
                place = Place(prefix + key, module, key, copy_of)
                _remember(place, buffer)
                self.buffers.append(place)

    def __iter__(self) -> Iterator[Place]:
        yield from self.parameters
        yield from self.buffers

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything that is not free back to its bits at the start."""
        frozen: list[Tensor] = []
        starts: list[Tensor] = []

        for place in self.parameters:
            value = local(place.parameter.detach())
            start = place.fit(value)

            if place.free is None:
                frozen.append(value)
                starts.append(start)
            else:
                # Chosen, not multiplied by a mask: 0 * NaN is NaN.
                torch.where(place.free, value, start, out=value)

        if frozen:
            torch._foreach_copy_(frozen, starts)

        self.restore_buffers(self.buffers)

    @torch.no_grad()
    def restore_buffers(self, places: list[Place], *, written_only: bool = False) -> None:
        """The same for buffers; `written_only`: not those that nobody wrote to, as seen by
        autograd's counter, since writing may disturb a backward pass that is to come.
        """
        for place in places:
            if place.wholly_free:
                continue

            value = place.module._buffers.get(place.key)
            if written_only and _is_as_remembered(place, value):
                continue

            if place.start is None or value is None or not _fits(value, place.start):
                start = place.start
                value = None if start is None else start.clone()
                place.module._buffers[place.key] = value
            else:
                start = place.fit(local(value))
                if place.free is None:
                    local(value).copy_(start)
                else:
                    torch.where(place.free, value, start, out=value)

            _remember(place, value)

    def unchanged(self) -> bool:
        """Whether everything that is not free has the bits of the start."""
        for place in self.parameters:
            value = local(place.parameter.detach())
            start = place.fit(value)
            if not bits_equal(value, start, place.free):
                return False

        return all(_same(place, place.module._buffers.get(place.key)) for place in self.buffers)

    def in_model(self, model: nn.Module) -> Iterator[tuple[Place, Tensor | None]]:
        """Each place with what lies under its name in another model of the same make."""
        for place in self:
            path, _, key = place.name.rpartition(".")
            module = model.get_submodule(path)
            of_kind = module._parameters if key in module._parameters else module._buffers
            value = of_kind.get(key)
            yield place, None if value is None else local(value.detach())

    @torch.no_grad()
    def restore_other(self, model: nn.Module) -> None:
        """`restore` for another model of the same make."""
        for place, value in self.in_model(model):
            if place.wholly_free or value is None or place.start is None:
                continue

            start = place.start.to(value.device)
            if place.free is None:
                value.copy_(start)
            else:
                torch.where(place.free.to(value.device), value, start, out=value)

    def unchanged_other(self, model: nn.Module) -> bool:
        """`unchanged` for another model of the same make."""
        return all(_same(place, value) for place, value in self.in_model(model))


def put_back_hook(state: KeptState, places: list[Place]) -> Callable[..., None]:
    """A forward pre-hook that puts buffers back which an earlier pass has moved."""

    def hook(module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            return  # the optimizer's next step does it

        state.restore_buffers(places, written_only=True)

    return hook


def _same(place: Place, value: Tensor | None) -> bool:
    """Whether a tensor holds what it did at the start, where it is not free."""
    if place.wholly_free:
        return True
    if value is None or place.start is None:
        return value is None and place.start is None
    if not _fits(value, place.start):
        return False

    start = place.start.to(value.device)
    free = None if place.free is None else place.free.to(value.device)
    return bits_equal(value, start, free)


def _fits(value: Tensor, start: Tensor) -> bool:
    return value.shape == start.shape and value.dtype == start.dtype


def _remember(place: Place, value: Tensor | None) -> None:
    place.seen = value
    place.version = -1 if value is None or value.is_inference() else value._version


def _is_as_remembered(place: Place, value: Tensor | None) -> bool:
    if value is None or value.is_inference():
        return value is place.seen

    return value is place.seen and value._version == place.version
