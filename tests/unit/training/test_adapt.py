"""Adapting moves what it should, and no other bit."""

from __future__ import annotations

import pytest
import torch

from tgdpet import tgd
from tgdpet.config.sections import NetworkEntry
from tgdpet.training import baselines
from tgdpet.training.adapt import KernelScores, adapt_network
from tgdpet.training.run import TrainingRun
from tgdpet.training.tasks import Task
from training_cases import SETTINGS, network, parts, same, state, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


def test_finetuning_moves_the_last_blocks_only(index, tmp_path):
    model = network()
    before = state(model)
    entry = NetworkEntry(method="finetune", data="adapt", base="x", blocks=3)
    done = adapt_network(
        model, entry, Task(*parts(index)), SETTINGS, TrainingRun("ft", tmp_path / "log.csv")
    )
    after = state(model)
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert {n.split(".")[1] for n in moved} == {"5", "6", "7"}
    assert not any("running" in n for n in moved)
    assert done.numbers["useful_unchanged"]
    assert done.numbers["parameters_retrained"] == sum(
        p.numel() for n, p in model.named_parameters() if n.split(".")[1] in "567"
    )


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_tgd_moves_the_redundant_kernels_only(index, tmp_path, capsys, phi):
    model = network()
    alive = tgd.alive_kernels(model, torch.zeros(1, 3, 16, 16))
    before = state(model)
    scores = {n: s.numpy() for n, s in tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)).items()}
    entry = NetworkEntry(method="tgd", data="adapt", base="x", phi=phi)
    done = adapt_network(
        model,
        entry,
        Task(*parts(index)),
        SETTINGS,
        TrainingRun("tgd", tmp_path / "log.csv"),
        scores=KernelScores(scores),
    )
    assert done.numbers["useful_unchanged"]
    assert done.numbers["kernels_retrained"] == sum(int((s < phi).sum()) for s in scores.values())
    assert done.numbers["kernels_retrained_alive"] == sum(
        int(((scores[name] < phi) & alive[name].numpy()).sum()) for name in scores
    )
    assert f"TGD retrains {done.numbers['kernels_retrained']} of" in capsys.readouterr().err
    assert same(before, state(model)) == (phi == 0.0)


def test_tgd_without_scores_is_refused(index, tmp_path):
    entry = NetworkEntry(method="tgd", data="adapt", base="x")
    with pytest.raises(ValueError, match="scores"):
        adapt_network(
            network(),
            entry,
            Task(*parts(index)),
            SETTINGS,
            TrainingRun("tgd", tmp_path / "log.csv"),
        )


def test_statistics_per_channel_are_not_for_finetuning(index, tmp_path):
    entry = NetworkEntry(method="finetune", data="adapt", base="x", batchnorm="per_channel")
    with pytest.raises(ValueError, match="per_channel belongs to tgd"):
        adapt_network(
            network(), entry, Task(*parts(index)), SETTINGS, TrainingRun("ft", tmp_path / "log.csv")
        )


@pytest.mark.parametrize("what", ["weight", "running_mean"])
def test_finetuning_notices_a_frozen_bit(index, tmp_path, what, monkeypatch):
    model = network()
    value = (
        model.get_submodule("blocks.1.bn").get_parameter(what)
        if what == "weight"
        else model.blocks[1].bn.running_mean
    )
    with torch.no_grad():
        value.zero_()

    def flip(*args, **options):  # 0.0 to -0.0: equal as numbers
        with torch.no_grad():
            value.neg_()
        return []

    monkeypatch.setattr(baselines, "fit", flip)
    entry = NetworkEntry(method="finetune", data="adapt", base="x")
    done = adapt_network(
        model, entry, Task(*parts(index)), SETTINGS, TrainingRun("ft", tmp_path / "log.csv")
    )
    assert not done.numbers["useful_unchanged"]
