"""The training loop: it learns, repeats itself bit for bit, and stops with a clear message."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tgdpet import tgd
from tgdpet.training import validation
from tgdpet.training.loop import FINAL_RATE, WARM_UP, fit, learning_rate
from tgdpet.training.run import TrainingError, TrainingRun
from tgdpet.training.validation import VALIDATION_PATCHES, task_loss
from training_cases import SETTINGS, network, parts, same, state, write_index

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
    peak = log["learning_rate"].idxmax()
    assert log["learning_rate"][peak:].is_monotonic_decreasing


@pytest.mark.parametrize("steps", [1, 2, 19, 1000])
def test_the_learning_rate_rises_to_its_value_and_falls(steps):
    rates = [learning_rate(step, steps, 2e-3) for step in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(2e-3)
    assert peak <= WARM_UP * steps + 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if steps == 1000:
        assert rates[0] == pytest.approx(2e-3 / 50)
        assert rates[-1] == pytest.approx(FINAL_RATE * 2e-3, rel=1e-2)


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


def test_a_loss_that_is_not_finite_names_step_and_slices(index, tmp_path):
    array = np.load(index.parent / "a.npy")
    array[0, 5] = np.nan
    np.save(index.parent / "a.npy", array)
    with pytest.raises(TrainingError, match=r"nan at step \d+ \(slices a 60s z="):
        fit(network(), *parts(index), SETTINGS, TrainingRun("net", tmp_path / "log.csv"))
