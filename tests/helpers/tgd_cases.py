"""Networks, training and bitwise comparison for the tests of TGD."""

from __future__ import annotations

import sys

import torch
from torch import nn

from tgdpet import tgd
from tgdpet.networks.dncnn import DnCNN
from tgdpet.tgd import connectivity, layer_kinds


def small(dtype=torch.float32) -> DnCNN:
    """A DnCNN with statistics and affine parameters that are not those of fresh norm layers."""
    net = DnCNN(0.125, torch.Generator().manual_seed(1))
    return settled(net).to(dtype)


def settled(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
    return net


class UNet(nn.Module):
    """Two levels, with concatenation, a strided and a transposed convolution, and GroupNorm in one
    place.
    """

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.down = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.low = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.GroupNorm(4, 16), nn.ELU()
        )
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.b = nn.Sequential(
            nn.Conv2d(16, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        a = self.a(x)
        return self.out(self.b(torch.cat([a, self.up(self.low(self.down(a)))], dim=1)))


class Separable(nn.Module):
    """Depthwise then pointwise, a grouped convolution, and a residual add; one block is used
    twice.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 12, 1),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
        )
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.out = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x):
        y = self.stem(x)
        y = y + self.block(y)
        return self.out(torch.relu(self.grouped(y + self.block(y))))


OPTIMIZERS = sys.modules["torch.optim.optimizer"]
STEP_HOOKS = (OPTIMIZERS._global_optimizer_pre_hooks, OPTIMIZERS._global_optimizer_post_hooks)
NETS = {"dncnn": small, "unet": UNet, "separable": Separable}


def network(name: str, dtype=torch.float32) -> nn.Module:
    torch.manual_seed(3)
    return settled(NETS[name]()).to(dtype)


def random_masks(net: nn.Module, frozen: float = 0.5) -> dict[str, torch.Tensor]:
    """A mask of every convolution but the last, with about that share of kernels frozen."""
    generator = torch.Generator().manual_seed(4)
    convs = [(n, m) for n, m in net.named_modules() if isinstance(m, layer_kinds.CONVS)][:-1]
    return {n: torch.rand(m.out_channels, generator=generator) >= frozen for n, m in convs}


def masks_of(net: nn.Module, phi: float = 0.5) -> dict[str, torch.Tensor]:
    return tgd.select(tgd.score_kernels(net, torch.zeros(1, 3, 8, 8)), phi)


def image(batch: int = 4, dtype=torch.float32, seed: int = 5, size: int = 16) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)).to(
        dtype
    )


def bits(net: nn.Module) -> dict[str, torch.Tensor]:
    return {
        n: t.detach().clone().reshape(-1).view(torch.uint8) for n, t in net.state_dict().items()
    }


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def train(net, layer, optimizer, steps=3, bad=1.0, first=0):
    """Steps `first`, `first + 1`, ... on batches that depend on the step's number only."""
    for step in range(first, first + steps):
        layer.train_mode()
        optimizer.zero_grad()
        ((net(image(seed=step)) ** 2).mean() * bad).backward()
        layer.step(optimizer)


def kept(net, before, masks, batchnorm="eval") -> bool:
    """Whether all that is useful has its bits of `before`, judged without the library's own
    bookkeeping.
    """
    norms = connectivity.following_norms(net, torch.zeros(1, 3, 16, 16))
    free = {
        f"{m}.{k}": mask
        for c, mask in masks.items()
        for m in (c, *norms.get(c, []))
        for k in ("weight", "bias")
    }
    if batchnorm == "per_channel":
        free |= {
            f"{m}.running_{k}": mask
            for c, mask in masks.items()
            for m in norms.get(c, [])
            for k in ("mean", "var")
        }
    for name, tensor in net.state_dict().items():
        if (batchnorm == "train" and "running" in name) or (
            batchnorm != "eval" and "tracked" in name
        ):
            continue
        new = tensor.detach().reshape(-1).contiguous().view(torch.uint8)
        same = (before[name] == new).reshape(tensor.shape[0] if tensor.ndim else 1, -1).all(dim=1)
        if not bool((same | free[name] if name in free else same).all()):
            return False
    return True


def moved(net, before, masks) -> bool:
    """Whether every convolution with a target has moved."""
    now = bits(net)
    return all(
        not torch.equal(now[f"{n}.weight"], before[f"{n}.weight"])
        for n, m in masks.items()
        if bool(m.any())
    )


def answer(model: nn.Module, queue) -> None:
    """What a worker process says of a model that was sent to it."""
    with torch.no_grad():
        queue.put(float(model.eval()(image(1)).sum()))


def trace(model: nn.Module) -> list[object]:
    """All that TGD may leave behind: hooks, replaced functions, flags, modes."""
    found: list[object] = []
    for module in model.modules():
        found.append(sorted(vars(module)))
        found.append(module.training)
        found.append(
            [
                len(hooks)
                for name, hooks in vars(module).items()
                if name.endswith("_hooks") and hooks is not None
            ]
        )
    for parameter in model.parameters():
        found.append((parameter.requires_grad, len(parameter._backward_hooks or {})))
    found.append([len(optimizer_hooks) for optimizer_hooks in STEP_HOOKS])
    return found
