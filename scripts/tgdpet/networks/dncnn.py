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
    """

    def __init__(self, width: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"width: expected a number > 0, got {width}")
        self.width = width
        sizes = layer_channels(width)
        last = len(sizes) - 2
        self.blocks = nn.Sequential(
            *(
                _block(sizes[i], sizes[i + 1], norm=0 < i < last, relu=i < last)
                for i in range(last + 1)
            )
        )
        self._start(generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, Y, X), intensities divided by the network's scale -> same shape."""
        out: Tensor = x - self.blocks(x)
        return out

    @property
    def kernels(self) -> int:
        """Number of output kernels of all convolutions."""
        return sum(m.out_channels for m in self.modules() if isinstance(m, nn.Conv2d))

    @property
    def scored(self) -> dict[str, int]:
        """Output kernels of every convolution that another one reads: all but the last."""
        found = [(n, m.out_channels) for n, m in self.named_modules() if isinstance(m, nn.Conv2d)]
        return dict(found[:-1])

    def _start(self, generator: torch.Generator | None) -> None:
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        for module in convolutions:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            convolutions[-1].weight.mul_(0.1)


def _block(n_in: int, n_out: int, *, norm: bool, relu: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(n_in, n_out, 3, padding=1, bias=not norm)
    if norm:
        parts["bn"] = nn.BatchNorm2d(n_out)
    if relu:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)
