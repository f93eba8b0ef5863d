"""Dead kernels: constant maps, and maps that nobody reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tgdpet import tgd
from zoo import Net, c2, image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net(
        lambda m, x: m.out(F.relu(m.norm_b(m.b(F.relu(m.norm(m.a(x))))))),
        a=c2(1, 6),
        norm=nn.BatchNorm2d(6),
        b=c2(6, 5),
        norm_b=nn.BatchNorm2d(5),
        out=c2(5, 1),
    )


def alive(model, **options):
    found = tgd.alive_kernels(model, image(1, 1, 8, 8), **options)
    return {name: kernels.tolist() for name, kernels in found.items()}


@torch.no_grad()
def changed_output(model, conv: nn.Module, kernel: int) -> bool:
    """Whether another kernel of twice the size changes the output by more than a constant."""
    model.eval()
    x = torch.stack([image(1, 8, 8), image(1, 8, 8).flip(2)])
    before = model(x)
    saved = conv.weight[kernel].clone()
    conv.weight[kernel] = saved * 2 + saved.flip(1) * 0.5
    after = model(x)
    conv.weight[kernel] = saved
    return not torch.allclose(before, after, rtol=0, atol=1e-6)


def test_a_network_as_made_is_alive(model):
    assert alive(model) == {"a": [True] * 6, "b": [True] * 5, "out": [True]}


def test_a_kernel_without_weight_a_closed_gamma_and_an_unread_map_are_dead(model):
    with torch.no_grad():
        model.a.bias.zero_()
        model.a.weight[1] = 0
        model.norm.weight[2] = 1e-9
        model.b.weight[:, 3] *= 1e-9
        model.out.weight[:, 4] = 0
        model.a.weight[4] *= 1e-3  # small, not dead
    found = alive(model)
    assert found == {
        "a": [True, False, False, False, True, True],
        "b": [True] * 4 + [False],
        "out": [True],
    }
    for kernel, is_alive in enumerate(found["a"]):
        if kernel != 1:  # which is dead until somebody trains it
            assert changed_output(model, model.a, kernel) == is_alive


def test_the_tolerance_is_a_share_of_the_largest_of_the_layer(model):
    with torch.no_grad():
        model.a.weight *= 1e-12
        model.a.weight[1] *= 1e-3
    assert alive(model)["a"] == [True] * 6
    assert alive(model, tolerance=1e-2)["a"] == [True, False, True, True, True, True]


def test_what_goes_past_the_norm_is_alive():
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.out(torch.cat([m.norm(m.a(x)), m.a(x)[:, :2]], 1)),
        a=c2(1, 4),
        norm=nn.BatchNorm2d(4),
        out=c2(6, 1),
    )
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.weight[3] = 1
    assert alive(model)["a"] == [True, True, False, True]


def test_what_reaches_the_output_by_itself_is_read():
    torch.manual_seed(0)
    model = Net(lambda m, x: (m.a(x)[:, :1], m.b(m.a(x))), a=c2(1, 3), b=c2(3, 2))
    with torch.no_grad():
        model.b.weight[:, :2] = 0
    assert alive(model) == {"a": [True, False, True], "b": [True, True]}


def test_the_table_of_a_layer_that_chose_its_kernels_itself(model):
    with torch.no_grad():
        model.a.weight[1] = 0
        model.b.weight[:, 1] = 0
    example = image(1, 1, 8, 8)
    scores = tgd.score_kernels(model, example)
    with tgd.TGD(model, phi=0.5, example_input=example) as layer:
        masks = tgd.select(scores, 0.5)
        assert all(torch.equal(layer.masks[name], mask) for name, mask in masks.items())
        title, head, *lines = str(layer).splitlines()
        n_retrained = sum(int(mask.sum()) for mask in masks.values())
        assert title.startswith(f"TGD retrains {n_retrained} of 12 kernels, ")
        assert head.split() == ["module", "kernels", "retrained", "of", "these", "alive", "KSE"]
        low, high = scores["a"].aminmax()
        n_a = int(masks["a"].sum())
        assert masks["a"][1]
        assert lines[0].split() == [
            "a",
            "6",
            str(n_a),
            str(n_a - 1),
            f"{low:.2f}",
            "to",
            f"{high:.2f}",
        ]


def test_a_convolution_that_is_never_called_is_named(model):
    model.spare = c2(2, 2)
    example = image(1, 1, 8, 8)
    with pytest.raises(tgd.TraceError, match="'spare': its forward was not called"):
        tgd.TGD(model, phi=0.5, example_input=example)
    with tgd.TGD(model, phi=0.5, example_input=example, unused=["spare"]) as layer:
        assert set(layer.masks) == {"a", "b"}


def test_the_table_of_a_layer_with_masks_from_elsewhere(model):
    masks = {"a": torch.arange(6) < 2}
    with tgd.TGD(model, masks) as layer:
        assert str(layer).splitlines()[2].split() == ["a", "6", "2", "-", "-"]
        layer.alive = tgd.alive_kernels(model, image(1, 1, 8, 8))
        assert str(layer).splitlines()[2].split() == ["a", "6", "2", "2", "-"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "masks, or either phi or fraction"),
        ({"phi": 0.3, "fraction": 0.3, "example_input": 0}, "either phi or fraction"),
        ({"phi": 0.3}, "example_input"),
        ({"masks": {}, "phi": 0.3}, "got both"),
        ({"masks": {}, "fraction": 0.3}, "got both"),
    ],
)
def test_masks_come_from_one_place(model, options, words):
    with pytest.raises(ValueError, match=words):
        tgd.TGD(model, **options)


def test_histograms_are_drawn_of_each_layer(model):
    pytest.importorskip("matplotlib")
    scores = tgd.score_kernels(model, image(1, 1, 8, 8))
    figure = tgd.plot(scores, phi=0.5)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [f"{n}: {int((s < 0.5).sum())} of {len(s)}" for n, s in scores.items()]
    heights = [sum(bar.get_height() for bar in ax.patches) for ax in figure.axes]
    assert heights == [len(score) for score in scores.values()]
    assert [ax.get_title() for ax in tgd.plot(scores, phi=None).axes] == list(scores)
    with pytest.raises(ValueError, match="got none"):
        tgd.plot({})
