"""Training on a GPU: the same patches, a curve within the noise of the CPU's, exact resume where it
is asked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tgdpet import tgd
from tgdpet.config.sections import Compute
from tgdpet.dataset.patches import PatchData
from tgdpet.networks.denoise import denoise
from tgdpet.tgd import kse
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun
from training_cases import SETTINGS, network, parts, same, state, stop_at, write_index

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]
LONGER = replace(SETTINGS, epochs=30)


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path, samples=("60s", "30s"))


def on_gpu(index, split="train", volumes="auto"):
    return PatchData(
        index,
        split,
        scale=1000.0,
        patch=16,
        air_fraction=0.05,
        seed=1,
        device=torch.device("cuda"),
        volumes=volumes,
    )


def trained(index, tmp_path, name, settings=LONGER, stop=None, with_tgd=False, **compute):
    model, data = network(), on_gpu(index)
    run = TrainingRun(
        "net", tmp_path / f"{name}.csv", tmp_path / name, "same", compute=Compute(**compute)
    )
    if stop is not None:
        stop_at(data, stop)
    if not with_tgd:
        return (
            state(model),
            fit(model, data, on_gpu(index, "val"), settings, run),
            state(model.cpu()),
        )
    example = torch.zeros(1, 3, 16, 16)
    masks = tgd.select(tgd.score_kernels(model, example), fraction=0.5)
    before = state(model)
    with tgd.TGD(model.cuda(), masks, example_input=example.cuda()) as layer:
        rows = fit(model, data, on_gpu(index, "val"), settings, run, tgd=layer)
    return before, rows, state(model.cpu())


@pytest.mark.parametrize("volumes", ["memory", "mapped"])
def test_patches_are_those_of_the_cpu(index, volumes):
    ours, theirs = (
        on_gpu(index, volumes=volumes).batch(torch.arange(8), 3),
        parts(index)[0].batch(torch.arange(8), 3),
    )
    assert ours.noisy.is_cuda and torch.equal(ours.noisy.cpu(), theirs.noisy)
    assert torch.equal(ours.target.cpu(), theirs.target)


@pytest.mark.parametrize("compile", ["never", "always"])
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_loss_is_within_the_noise_of_the_cpus(index, tmp_path, precision, compile):
    rows = fit(network(), *parts(index), LONGER, TrainingRun("cpu", tmp_path / "cpu.csv"))
    _, ours, _ = trained(index, tmp_path, "gpu", precision=precision, compile=compile)
    assert ours[-1]["validation_loss"] == pytest.approx(rows[-1]["validation_loss"], rel=0.1)


@pytest.mark.parametrize("compile", ["never", "always"])
def test_useful_kernels_keep_their_bits(index, tmp_path, compile):
    before, _, after = trained(index, tmp_path, "tgd", with_tgd=True, compile=compile)
    assert not same(before, after)  # TGD itself compares the useful bits when it detaches


def test_a_deterministic_run_resumes_in_the_same_bits(index, tmp_path):
    whole = trained(index, tmp_path, "whole", deterministic=True)[2]
    with pytest.raises(SystemExit):
        trained(index, tmp_path, "cut", stop=70, deterministic=True)
    assert same(whole, trained(index, tmp_path, "cut", deterministic=True)[2])


def test_kse_agrees_with_the_cpu():
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kse.score(weight.cuda()).cpu(), kse.score(weight), rtol=0, atol=1e-6)


def test_denoising_agrees_with_the_cpu():
    image = np.random.default_rng(0).random((40, 36, 21), np.float32) * 1000
    np.testing.assert_allclose(
        denoise(network(), image, 1000.0, "cuda"),
        denoise(network(), image, 1000.0),
        rtol=1e-5,
        atol=1e-2,
    )
