"""TGD on networks that others wrote: how long tracing takes, kernels scored, masks at phi = 0.3,
three training steps, and an independent count of the values that changed outside the masks.

Networks are built without weights, in train mode and with what their packages take as defaults. Of
NAFNet, which no package here has, there is a definition after its paper. Seconds are the processor
time of one thread, as a shared machine's clock says little.

Needs timm, torchvision, monai, segmentation-models-pytorch and deepinv; of the last two none of
their other requirements are asked for. Where torchvision was built for another kind of torch (CUDA)
than the one installed, its operators are declared without being there: networks do not call them.

Run by hand: python benchmarks/networks.py [--only WORD ...]
"""

from __future__ import annotations

import argparse
import csv
import functools
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.tgd import TGD, score_kernels, select
from tgdpet.tgd.connectivity import connections, following_norms
from tgdpet.tgd.layer_kinds import CONVS
from tgdpet.tgd.scoring import components_from

PHI = 0.3
STEPS = 3
Build = Callable[[], nn.Module]
Network = tuple[str, str, Build, Any]  # package, name, how to build it, example input


@dataclass
class Row:
    """What was seen of one network."""

    package: str
    network: str
    convolutions: int = 0
    kernels: int = 0
    scored: int = 0
    trace_s: float = 0.0
    kse_s: float = 0.0
    targeted: int = 0
    train_s: float = 0.0
    values_kept: int = 0
    values_changed: int = 0
    result: str = ""


class LayerNorm2d(nn.Module):
    """Over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Y, X) -> same shape."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class NAFBlock(nn.Module):
    """The block of NAFNet (Chen et al., ECCV 2022, Fig. 3c and section 3): gates in place of
    activations, simplified channel attention, and residual branches that start at zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attention = nn.Conv2d(width, width, 1)
        self.project = nn.Conv2d(width, width, 1)
        self.norm2 = LayerNorm2d(width)
        self.feed1 = nn.Conv2d(width, 2 * width, 1)
        self.feed2 = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Y, X) -> same shape."""
        a, b = self.depthwise(self.expand(self.norm1(x))).chunk(2, dim=1)
        gated = a * b
        attended = gated * self.attention(gated.mean((2, 3), keepdim=True))
        x = x + self.beta * self.project(attended)

        a, b = self.feed1(self.norm2(x)).chunk(2, dim=1)
        return x + self.gamma * self.feed2(a * b)


class NAFNet(nn.Module):
    """NAFNet: a U-Net of NAF blocks; strided convolutions down, PixelShuffle up, skips added."""

    def __init__(self, width: int = 32, blocks: tuple[int, ...] = (2, 2, 4), middle: int = 4):
        super().__init__()
        self.intro = nn.Conv2d(1, width, 3, padding=1)
        self.ending = nn.Conv2d(width, 1, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()

        for n_blocks in blocks:
            self.encoders.append(nn.Sequential(*[NAFBlock(width) for _ in range(n_blocks)]))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2

        self.middle = nn.Sequential(*[NAFBlock(width) for _ in range(middle)])

        for _ in blocks:
            up = nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2))
            self.ups.append(up)
            width //= 2
            self.decoders.append(NAFBlock(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Y, X) -> same shape; sides divisible by 8."""
        y = self.intro(x)
        skips = []

        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)

        y = self.middle(y)

        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            y = decoder(up(y) + skip)

        return x + self.ending(y)


def image(channels: int = 3, size: int = 64, *, axes: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, *[size] * axes, generator=generator)


def own_networks() -> Iterator[Network]:
    from tgdpet.networks import DnCNN

    yield "tgdpet", "DnCNN", DnCNN, image(3, 16)
    yield "benchmark", "NAFNet", NAFNet, image(1, 32)


def denoisers() -> Iterator[Network]:
    """deepinv's; those that take one get a noise level."""
    from deepinv import models

    small = image(1, 32)
    sigma = torch.tensor([0.1])
    none: dict[str, Any] = {"pretrained": None}
    made: dict[str, tuple[Build, Any]] = {
        "DRUNet": (lambda: models.DRUNet(1, 1, **none), (image(1, 32), sigma)),
        "DnCNN": (lambda: models.DnCNN(1, 1, **none), small),
        "FFDNet": (lambda: models.FFDNet(**none), (small, sigma)),
        "GSDRUNet": (lambda: models.GSDRUNet(1, 1, **none), (small, sigma)),
        "Restormer": (lambda: models.Restormer(1, 1, **none), image(1, 8)),
        "SCUNet": (lambda: models.SCUNet(1, **none), image(1, 64)),
        "SRResNet": (lambda: models.SRResNet(1, 1, **none), small),
        "SwinIR": (lambda: models.SwinIR(img_size=8, in_chans=1, **none), (image(1, 8), sigma)),
        "UNet": (lambda: models.UNet(1, 1), small),
    }
    for name, (build, example) in made.items():
        yield "deepinv", name, build, example


def monai_networks() -> Iterator[Network]:
    from monai.networks import nets

    volume = image(1, 32, axes=3)
    small = image(1, 64)
    wide = (32, 64, 128, 256)
    made: dict[str, tuple[Build, Any]] = {
        "AttentionUnet": (lambda: nets.AttentionUnet(2, 1, 1, wide, (2, 2, 2)), small),
        "AutoEncoder": (lambda: nets.AutoEncoder(2, 1, 1, wide, (2, 2, 2, 2)), small),
        "BasicUNet": (lambda: nets.BasicUNet(2, 1, 1), small),
        "BasicUNetPlusPlus": (lambda: nets.BasicUNetPlusPlus(2, 1, 1), small),
        "DenseNet121": (lambda: nets.DenseNet121(2, 1, 2), image(1, 32)),
        "DynUNet": (
            lambda: nets.DynUNet(2, 1, 1, [3] * 4, [1, 2, 2, 2], [2] * 3, res_block=True),
            small,
        ),
        "FlexibleUNet": (lambda: nets.FlexibleUNet(1, 1, "efficientnet-b0"), small),
        "HighResNet": (lambda: nets.HighResNet(2, 1, 1), image(1, 32)),
        "SegResNet": (lambda: nets.SegResNet(2, 16, 1, 1), small),
        "SwinUNETR": (lambda: nets.SwinUNETR(1, 1, feature_size=12, spatial_dims=2), small),
        "UNETR": (
            lambda: nets.UNETR(1, 1, 64, hidden_size=192, mlp_dim=384, num_heads=3, spatial_dims=2),
            small,
        ),
        "UNet": (lambda: nets.UNet(2, 1, 1, wide, (2, 2, 2), num_res_units=2), small),
        "UNet, 3 D": (lambda: nets.UNet(3, 1, 1, wide, (2, 2, 2), num_res_units=2), volume),
        "VNet": (lambda: nets.VNet(2, 1, 1), small),
    }
    for name, (build, example) in made.items():
        yield "monai", name, build, example


def segmentation_models() -> Iterator[Network]:
    import segmentation_models_pytorch as smp

    for name, encoder in (
        ("Unet", "resnet34"),
        ("UnetPlusPlus", "resnet18"),
        ("MAnet", "resnet18"),
        ("Linknet", "resnet18"),
        ("FPN", "efficientnet-b0"),
        ("PSPNet", "resnet18"),
        ("DeepLabV3Plus", "resnet18"),
        ("PAN", "resnet18"),
        ("UPerNet", "resnet18"),
        ("Segformer", "resnet18"),
    ):
        kind = getattr(smp, name)

        def build(kind: Any = kind, encoder: str = encoder) -> nn.Module:
            return kind(encoder, encoder_weights=None)

        side = 128 if name == "PAN" else 64
        yield "smp", f"{name}, {encoder}", build, torch.cat([image(3, side)] * 2)


def timm_networks() -> Iterator[Network]:
    import timm

    for name in (
        "lcnet_050",
        "mobilenetv3_small_050",
        "ghostnet_050",
        "tinynet_e",
        "regnetx_002",
        "mnasnet_small",
        "resnet10t",
        "edgenext_xx_small",
        "mobilevit_xxs",
        "convnext_atto",
        "mobileone_s0",
        "repghostnet_050",
        "ese_vovnet19b_slim_dw",
        "efficientnet_b0",
        "hardcorenas_a",
        "mixnet_s",
        "selecsls42b",
        "hrnet_w18_small",
        "densenet121",
        "resnet50",
        "res2net50_26w_4s",
        "cspresnet50",
        "dla34",
        "nf_resnet26",
    ):

        def build(name: str = name) -> nn.Module:
            return timm.create_model(name, pretrained=False, num_classes=10)

        yield "timm", name, build, torch.cat([image(3, 64)] * 2)


def torchvision_networks() -> Iterator[Network]:
    from torchvision import models

    for name, options in (
        ("shufflenet_v2_x0_5", {}),
        ("squeezenet1_1", {}),
        ("mnasnet0_5", {}),
        ("googlenet", {"init_weights": False}),
        ("fcn_resnet50", {"weights_backbone": None}),
        ("deeplabv3_mobilenet_v3_large", {"weights_backbone": None}),
        ("lraspp_mobilenet_v3_large", {"weights_backbone": None}),
    ):

        def build(name: str = name, options: Any = options) -> nn.Module:
            return models.get_model(name, weights=None, **options)

        yield "torchvision", name, build, torch.cat([image(3, 64)] * 2)

    clip = torch.cat([image(3, 16, axes=3)] * 2)
    yield "torchvision", "r3d_18", lambda: models.get_model("r3d_18", weights=None), clip


SOURCES = (
    own_networks,
    denoisers,
    monai_networks,
    segmentation_models,
    timm_networks,
    torchvision_networks,
)


def declare_operators() -> None:
    """torchvision's, where its library is for another torch than the one that is here."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            DECLARED.append(library)


DECLARED: list[Any] = []  # a library's operators go when it does


def measure(network: Network, limit_s: int) -> Row:
    """Score, select, train and compare one network."""
    package, name, build, example = network
    row = Row(package, name)

    def late(signum: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {limit_s} s")

    signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        torch.manual_seed(0)
        model = build().train()
        convs = {n: m for n, m in model.named_modules() if isinstance(m, CONVS)}
        row.convolutions = len(convs)
        row.kernels = sum(conv.out_channels for conv in convs.values())

        unused = never_called(model, convs, example)
        start = time.process_time()
        connected = connections(model, example, unused=unused)
        row.trace_s = round(time.process_time() - start, 2)

        start = time.process_time()
        components = components_from(model, connected)
        row.kse_s = round(time.process_time() - start, 2)

        scores = {name: parts.kse for name, parts in components.items()}
        masks = select(scores, PHI)
        row.scored = sum(len(values) for values in scores.values())
        row.targeted = sum(int(mask.sum()) for mask in masks.values())

        start = time.process_time()
        before = {n: t.clone() for n, t in values(model).items()}
        train(model, masks, example, unused)
        row.train_s = round(time.process_time() - start, 2)

        allowed = allowed_rows(model, masks, example)
        row.values_kept, row.values_changed = count(model, before, allowed)
        row.result = "works" if row.values_changed == 0 else "values outside the masks changed"
    except Exception as error:
        row.result = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return row


def values(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, once each: state_dict names shared modules several times."""
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach() for name, tensor in found.items()}


def never_called(model: nn.Module, convs: dict[str, nn.Module], example: Any) -> list[str]:
    """Convolutions that the network has and does not call, such as the end of an encoder."""
    called = set()
    handles = []
    for name, conv in convs.items():
        note = functools.partial(lambda name, *_: called.add(name), name)
        handles.append(conv.register_forward_pre_hook(note))

    # In training mode only where that may call more: it refuses maps of one pixel.
    arguments = example if isinstance(example, tuple) else (example,)
    with torch.no_grad():
        for training in (False, True):
            model.train(training)
            if len(called) < len(convs):
                model(*arguments)

    for handle in handles:
        handle.remove()

    return [name for name in convs if name not in called]


def train(model: nn.Module, masks: dict[str, Tensor], example: Any, unused: list[str]) -> None:
    """Three steps of an optimizer that moves whatever it is given."""
    arguments = example if isinstance(example, tuple) else (example,)

    with TGD(model, masks, example_input=example, unused=unused):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)

        for _ in range(STEPS):
            optimizer.zero_grad()
            outputs = [t for t in tree_leaves(model(*arguments)) if isinstance(t, Tensor)]
            loss = sum(functional.mse_loss(t, torch.zeros_like(t)) for t in outputs)
            if loss.requires_grad:  # not where no kernel is below phi
                loss.backward()
            optimizer.step()


def allowed_rows(
    model: nn.Module, masks: dict[str, Tensor], example: Any
) -> dict[str, tuple[Tensor, bool]]:
    """Name of a tensor -> channels that may change, and whether they are its second axis."""
    norms = following_norms(model, example)
    allowed = {}

    for name, mask in masks.items():
        conv: Any = model.get_submodule(name)
        allowed[f"{name}.weight"] = (mask, conv.transposed)
        allowed[f"{name}.bias"] = (mask, False)

        for norm in norms.get(name, []):
            allowed[f"{norm}.weight"] = (mask, False)
            allowed[f"{norm}.bias"] = (mask, False)

    return allowed


def count(
    model: nn.Module, before: dict[str, Tensor], allowed: dict[str, tuple[Tensor, bool]]
) -> tuple[int, int]:
    """Values of parameters and buffers outside what is allowed: all of them, and those whose bits
    changed.
    """
    n_kept = 0
    n_changed = 0

    for name, now in values(model).items():
        a = now.contiguous().reshape(-1).view(torch.uint8).reshape(now.numel(), -1)
        b = before[name].contiguous().reshape(-1).view(torch.uint8).reshape(now.numel(), -1)
        changed = (a != b).any(1).reshape(now.shape)

        if name in allowed:
            mask, second_axis = allowed[name]
            if second_axis:  # (C, N / G, ...): channel n of group g
                n_rows, n_columns = now.shape[:2]
                n_groups = len(mask) // n_columns
                by_row = mask.reshape(n_groups, 1, n_columns).expand(-1, n_rows // n_groups, -1)
                free = by_row.reshape(n_rows, n_columns, *[1] * (now.ndim - 2))
            else:
                free = mask.reshape(-1, *[1] * (now.ndim - 1))
            kept = ~free.expand(now.shape)
        else:
            kept = torch.ones_like(changed)

        n_kept += int(kept.sum())
        n_changed += int((changed & kept).sum())

    return n_kept, n_changed


def networks(words: list[str]) -> Iterator[Network]:
    """Those whose package and name hold one of the words, or all."""
    for source in SOURCES:
        for network in source():
            title = f"{network[0]} {network[1]}"
            if not words or any(word.lower() in title.lower() for word in words):
                yield network


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="words of package or name")
    parser.add_argument("--limit", type=int, default=120, help="processor seconds a network")
    args = parser.parse_args()

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    declare_operators()

    # What torch loads once is no network's.
    score_kernels(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)), image(1, 4))

    table = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    table.writerow([field.name for field in fields(Row)])

    for network in networks(args.only):
        table.writerow(astuple(measure(network, args.limit)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
