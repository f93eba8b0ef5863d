"""The paper's network (Fig. 1): a 2.5D residual DnCNN."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .architecture import layer_channels


class DnCNN(nn.Module):
    """Three neighbouring slices in, the same three denoised out: `output = input - f(input)`.

    f is eight 3x3 convolutions ("blocks"): ReLU after the first, BN and ReLU after the second to
    seventh, nothing after the last. A convolution that BN follows has no bias, as BN would cancel
    it. `width` multiplies the paper's channel numbers. `generator` draws the start: He's normal
    weights, a tenth of it in the last convolution, so that training starts near the identity.
    Raises ValueError for a width that is not above 0.
    """

    def __init__(self, width: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()

        if not width > 0:
            raise ValueError(f"width: expected a number > 0, got {width}")

        self.width = width

        channels = layer_channels(width)
        last = len(channels) - 2
        blocks = []

        for i in range(last + 1):
            is_first = i == 0
            is_last = i == last
            norm = not is_first and not is_last
            blocks.append(_block(channels[i], channels[i + 1], norm=norm, relu=not is_last))

        self.blocks = nn.Sequential(*blocks)
        self._initialise(generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, Y, X), intensities divided by the network's scale -> same shape."""
        noise = self.blocks(x)
        denoised: Tensor = x - noise
        return denoised

    @property
    def kernels(self) -> int:
        """Number of output kernels of all convolutions."""
        return sum(conv.out_channels for _, conv in self._convolutions())

    @property
    def scored(self) -> dict[str, int]:
        """Output kernels of every convolution that another one reads: all but the last."""
        kernels = [(name, conv.out_channels) for name, conv in self._convolutions()]
        return dict(kernels[:-1])

    def _convolutions(self) -> list[tuple[str, nn.Conv2d]]:
        return [(n, module) for n, module in self.named_modules() if isinstance(module, nn.Conv2d)]

    def _initialise(self, generator: torch.Generator | None) -> None:
        convolutions = [conv for _, conv in self._convolutions()]

        for conv in convolutions:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)

            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

        with torch.no_grad():
            convolutions[-1].weight.mul_(0.1)


def _block(n_in: int, n_out: int, *, norm: bool, relu: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(n_in, n_out, 3, padding=1, bias=not norm)

    if norm:
        layers["bn"] = nn.BatchNorm2d(n_out)

    if relu:
        layers["relu"] = nn.ReLU(inplace=True)

    return nn.Sequential(layers)
