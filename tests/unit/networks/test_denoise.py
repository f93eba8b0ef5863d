"""Networks that see no noise, and dropping kernels; denoising itself: test_denoise_slices.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tgdpet import tgd
from tgdpet.networks import drop_kernels
from tgdpet.networks.denoise import denoise
from tgdpet.networks.dncnn import DnCNN


@pytest.fixture
def model():
    net = DnCNN(0.125, torch.Generator().manual_seed(1))
    nn.init.normal_(net.blocks[-1].conv.weight, std=0.2, generator=torch.Generator().manual_seed(2))
    return net.eval()


def image(depth=19):
    return np.random.default_rng(0).gamma(2, 500, (14, 12, depth)).astype(np.float32)


def test_a_network_that_sees_no_noise_returns_the_image(model):
    nn.init.zeros_(model.blocks[-1].conv.weight)
    np.testing.assert_allclose(denoise(model, image(), 1234.0), image(), rtol=1e-6)


def test_dropped_kernels_are_silent_and_the_others_as_before(model):
    masks = tgd.select(tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)), 0.5)
    less = drop_kernels.without_kernels(model, masks)
    spoilt = drop_kernels.without_kernels(model, masks)
    for name, mask in masks.items():  # whatever the dropped kernels hold, nobody reads it
        with torch.no_grad():
            spoilt.get_submodule(name).weight[mask] = 7.0
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(less(x), spoilt(x))
        assert not torch.equal(less(x), model(x))


def test_nothing_dropped_is_the_network_itself(model):
    none = tgd.select(tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)), 0.0)
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(drop_kernels.without_kernels(model, none)(x), model(x))
    assert drop_kernels.count_dropped(model, none) == (0, 0)


def test_what_dropping_everything_removes(model):
    everything = {
        n: torch.ones_like(s, dtype=torch.bool)
        for n, s in tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)).items()
    }
    kernels, parameters = drop_kernels.count_dropped(model, everything)
    last = sum(p.numel() for p in model.blocks[-1].parameters())
    assert (kernels, parameters) == (
        model.kernels - 3,
        sum(p.numel() for p in model.parameters()) - last,
    )


def test_the_experiment_reports_more_dropped_at_higher_thresholds(model):
    scores = {n: s.numpy() for n, s in tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)).items()}
    rows, images = drop_kernels.experiment(
        model, scores, image(), image(), [0.3, 0.6], 1000.0, torch.device("cpu")
    )
    assert [r["phi"] for r in rows] == [0.0, 0.3, 0.6]
    assert rows[0]["kernels_dropped"] == 0 and rows[0]["rmse_to_undropped_bqml"] == 0
    assert rows[1]["kernels_dropped"] < rows[2]["kernels_dropped"] < rows[2]["kernels_total"]
    assert set(images) == {0.0, 0.3, 0.6}
    alone = drop_kernels.without_kernels(
        model, {n: torch.from_numpy(v < 0.6) for n, v in scores.items()}
    )
    np.testing.assert_array_equal(images[0.6], denoise(alone, image(), 1000.0))


def test_the_experiment_needs_something_to_compare_with(model):
    scores = {n: s.numpy() for n, s in tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)).items()}
    with pytest.raises(ValueError, match="reference image is empty"):
        drop_kernels.experiment(
            model, scores, image(), 0 * image(), [0.3], 1000.0, torch.device("cpu")
        )
