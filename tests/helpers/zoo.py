"""Small networks of every kind of wiring, for the tests of which kernels feed what; `ZOO` name ->
(network, input).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tgdpet.networks.dncnn import DnCNN


class Net(nn.Module):
    """Modules by keyword and a forward function of (network, x)."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module):
        super().__init__()
        self.wiring = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args):
        return self.wiring(self, *args)


def c2(n_in: int, n_out: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, **options)


def unet() -> nn.Module:
    def forward(m, x):
        top = F.relu(m.norm(m.down1(x)))
        low = F.relu(m.down2(F.max_pool2d(top, 2)))
        up = F.interpolate(low, scale_factor=2, mode="bilinear")
        return m.out(F.relu(m.up(torch.cat([up, top], 1))))

    return Net(
        forward, down1=c2(1, 4), norm=nn.BatchNorm2d(4), down2=c2(4, 6), up=c2(10, 5), out=c2(5, 1)
    )


def resnet() -> nn.Module:
    def forward(m, x):
        x = F.relu(m.stem(x))
        x = F.relu(x + m.b(F.relu(m.bn(m.a(x)))), inplace=True)
        return m.out(F.relu(m.short(x) + m.d(F.relu(m.c(x)))))

    return Net(
        forward,
        stem=c2(2, 5),
        a=c2(5, 4, bias=False),
        bn=nn.BatchNorm2d(4),
        b=c2(4, 5),
        c=c2(5, 6),
        d=c2(6, 7),
        short=nn.Conv2d(5, 7, 1),
        out=c2(7, 2),
    )


def densenet() -> nn.Module:
    def forward(m, x):
        maps = [m.stem(x)]
        for layer in m.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return m.out(F.avg_pool2d(torch.cat(maps, 1), 2))

    layers = (nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), c2(n, 3)) for n in (4, 7, 10))
    return Net(forward, stem=c2(1, 4), layers=nn.ModuleList(layers), out=nn.Conv2d(13, 2, 1))


def separable() -> nn.Module:
    return nn.Sequential(
        c2(2, 6),
        nn.ReLU6(),
        c2(6, 12, groups=6),
        nn.BatchNorm2d(12),
        nn.SiLU(),
        nn.Conv2d(12, 8, 1),
        nn.GELU(),
        c2(8, 8, groups=8),
        nn.Hardswish(),
        nn.Conv2d(8, 6, 1, groups=2),
        nn.ReLU(),
        c2(6, 2),
    )


def pixel_shuffle() -> nn.Module:
    return nn.Sequential(
        c2(1, 6),
        nn.PReLU(),
        c2(6, 16),
        nn.PixelShuffle(2),
        nn.ReLU(),
        c2(4, 3),
        nn.ReLU(),
        nn.PixelUnshuffle(2),
        c2(12, 1),
    )


def unet3d() -> nn.Module:
    def forward(m, x):
        top = F.leaky_relu(m.norm(m.a(x)))
        low = F.leaky_relu(m.b(top))
        return m.out(m.drop(torch.cat([top, m.up(low)], 1)))

    return Net(
        forward,
        a=nn.Conv3d(1, 4, 3, padding=1),
        norm=nn.InstanceNorm3d(4, affine=True),
        b=nn.Conv3d(4, 6, 3, stride=2, padding=1),
        up=nn.ConvTranspose3d(6, 4, 2, stride=2, groups=2),
        drop=nn.Dropout3d(0.5),
        out=nn.Conv3d(8, 1, 1),
    )


def chunks() -> nn.Module:
    def forward(m, x):
        gate, value = m.a(x).chunk(2, 1)
        left, right = (torch.sigmoid(gate) * value).split([1, 3], 1)
        return m.d(torch.cat([m.b(right).tanh(), m.c(left)], 1)[:, 1:])

    return Net(forward, a=c2(2, 8), b=c2(3, 3), c=c2(1, 2), d=c2(4, 1))


def norms() -> nn.Module:
    def forward(m, x):
        x = F.relu(m.group(m.a(x)))
        x = F.relu(m.layer(m.b(x).movedim(1, -1)).movedim(-1, 1))
        return m.d(m.c(x))

    return Net(
        forward,
        a=c2(1, 6),
        group=nn.GroupNorm(2, 6),
        b=c2(6, 5),
        layer=nn.LayerNorm(5),
        c=c2(5, 4),
        d=c2(4, 1),
    )


def functional_norms() -> nn.Module:
    """The same wiring."""

    def forward(m, x):
        x = F.relu(torch.group_norm(m.a(x), 2))
        x = F.relu(F.layer_norm(m.b(x).movedim(1, -1), (5,)).movedim(-1, 1))
        return m.d(F.normalize(F.rms_norm(m.c(x), (4, 8, 8)), dim=1))

    return Net(forward, a=c2(1, 6), b=c2(6, 5), c=c2(5, 4), d=c2(4, 1))


def shared() -> nn.Module:
    def forward(m, x):
        x = m.stem(x)
        for _ in range(3):
            x = F.relu(m.step(x))
        return m.out(torch.cat([x, m.step(x.flip(1))], 1))

    return Net(forward, stem=c2(1, 4), step=c2(4, 4), out=c2(8, 1))


def dynamic() -> nn.Module:
    def forward(m, x):
        x = m.stem(x)
        for i in range(x.shape[-1] // 4):
            x = x + m.blocks[i](F.relu(x))
        return m.warm(x) if float(x.detach().abs().mean()) > 1e-3 else m.cold(x[:, 1:])

    return Net(
        forward,
        stem=c2(1, 4),
        blocks=nn.ModuleList([c2(4, 4), c2(4, 4)]),
        warm=c2(4, 1),
        cold=c2(3, 1),
    )


def squeeze() -> nn.Module:
    def forward(m, x):
        x = F.relu(m.a(x))
        return m.out(x * torch.sigmoid(m.up(F.relu(m.down(x.mean((2, 3), keepdim=True))))))

    return Net(forward, a=c2(1, 8), down=nn.Conv2d(8, 4, 1), up=nn.Conv2d(4, 8, 1), out=c2(8, 1))


class Gated(nn.Module):
    """A residual branch behind a gate that starts at zero, and one whose output leaves the network
    directly.
    """

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = c2(1, 4), c2(4, 4), c2(4, 4)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        x = self.a(x)
        x = x + self.gate * self.b(F.relu(x))
        return {"image": F.dropout(x + self.c(x), 0.3, training=True)}


def checkpointed() -> nn.Module:
    def forward(m, x):
        x = checkpoint(lambda y: F.relu(m.b(F.relu(m.a(y)))), x, use_reentrant=False)
        return m.c(x)

    return Net(forward, a=c2(1, 4), b=c2(4, 5), c=c2(5, 1))


def deep_supervision() -> nn.Module:
    def forward(m, x):
        x = F.relu(m.a(x))
        y = F.relu(m.b(x))
        return (m.out(y), m.head(x)) if m.training else m.out(y)

    return Net(forward, a=c2(1, 4), b=c2(4, 5), head=c2(4, 1), out=c2(5, 1))


def one_d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 6, 3),
        nn.BatchNorm1d(6),
        nn.ELU(),
        nn.ConvTranspose1d(6, 4, 3, groups=2),
        nn.Softplus(),
        nn.Conv1d(4, 1, 1),
    )


def unbatched() -> nn.Module:
    return nn.Sequential(
        c2(1, 5), nn.ReLU(), nn.ConvTranspose2d(5, 4, 2, stride=2), nn.ReLU(), c2(4, 2)
    )


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


ZOO: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "dncnn": (lambda: DnCNN(0.0625), image(1, 3, 8, 8)),
    "unet": (unet, image(2, 1, 8, 8)),
    "resnet": (resnet, image(1, 2, 8, 8)),
    "densenet": (densenet, image(1, 1, 8, 8)),
    "separable": (separable, image(1, 2, 8, 8)),
    "pixel_shuffle": (pixel_shuffle, image(1, 1, 8, 8)),
    "unet3d": (unet3d, image(1, 1, 4, 6, 4)),
    "chunks": (chunks, image(1, 2, 8, 8)),
    "norms": (norms, image(1, 1, 8, 8)),
    "shared": (shared, image(1, 1, 8, 8)),
    "squeeze": (squeeze, image(1, 1, 8, 8)),
    "gated": (Gated, image(1, 1, 8, 8)),
    "checkpointed": (checkpointed, image(1, 1, 8, 8).requires_grad_()),
    "one_d": (one_d, image(1, 2, 16)),
    "unbatched": (unbatched, image(1, 8, 8)),
}
