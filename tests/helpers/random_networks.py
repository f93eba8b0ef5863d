"""Random small networks for the property of TGD: random wiring, norms, ties, buffers and masks.

Everything follows from the numbers that `Draw` hands out, which hypothesis chooses and shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

WIDTH = 4
NORMS = ("none", "batch", "group", "instance", "tracked", "average")
JOINS = ("plain", "residual", "concat", "shared")
KINDS = ("plain", "grouped", "transposed", "depthwise")
WEIGHTS = ("plain", "plain", "plain", "weight norm", "spectral norm", "old spectral norm")


class Draw(Protocol):
    """Chooses."""

    def of(self, *values: Any) -> Any:
        """One of the values."""


class MovingAverage(nn.Module):
    """Subtracts a moving average that it keeps of what it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH, 1, 1))
        self.register_buffer("n_seen", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.n_seen += 1
                self.mean.lerp_(x.mean((0, 2, 3), keepdim=True)[0], 0.1)
        return x - self.mean.clone()


class Block(nn.Module):
    """A convolution, a norm, an activation, and how the result meets what came in."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.join = draw.of(*JOINS)
        n_in = 2 * WIDTH if self.join == "concat" else WIDTH
        self.conv = convolution(draw, n_in)
        self.norm = norm(draw)

    def forward(self, x: Tensor) -> Tensor:
        once = x if self.join != "concat" else torch.cat([x, x.flip(1)], 1)
        y = torch.relu(self.norm(self.conv(once)))
        if self.join == "shared":
            y = torch.relu(self.norm(self.conv(y)))

        return x + y if self.join == "residual" else y


def convolution(draw: Draw, n_in: int) -> nn.Module:
    kind = draw.of(*KINDS)
    options: dict[str, Any] = {"padding": 1, "bias": draw.of(True, False)}
    if kind == "transposed":
        return nn.ConvTranspose2d(n_in, WIDTH, 3, groups=draw.of(1, 2), **options)

    if kind == "grouped":
        options["groups"] = 2
    if kind == "depthwise" and n_in == WIDTH:
        options["groups"] = WIDTH

    return weighted(draw, nn.Conv2d(n_in, WIDTH, 3, **options))


def weighted(draw: Draw, conv: nn.Module) -> nn.Module:
    kind = draw.of(*WEIGHTS)
    if kind == "weight norm":
        return parametrizations.weight_norm(conv)
    if kind == "spectral norm":
        return parametrizations.spectral_norm(conv)
    if kind == "old spectral norm":
        return nn.utils.spectral_norm(conv)

    return conv


def norm(draw: Draw) -> nn.Module:
    affine = draw.of(True, False)
    return {
        "none": nn.Identity(),
        "batch": nn.BatchNorm2d(WIDTH, affine=affine),
        "group": nn.GroupNorm(2, WIDTH, affine=affine),
        "instance": nn.InstanceNorm2d(WIDTH, affine=affine),
        "tracked": nn.InstanceNorm2d(WIDTH, affine=affine, track_running_stats=True),
        "average": MovingAverage(),
    }[draw.of(*NORMS)]


@dataclass
class Case:
    """A network and masks of all its convolutions but the last."""

    model: nn.Module
    masks: dict[str, Tensor]


def case(draw: Draw, seed: int) -> Case:
    """One to three blocks between two plain convolutions."""
    torch.manual_seed(seed)
    blocks = [Block(draw) for _ in range(draw.of(1, 2, 3))]
    head = nn.Conv2d(2, WIDTH, 3, padding=1)
    tail = draw.of(nn.Conv2d(WIDTH, 2, 1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
    model = nn.Sequential(head, *blocks, tail)

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
    if draw.of(False, True):
        tie(draw, model)
    if draw.of(False, False, True):
        for parameter in model.parameters():
            parameter.requires_grad_(draw.of(False, True))

    masks = {}
    for name, conv in convolutions(model):
        if conv is not tail:
            masks[name] = mask(draw)

    return Case(model, masks)


def tie(draw: Draw, model: nn.Module) -> None:
    """Let one module's parameter be another's too, as one object or as two in one place."""
    holders: dict[Any, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        if type(module) in (nn.Conv2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.ConvTranspose2d):
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    holders.setdefault((key, parameter.shape), []).append((module, key))

    shared = [found for found in holders.values() if len(found) > 1]
    if not shared:
        return

    (first, key), *_, (second, _) = draw.of(*shared)
    parameter = first._parameters[key]
    if draw.of(True, False):
        parameter = nn.Parameter(parameter.data)

    second._parameters[key] = parameter


def mask(draw: Draw) -> Tensor:
    """Any kernels, often all."""
    bits = draw.of(2**WIDTH - 1, *range(2**WIDTH))
    return (torch.tensor(bits) >> torch.arange(WIDTH) & 1).bool()


def convolutions(model: nn.Module) -> list[tuple[str, Any]]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]


def image(seed: int) -> Tensor:
    return torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
