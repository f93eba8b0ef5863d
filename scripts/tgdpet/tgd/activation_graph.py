"""The autograd graph of a network's activations, cut at its convolutions.

Cut at a convolution means: in place of its output it returns a leaf tensor, which has a gradient of
its own and no history. What a convolution reads then depends, as autograd sees it, on the outputs
of the convolutions directly before it alone, and the gradient from its input to a leaf says which
kernels reach it with no other convolution between.

The leaves hold the convolution's true output in one pass (the control flow of the real data) and
random values in the others, as a kernel that ReLU silences for one input is connected all the same.
Norm layers pass gradients one to one: they would mix channels (GroupNorm) or hide them (gamma = 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .copies import copied
from .layer_kinds import CONVS, NORM_LAYERS
from .tracing_modes import ModulesOnly, OneToOneNorms, TraceError

NETWORK_INPUT = "<input>"  # stands for a module's name
SEED_STRIDE = 1_000_003  # between the seeds of two draws: more than a network's convolutions
MOST_DRAWN = 2**26  # random values kept, 256 MiB
ZERO_SEED = 2  # of what stands for parameters that are zero


class Activation(NamedTuple):
    """A tensor that a module gives or reads, and the axis of its channels."""

    module: str
    values: Tensor
    channel_axis: int

    @property
    def n_channels(self) -> int:
        """Number of channels; the network's input, taken as a whole, counts as one."""
        if self.module == NETWORK_INPUT:
            return 1

        return self.values.shape[self.channel_axis]

    def by_channel(self, tensor: Tensor) -> Tensor:
        """A tensor of the same shape (a gradient, say) as (channels, values)."""
        if self.module == NETWORK_INPUT:
            return tensor.reshape(1, -1)

        return tensor.movedim(self.channel_axis, 0).flatten(1)


@dataclasses.dataclass
class ForwardPass:
    """One pass through the network: the leaves, what convolutions and norms read, the outputs."""

    leaves: list[Activation] = dataclasses.field(default_factory=list)
    conv_inputs: list[Activation] = dataclasses.field(default_factory=list)
    norm_inputs: list[Activation] = dataclasses.field(default_factory=list)
    outputs: list[Tensor] = dataclasses.field(default_factory=list)

    @property
    def calls(self) -> list[tuple[str, torch.Size]]:
        """The convolutions in order of their calls, with the shapes that they read."""
        return [(read.module, read.values.shape) for read in self.conv_inputs]


@dataclasses.dataclass(frozen=True)
class Draw:
    """Random leaves: a seed, a sign (ReLU passes either one or the other) and, by module, channels
    drawn anew.
    """

    seed: int
    sign: int = 1
    redrawn: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


class ActivationGraph:
    """A copy of `model`, cut at its convolutions and ready to run on `example_input` (a tensor, or
    a tuple or mapping of arguments).

    `network` is the copy, `convs` its convolutions by name, `called` the names of those that any
    pass has called. Raises TraceError for a model without convolutions.
    """

    def __init__(self, model: nn.Module, example_input: Any) -> None:
        # What torch.compile wraps is traced, under the names of the wrapper.
        inner = getattr(model, "_orig_mod", model)
        prefix = "" if inner is model else "_orig_mod."

        self.network = copied(inner)
        self.module_names: dict[nn.Module, str] = {}
        self.convs: dict[str, Any] = {}

        for name, module in self.network.named_modules():
            self.module_names[module] = prefix + name
            if isinstance(module, CONVS):
                self.convs[prefix + name] = module

        if not self.convs:
            raise TraceError(
                f"{type(model).__name__}: no convolution found; "
                "expected at least one of nn.Conv1d to ConvTranspose3d"
            )

        first_conv = next(iter(self.convs.values()))
        self.device = next(first_conv.parameters()).device
        self.example_input = example_input
        self.called: set[str] = set()

        self._pass = ForwardPass()
        self._recording = False
        self._draw: Draw | None = None
        self._output_kinds: dict[Any, tuple[torch.Size, torch.dtype]] = {}
        self._zeros = self._zero_parameters()
        self._drawn: dict[Any, Tensor] = {}
        self._n_drawn = 0

        self._instrument()

    def run(self, draw: Draw | None = None) -> ForwardPass:
        """One pass, with the convolutions' true outputs as leaves or, with `draw`, random ones.

        Raises TraceError where a convolution with the network's own weight is no module's, or the
        forward pass itself asks for gradients.
        """
        self._pass = ForwardPass()
        self._draw = draw

        with ExitStack() as stack:
            gpus = [self.device] if self.device.type == "cuda" else []
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # no TF32
            stack.enter_context(torch.random.fork_rng(gpus))
            stack.enter_context(self._parameters_and_buffers(draw))

            # Dropout drops the same when values are redrawn.
            torch.manual_seed(0 if draw is None else draw.seed)

            if draw is None:
                stack.enter_context(ModulesOnly(self.network, self.module_names))

            true_values = draw is None and not self.network.training
            stack.enter_context(OneToOneNorms(true_values=true_values))

            args, kwargs = self._arguments()
            self._recording = True
            try:
                output = self.network(*args, **kwargs)
            except RuntimeError as error:
                if not _differentiates(error):
                    raise
                raise TraceError(
                    "the network differentiates in its own forward pass (torch.autograd), where "
                    f"the convolutions' outputs are cut off to see what reads them: {error}"
                ) from error
            finally:
                # Activation checkpointing calls modules again in the backward pass.
                self._recording = False

        self._pass.outputs = list(_tensors(output))
        for read in self._pass.conv_inputs:
            self.called.add(read.module)

        return self._pass

    def _instrument(self) -> None:
        """Have convolutions return leaves, and note what convolutions and norms read."""
        _drop_backward_hooks(self.network)

        for name, conv in self.convs.items():
            conv.forward = self._leaf_forward(name, conv)

        for module, name in self.module_names.items():
            if isinstance(module, NORM_LAYERS):
                module.register_forward_pre_hook(self._norm_hook(name), with_kwargs=True)

    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments whose float tensors are leaves too (the network's own
        input).
        """

        def leaf(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value

            on_device = value.detach().to(self.device)
            tensor = on_device.clone()
            if not tensor.is_floating_point():
                return tensor

            tensor.requires_grad_()
            self._pass.leaves.append(Activation(NETWORK_INPUT, tensor, 0))
            return tensor.clone()

        example = self.example_input

        if isinstance(example, Mapping):
            return (), {key: leaf(value) for key, value in example.items()}

        if isinstance(example, Sequence):
            return tuple(leaf(value) for value in example), {}

        return (leaf(example),), {}

    def _leaf_forward(self, name: str, conv: Any) -> Callable[..., Tensor]:
        """A forward pass for a convolution that notes its input and returns a leaf."""
        true_forward = conv.forward
        # Counted from the end, as an input without batch axis is allowed.
        channel_axis = -1 - len(conv.kernel_size)

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            x = _first_tensor(name, args, kwargs)
            if self._recording:
                # A copy: the original may be changed in place later.
                read = Activation(name, x.clone(), channel_axis)
                self._pass.conv_inputs.append(read)

            def compute() -> Tensor:
                return true_forward(*args, **kwargs)

            if self._draw is None:
                values = compute().detach()
                leaf = values.clone()
            else:
                only_x = len(args) + len(kwargs) == 1
                shape, dtype = self._output_kind(name, x, compute, known=only_x)
                values = self._random_values(self._draw, name, shape, channel_axis)
                leaf = values.to(x.device, dtype)

            leaf.requires_grad_()
            if self._recording:
                given = Activation(name, leaf, channel_axis)
                self._pass.leaves.append(given)

            return leaf.clone()

        return forward

    def _output_kind(
        self, name: str, x: Tensor, compute: Callable[[], Tensor], *, known: bool
    ) -> tuple[torch.Size, torch.dtype]:
        """Shape and dtype of a convolution's output for an input like x; `known`: those of an
        earlier call do.
        """
        key = (name, x.shape, x.dtype)
        if key not in self._output_kinds or not known:
            with torch.no_grad():
                output = compute()
            self._output_kinds[key] = (output.shape, output.dtype)

        return self._output_kinds[key]

    def _random_values(self, draw: Draw, name: str, shape: torch.Size, channel_axis: int) -> Tensor:
        """Normal values, fixed by the draw and the number of the call."""
        n_call = len(self._pass.conv_inputs)
        seed = SEED_STRIDE * draw.seed + n_call
        values = self._normal(shape, seed)

        if name in draw.redrawn:
            spatial_axes = [1] * (-1 - channel_axis)
            redrawn = draw.redrawn[name].reshape(-1, *spatial_axes)
            new_values = self._normal(shape, -1 - seed)
            values = torch.where(redrawn, new_values, values)

        return draw.sign * values

    def _normal(self, shape: torch.Size, seed: int) -> Tensor:
        """Normal values, kept as far as there is room: most passes ask for the same ones."""
        key = (shape, seed)
        if key in self._drawn:
            return self._drawn[key]

        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(shape, generator=generator)

        self._n_drawn += values.numel()
        if self._n_drawn > MOST_DRAWN:
            self._drawn.clear()
            self._n_drawn = values.numel()

        self._drawn[key] = values
        return values

    def _norm_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._recording:
                x = _first_tensor(name, args, kwargs)
                read = Activation(name, x.clone(), 1)
                self._pass.norm_inputs.append(read)

        return hook

    def _zero_parameters(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(parameter, its zeros, what stands for them) outside convolutions: a zero gate hides what
        it gates.
        """
        of_convs: set[nn.Parameter] = set()
        for conv in self.convs.values():
            of_convs.update(conv.parameters())

        zeros: list[tuple[Tensor, Tensor, Tensor]] = []
        for parameter in self.network.parameters():
            if parameter in of_convs or not parameter.is_floating_point():
                continue

            generator = torch.Generator().manual_seed(ZERO_SEED)
            uniform = torch.rand(parameter.shape, generator=generator)
            stand_in = 0.5 + 0.5 * uniform
            is_zero = parameter == 0
            zeros.append((parameter, is_zero, stand_in.to(parameter)))

        return zeros

    @contextmanager
    def _parameters_and_buffers(self, draw: Draw | None) -> Iterator[None]:
        """Zero parameters filled for a random pass; buffers afterwards as before.

        The pass has buffers of its own, as its gradients need what they held when it was done.
        """
        owned = []
        copies: dict[Tensor, Tensor] = {}
        for module in self.module_names:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    owned.append((module, name, buffer))
                    copies[buffer] = buffer.detach().clone()

        for module, name, buffer in owned:
            module._buffers[name] = copies[buffer]

        with torch.no_grad():
            for parameter, is_zero, stand_in in self._zeros:
                in_place_of_zero = 0.0 if draw is None else stand_in
                filled = torch.where(is_zero, in_place_of_zero, parameter)
                parameter.copy_(filled)

        try:
            yield
        finally:
            for module, name, buffer in owned:
                module._buffers[name] = buffer


def _first_tensor(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A module's input, or a TraceError that names the module."""
    x = args[0] if args else kwargs.get("input")
    if not isinstance(x, Tensor):
        raise TraceError(
            f"module {name!r}: expected a tensor as its first argument, got {type(x).__name__}"
        )

    return x


def _drop_backward_hooks(model: nn.Module) -> None:
    """A forward hook of the user's may be part of the network; these would see every pass."""
    for module in model.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in a network's output: nested sequences, mappings, dataclasses."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _tensors(list(vars(leaf).values()))


def _differentiates(error: RuntimeError) -> bool:
    """Whether an error comes from a call of torch.autograd."""
    frame = error.__traceback__
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename) == Path(torch.autograd.__file__):
            return True
        frame = frame.tb_next

    return False
