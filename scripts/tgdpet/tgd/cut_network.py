"""A network cut at its convolutions: each returns a leaf tensor, so that what one reads comes from
leaves alone.

The leaves hold the convolution's true output in one run (the control flow of the real data) and
random values in the others, as a kernel that ReLU silences for one input is connected all the same.
Norm layers pass gradients one to one: they would mix channels (GroupNorm) or hide them (gamma = 0).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
BATCHNORM_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORM_LAYERS = (
    *BATCHNORM_LAYERS,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
NORMALISING = frozenset(
    getattr(place, name)
    for place in (functional, torch)
    for name in ("batch_norm", "group_norm", "layer_norm", "instance_norm", "rms_norm", "local_response_norm",
                 "normalize")
    if hasattr(place, name)
)  # fmt: skip
INPUT = "<input>"


class TraceError(ValueError):
    """The network cannot be traced; the message names the module."""


@dataclasses.dataclass
class Record:
    """One run: leaves (module, tensor, channel axis); what convolutions and norms read (the same);
    the outputs.
    """

    leaves: list[tuple[str, Tensor, int]] = dataclasses.field(default_factory=list)
    convs: list[tuple[str, Tensor, int]] = dataclasses.field(default_factory=list)
    norms: list[tuple[str, Tensor, int]] = dataclasses.field(default_factory=list)
    outputs: list[Tensor] = dataclasses.field(default_factory=list)

    @property
    def calls(self) -> list[tuple[str, torch.Size]]:
        """The convolutions in order of their calls, with the shapes that they read."""
        return [(n, x.shape) for n, x, _ in self.convs]


@dataclasses.dataclass(frozen=True)
class Draw:
    """Random leaves: a seed, a sign (ReLU passes either one or the other) and channels of one
    module drawn anew.
    """

    seed: int
    sign: int = 1
    module: str | None = None
    channels: Tensor | None = None


class CutNetwork:
    """A copy of `model`, ready to run on `example_input` (a tensor, or a tuple or mapping of
    arguments).

    Raises TraceError for a model without convolutions.
    """

    def __init__(self, model: nn.Module, example_input: Any) -> None:
        self.twin = copy.deepcopy(getattr(model, "_orig_mod", model))  # what torch.compile wraps
        prefix = "_orig_mod." if hasattr(model, "_orig_mod") else ""
        self.names = {m: prefix + n for n, m in self.twin.named_modules()}
        self.convs: dict[str, Any] = {n: m for m, n in self.names.items() if isinstance(m, CONVS)}
        if not self.convs:
            raise TraceError(
                f"{type(model).__name__}: no convolution found; expected at least one of nn.Conv1d to ConvTranspose3d"
            )
        _drop_hooks(self.twin)
        self.example, self.device = example_input, next(iter(self.convs.values())).weight.device
        self.called: set[str] = set()
        self._shapes: dict[Any, tuple[torch.Size, torch.dtype]] = {}
        self._zeros = self._zero_entries()
        self._record, self._open = Record(), False
        self._draw: Draw | None = None
        for name, conv in self.convs.items():
            conv.forward = self._stub(name, conv)
        for module, name in self.names.items():
            if isinstance(module, NORM_LAYERS):
                module.register_forward_pre_hook(self._note_norm(name), with_kwargs=True)

    def run(self, draw: Draw | None = None) -> Record:
        """Run once, with the convolutions' true outputs as leaves or, with `draw`, random ones.

        Raises TraceError where a convolution with the network's own weight is no module's.
        """
        self._record, self._draw = Record(), draw
        with ExitStack() as stack:
            cuda = [self.device] if self.device.type == "cuda" else []
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # no TF32
            stack.enter_context(torch.random.fork_rng(cuda))
            stack.enter_context(self._state(draw))
            torch.manual_seed(
                0 if draw is None else draw.seed
            )  # dropout drops the same when values are redrawn
            if draw is None:
                stack.enter_context(_Guard(self.twin, self.names))
            stack.enter_context(_PassNorms(true_values=draw is None and not self.twin.training))
            args, kwargs = self._arguments()
            self._open = True
            try:
                output = self.twin(*args, **kwargs)
            finally:
                self._open = (
                    False  # activation checkpointing calls modules again in the backward pass
                )
        record = self._record
        record.outputs = list(_tensors(output))
        self.called |= {n for n, _, _ in record.convs}
        return record

    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments whose float tensors are leaves too (the network's own
        input).
        """

        def leaf(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            out = value.detach().to(self.device).clone()
            if not out.is_floating_point():
                return out
            self._record.leaves.append((INPUT, out.requires_grad_(), 0))
            return out.clone()

        if isinstance(self.example, Mapping):
            return (), {k: leaf(v) for k, v in self.example.items()}
        if isinstance(self.example, Sequence):
            return tuple(leaf(v) for v in self.example), {}
        return (leaf(self.example),), {}

    def _stub(self, name: str, conv: Any) -> Callable[..., Tensor]:
        compute = conv.forward

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            x = _first(name, args, kwargs)
            axis = -1 - len(
                conv.kernel_size
            )  # counted from the end, as an input without batch axis is allowed
            if self._open:
                self._record.convs.append(
                    (name, x.clone(), axis)
                )  # the original may be changed in place later
            values = self._values(
                name, x, axis, lambda: compute(*args, **kwargs), len(args) + len(kwargs) == 1
            )
            leaf = values.requires_grad_()
            if self._open:
                self._record.leaves.append((name, leaf, axis))
            return leaf.clone()

        return forward

    def _values(
        self, name: str, x: Tensor, axis: int, compute: Callable[[], Tensor], plain: bool
    ) -> Tensor:
        if self._draw is None:
            return compute().detach().clone()
        key = (name, x.shape, x.dtype)
        if key not in self._shapes or not plain:
            with torch.no_grad():
                out = compute()
            self._shapes[key] = (out.shape, out.dtype)
        shape, dtype = self._shapes[key]
        draw, call = self._draw, len(self._record.convs)
        values = _normal(shape, 1_000_003 * draw.seed + call)
        if draw.module == name and draw.channels is not None:
            over = draw.channels.reshape(-1, *[1] * (-1 - axis))
            values = torch.where(over, _normal(shape, -1 - 1_000_003 * draw.seed - call), values)
        return (draw.sign * values).to(x.device, dtype)

    def _note_norm(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._open:
                self._record.norms.append((name, _first(name, args, kwargs).clone(), 1))

        return hook

    def _zero_entries(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(parameter, its zeros, what stands for them) outside convolutions: a zero gate hides what
        it gates.
        """
        kernels = {id(p) for m in self.convs.values() for p in m.parameters()}
        found = []
        for parameter in self.twin.parameters():
            if id(parameter) not in kernels and parameter.is_floating_point():
                stand_in = 0.5 + 0.5 * torch.rand(
                    parameter.shape, generator=torch.Generator().manual_seed(2)
                )
                found.append((parameter, parameter == 0, stand_in.to(parameter)))
        return found

    @contextmanager
    def _state(self, draw: Draw | None) -> Iterator[None]:
        """Zero parameters filled for a random run; buffers afterwards as before."""
        before = [(b, b.clone()) for b in self.twin.buffers()]
        with torch.no_grad():
            for parameter, zero, stand_in in self._zeros:
                parameter.copy_(torch.where(zero, 0.0 if draw is None else stand_in, parameter))
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)


def _normal(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _first(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x = args[0] if args else kwargs.get("input")
    if not isinstance(x, Tensor):
        raise TraceError(
            f"module {name!r}: expected a tensor as its first argument, got {type(x).__name__}"
        )
    return x


def _drop_hooks(model: nn.Module) -> None:
    """Backward hooks, and those of this package; a forward hook of the user's may be part of the
    network.
    """
    for module in model.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
        for table in (module._forward_hooks, module._forward_pre_hooks):
            for key in [
                k
                for k, h in table.items()
                if getattr(h, "__module__", "").split(".")[0] == "tgdpet"
            ]:
                del table[key]


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in a network's output: nested sequences, mappings, dataclasses."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _tensors(list(vars(leaf).values()))


class _PassNorms(TorchFunctionMode):
    """Normalising functions hand gradients on one to one; their values are true, or those of their
    input.
    """

    def __init__(self, *, true_values: bool) -> None:
        super().__init__()
        self.true_values = true_values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in NORMALISING:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        return x + (func(*args, **kwargs) - x).detach() if self.true_values else x.clone()


class _Guard(TorchDispatchMode):
    """Refuses convolutions with the network's own parameters that run outside a convolution
    module.
    """

    def __init__(self, model: nn.Module, names: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.names, self.stack = names, [model]
        self.owned = {p.data_ptr() for p in model.parameters() if p.numel()}

    def __enter__(self) -> Any:
        self.handles = [m.register_forward_pre_hook(self._enter) for m in self.names]
        self.handles += [m.register_forward_hook(self._leave) for m in self.names]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*error)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        hidden = func.overloadpacket is torch.ops.aten.convolution and not isinstance(
            self.stack[-1], CONVS
        )
        if hidden and args[1].data_ptr() in self.owned:
            where = self.names[self.stack[-1]] or type(self.stack[-1]).__name__
            raise TraceError(
                f"module {where!r}: runs a convolution by a function call, not as a module"
            )
        return func(*args, **(kwargs or {}))
