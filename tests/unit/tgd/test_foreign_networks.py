"""TGD on networks that were written elsewhere (MONAI's): links against brute force, and a round of
training.
"""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from brute_force import OUTPUT, Brute
from tgdpet import tgd
from tgdpet.tgd import connectivity, layer_kinds

pytestmark = pytest.mark.usefixtures("one_thread")

nets = pytest.importorskip("monai.networks.nets", reason="monai is in the extra 'test'")
SAMPLE = 2  # kernels a module that brute force checks


def image(*shape: int) -> torch.Tensor:
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))


FOREIGN = {
    "UNet": (lambda: nets.UNet(2, 1, 1, (4, 8, 12), (2, 2), num_res_units=2), image(16, 16)),
    "UNet3d": (lambda: nets.UNet(3, 1, 1, (4, 6, 8), (2, 2)), image(8, 8, 8)),
    "BasicUNet": (lambda: nets.BasicUNet(2, 1, 1, (4, 4, 6, 6, 8, 4)), image(32, 32)),
    "SegResNet": (
        lambda: nets.SegResNet(
            2, init_filters=8, in_channels=1, out_channels=1, blocks_down=(1, 1), blocks_up=(1,)
        ),
        image(16, 16),
    ),
    "AttentionUnet": (lambda: nets.AttentionUnet(2, 1, 1, (4, 6, 8), (2, 2)), image(16, 16)),
    "DenseNet": (
        lambda: nets.DenseNet(
            2, 1, 2, init_features=6, growth_rate=4, block_config=(2, 2), bn_size=1
        ),
        image(32, 32),
    ),
    "AutoEncoder": (lambda: nets.AutoEncoder(2, 1, 1, (4, 6), (2, 2)), image(16, 16)),
    "RegUNet": (lambda: nets.RegUNet(2, 1, 4, 2), image(16, 16)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_links_are_those_of_brute_force(name):
    torch.manual_seed(0)
    build, example = FOREIGN[name]
    model = build()
    found, brute = connectivity.connections(model, example), Brute(model, example)
    draw = random.Random(name)
    for module, conv in model.named_modules():
        if not isinstance(conv, layer_kinds.CONVS):
            continue
        for p in draw.sample(range(conv.out_channels), min(SAMPLE, conv.out_channels)):
            linked = {
                (link.consumer, c)
                for link in found.links
                if link.producer == module
                for c in torch.nonzero(link.reach[p]).flatten().tolist()
            }
            if module in found.outputs and found.outputs[module][p]:
                linked.add((OUTPUT, 0))
            assert linked == brute.feeds(module, p), f"{name}: kernel {p} of {module}"


@pytest.mark.parametrize("name", ["UNet", "SegResNet", "AttentionUnet", "BasicUNet"])
def test_useful_kernels_keep_their_bits(name):
    torch.manual_seed(0)
    build, example = FOREIGN[name]
    model = build()
    masks = tgd.select(tgd.score_kernels(model, example), phi=0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with tgd.TGD(model, masks) as layer:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(example), example).backward()
            layer.step(optimizer)
    moved = 0
    for module, conv in model.named_modules():
        if isinstance(conv, layer_kinds.CONVS):
            mask = masks.get(module, torch.zeros(conv.out_channels, dtype=torch.bool))
            axis = 1 if getattr(conv, "transposed", False) else 0
            changed = (
                (conv.weight != before[f"{module}.weight"]).movedim(axis, 0).flatten(1).any(dim=1)
            )
            assert not bool((changed & ~mask).any()), module
            moved += int(changed.sum())
    assert moved > 0


def test_heads_of_deep_supervision_are_readers():
    torch.manual_seed(0)
    model = nets.DynUNet(2, 1, 1, (3, 3, 3, 3), (1, 2, 2, 2), (2, 2, 2), filters=(4, 4, 6, 6), deep_supervision=True,
                         deep_supr_num=1)  # fmt: skip
    readers = {link.consumer for link in connectivity.links(model, image(32, 32))}
    assert any("heads" in n for n in readers)
