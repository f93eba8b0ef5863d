"""The training loop: it learns, repeats itself bit for bit, resumes exactly, and stops loudly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tgdpet import tgd
from tgdpet.config.sections import NetworkEntry
from tgdpet.training import baselines, validation
from tgdpet.training.adapt import KernelScores, adapt_network
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingError, TrainingRun
from tgdpet.training.tasks import Task
from tgdpet.training.validation import VALIDATION_PATCHES, task_loss
from training_cases import SETTINGS, network, parts, same, state, stop_at, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


def test_it_learns_and_logs(index, tmp_path):
    data, held_out = parts(index)
    settings = replace(SETTINGS, epochs=30, learning_rate=1e-2)
    model = network()
    rows = fit(model, data, held_out, settings, TrainingRun("net", tmp_path / "log.csv"))
    log = pd.read_csv(tmp_path / "log.csv")
    assert task_loss(model, held_out, settings) < 0.95 * task_loss(network(), held_out, settings)
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert list(log["step"]) == [r["step"] for r in rows] and log["step"].iloc[-1] == 30 * 2
    assert log["learning_rate"].is_monotonic_decreasing


def test_without_held_out_studies_the_validation_is_empty(index, tmp_path):
    rows = fit(
        network(),
        parts(index)[0],
        None,
        replace(SETTINGS, epochs=1),
        TrainingRun("net", tmp_path / "log.csv"),
    )
    assert np.isnan(rows[-1]["validation_loss"])


def test_same_seed_same_bits(index, tmp_path):
    out = []
    for name in "ab":
        model = network()
        fit(model, *parts(index), SETTINGS, TrainingRun(name, tmp_path / f"{name}.csv"))
        out.append(state(model))
    assert same(*out)


@pytest.mark.parametrize("adapting", [False, True])
def test_a_stopped_run_ends_in_the_same_bits(index, tmp_path, adapting):
    def go(name, stop=None):
        model = network()
        data, held_out = parts(index)
        if stop is not None:
            stop_at(data, stop)
        run = TrainingRun("net", tmp_path / f"{name}.csv", tmp_path / f"{name}.ckpt", "same")
        masks = tgd.select(tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)), fraction=0.5)
        if adapting:
            with tgd.TGD(model, masks) as layer:
                return model, fit(model, data, held_out, SETTINGS, run, tgd=layer)
        return model, fit(model, data, held_out, SETTINGS, run)

    whole, rows = go("whole")
    with pytest.raises(SystemExit) as stopped:
        go("cut", stop=5)
    assert stopped.value.code == 143
    assert (tmp_path / "cut.ckpt").exists()
    resumed, rows_after = go("cut")
    assert same(state(whole), state(resumed))
    assert same(state(whole), state(go("whole")[0])), "one that finds itself done"
    for key in ("step", "epoch", "loss", "validation_loss", "learning_rate"):
        assert [r[key] for r in rows] == [r[key] for r in rows_after], key


@pytest.mark.parametrize("batchnorm", [None, "train"])  # None: from scratch; else TGD
def test_running_statistics_end_as_those_of_the_weights_at_rest(
    index, tmp_path, batchnorm, monkeypatch
):
    monkeypatch.setattr(validation, "JUDGED_PATCHES", VALIDATION_PATCHES)
    model, (data, held_out) = network(), parts(index)
    run = TrainingRun("net", tmp_path / "log.csv")
    if batchnorm is None:
        rows = fit(model, data, held_out, SETTINGS, run)
    else:
        masks = tgd.select(tgd.score_kernels(model, torch.zeros(1, 3, 16, 16)), fraction=0.5)
        with tgd.TGD(model, masks, batchnorm=batchnorm) as layer:
            rows = fit(model, data, held_out, SETTINGS, run, tgd=layer)
    assert task_loss(model, held_out, SETTINGS) == pytest.approx(
        rows[-1]["validation_loss"], rel=1e-6
    )
    after, steps = state(model), rows[-1]["step"]
    read = {n: [] for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for name, kept in read.items():
        norm = model.get_submodule(name)
        norm.register_forward_hook(
            lambda _, x, __, kept=kept: kept.append(x[0].transpose(0, 1).flatten(1))
        )
    model.train()
    with torch.no_grad():
        for i, rows_of in enumerate(data.epoch_order(SETTINGS.epochs, 4 * steps).split(4)):
            model(data.batch(rows_of, steps + i).noisy)
    for name, kept in read.items():
        mean, var = (
            torch.stack([getattr(x, what)(1) for x in kept]).mean(0) for what in ("mean", "var")
        )
        torch.testing.assert_close(after[f"{name}.running_mean"], mean)
        torch.testing.assert_close(after[f"{name}.running_var"], var)


@pytest.mark.parametrize("spoil", ["identity", "content"])
def test_a_checkpoint_of_another_run_is_left_aside(index, tmp_path, spoil, capsys):
    fresh, reused = network(), network()
    checkpoint = tmp_path / "x.ckpt"
    fit(fresh, *parts(index), SETTINGS, TrainingRun("net", tmp_path / "a.csv", checkpoint, "old"))
    assert checkpoint.exists()
    if spoil == "content":
        checkpoint.write_bytes(b"\x00" * 100)
    identity = "new" if spoil == "identity" else "old"
    fit(
        reused,
        *parts(index),
        SETTINGS,
        TrainingRun("net", tmp_path / "b.csv", checkpoint, identity),
    )
    assert "starting afresh" in "".join(capsys.readouterr())
    assert same(state(fresh), state(reused))


def test_a_loss_that_is_not_finite_names_step_and_slices(index, tmp_path):
    array = np.load(index.parent / "a.npy")
    array[0, 5] = np.nan
    np.save(index.parent / "a.npy", array)
    with pytest.raises(TrainingError, match=r"nan at step \d+ \(slices a 60s z="):
        fit(network(), *parts(index), SETTINGS, TrainingRun("net", tmp_path / "log.csv"))


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
def test_tgd_moves_the_redundant_kernels_only(index, tmp_path, phi):
    model = network()
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
