"""Which kernels feed which convolution, in any network: cut it at its convolutions and probe with autograd.

A copy of the network runs once. Every convolution's true output is replaced by a fresh random leaf, so
each convolution's input depends on exactly the leaves that feed it without another convolution between.
The gradient of input channel j with respect to a leaf is non-zero in the channels that reach j. That holds
through activations, pooling, adds, concatenation, chunks, PixelShuffle and control flow alike. Random leaves,
not true outputs, as a kernel that ReLU silences for one input is connected all the same; norm layers pass
their input through, as they would mix channels (GroupNorm) or hide them (gamma = 0).
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CONVS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
NORMS = (
    *BATCHNORMS, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
INPUT = "<input>"


class TraceError(ValueError):
    """The network cannot be traced; the message names the module."""


@dataclass(frozen=True)
class Link:
    """`reach[p, c]`: output channel p of `producer` reaches input channel c of `consumer`, no convolution between.

    `producer` is INPUT for the network's own input, whose channels are taken together (one row).
    """

    producer: str
    consumer: str
    reach: Tensor


@dataclass
class _Trace:
    """Leaves (module, leaf) and the inputs (module, tensor with its graph) met in one run."""

    leaves: list[tuple[str, Tensor]]
    convs: list[tuple[str, Tensor]]
    norms: list[tuple[str, Tensor]]


@torch.enable_grad()
def links(model: nn.Module, example_input: Any) -> list[Link]:
    """Every producer-consumer pair of convolutions, in order of the consumers' calls; masks on the CPU.

    `example_input`: a tensor, or a tuple or mapping of arguments. Raises TraceError naming the module that
    was never called as a module, is called without gradients, or hides a convolution in a function call.
    """
    trace = _run(model, example_input)
    return _probe(trace.convs, trace.leaves)


@torch.enable_grad()
def followers(model: nn.Module, example_input: Any) -> dict[str, list[str]]:
    """The norm layers that follow each convolution: every channel depends on that kernel of it, and nothing else."""
    trace = _run(model, example_input)
    by_norm: dict[str, list[Link]] = defaultdict(list)
    for link in _probe(trace.norms, trace.leaves):
        by_norm[link.consumer].append(link)
    out: dict[str, list[str]] = defaultdict(list)
    for norm, found in by_norm.items():
        reach = found[0].reach
        one_to_one = reach.shape[0] == reach.shape[1] and bool((reach == torch.eye(len(reach), dtype=torch.bool)).all())
        if len(found) == 1 and found[0].producer != INPUT and one_to_one:
            out[found[0].producer].append(norm)
    return dict(out)


def _run(model: nn.Module, example_input: Any) -> _Trace:
    twin = copy.deepcopy(model).eval()
    for _, hooks in _each_hook_table(twin):
        hooks.clear()
    names = {m: n for n, m in twin.named_modules()}
    convs = {m: n for m, n in names.items() if isinstance(m, CONVS)}
    if not convs:
        raise TraceError(
            f"{type(model).__name__}: no convolution found; expected at least one of nn.Conv1d to ConvTranspose3d"
        )
    trace = _Trace([], [], [])
    args, kwargs = _arguments(example_input, trace, twin)
    guard = _Guard(twin, names)
    handles = [m.register_forward_pre_hook(guard.enter) for m in names]
    handles += [m.register_forward_hook(_cut(n, trace, _device_generator(twin))) for m, n in convs.items()]
    handles += [m.register_forward_hook(_pass(n, trace)) for m, n in names.items() if isinstance(m, NORMS)]
    handles += [m.register_forward_hook(guard.leave) for m in names]
    with guard, _no_tf32():
        twin(*args, **kwargs)
    called = {n for n, _ in trace.convs}
    for name in convs.values():
        if name not in called:
            raise TraceError(
                f"module {name!r}: its forward was not called for this input; its consumers cannot be found"
            )
    return trace


def _each_hook_table(model: nn.Module) -> Iterator[tuple[nn.Module, dict[Any, Any]]]:
    for module in model.modules():
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            yield module, getattr(module, name)


def _arguments(example_input: Any, trace: _Trace, model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments whose float tensors are leaves too (the network's own input)."""
    place = next(iter(model.parameters())).device

    def leaf(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        out = value.detach().to(place).clone().requires_grad_()
        trace.leaves.append((INPUT, out))
        return out.clone()

    if isinstance(example_input, Mapping):
        return (), {k: leaf(v) for k, v in example_input.items()}
    if isinstance(example_input, Sequence):
        return tuple(leaf(v) for v in example_input), {}
    return (leaf(example_input),), {}


def _device_generator(model: nn.Module) -> torch.Generator:
    return torch.Generator(next(iter(model.parameters())).device).manual_seed(0)


def _cut(name: str, trace: _Trace, generator: torch.Generator) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        _record(name, args, trace.convs)
        values = torch.randn(output.shape, generator=generator, device=output.device, dtype=torch.float32)
        leaf = values.to(output.dtype).requires_grad_()
        trace.leaves.append((name, leaf))
        return leaf.clone()  # a clone, as an in-place activation may follow

    return hook


def _pass(name: str, trace: _Trace) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        _record(name, args, trace.norms)
        out: Tensor = args[0].clone()
        return out

    return hook


def _record(name: str, args: tuple[Any, ...], into: list[tuple[str, Tensor]]) -> None:
    if not args or not isinstance(args[0], Tensor):
        raise TraceError(f"module {name!r}: called without a positional input tensor; it cannot be traced")
    if not args[0].requires_grad:
        raise TraceError(
            f"module {name!r}: its input is cut off from autograd (no_grad, detach, numpy); it cannot be traced"
        )
    into.append((name, args[0].clone()))  # a clone, as the original may be changed in place later


def _probe(inputs: list[tuple[str, Tensor]], leaves: list[tuple[str, Tensor]]) -> list[Link]:
    found: dict[tuple[str, str], Tensor] = {}
    for consumer, x in inputs:
        for producer, reach in _reach(x, leaves).items():
            key = (producer, consumer)
            found[key] = found[key] | reach if key in found else reach
    return [Link(p, c, reach) for (p, c), reach in found.items()]


def _reach(x: Tensor, leaves: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Boolean (channels of the leaf, channels of x) for every leaf that reaches x; axis 1 holds channels."""
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    tensors = [leaf for _, leaf in leaves]
    columns: list[list[Tensor]] = [[] for _ in leaves]
    for c in range(x.shape[1]):
        target = (x[:, c] * weights[:, c]).sum()
        for i, g in enumerate(torch.autograd.grad(target, tensors, retain_graph=True, allow_unused=True)):
            n = 1 if leaves[i][0] == INPUT else tensors[i].shape[1]
            columns[i].append(torch.zeros(n, dtype=torch.bool) if g is None else _touched(g, n))
    out: dict[str, Tensor] = {}
    for (name, _), parts in zip(leaves, columns, strict=True):
        reach = torch.stack(parts, dim=1)
        if bool(reach.any()):
            out[name] = out[name] | reach if name in out else reach
    return out


def _touched(gradient: Tensor, n: int) -> Tensor:
    if n == 1:
        return (gradient != 0).any().reshape(1).cpu()
    return (gradient != 0).transpose(0, 1).flatten(1).any(dim=1).cpu()


class _Guard(TorchDispatchMode):
    """Refuses convolutions with the network's own parameters that run outside a convolution module."""

    def __init__(self, model: nn.Module, names: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.names, self.stack = names, [model]
        self.owned = {p.data_ptr() for p in model.parameters()}

    def enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(module)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        hidden = func.overloadpacket is torch.ops.aten.convolution and not isinstance(self.stack[-1], CONVS)
        if hidden and args[1].data_ptr() in self.owned:
            where = self.names[self.stack[-1]] or type(self.stack[-1]).__name__
            raise TraceError(f"module {where!r}: runs a convolution by a function call, not as a module")
        return func(*args, **(kwargs or {}))


@contextmanager
def _no_tf32() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=False):
        yield
