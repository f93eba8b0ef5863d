"""Losses that are read seldom change nothing, and none that went wrong is kept."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest

from tgdpet.config.sections import Compute
from tgdpet.runtime.distributed import World
from tgdpet.training import checkpoint, pending_losses
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingError, TrainingRun
from training_cases import SETTINGS, network, parts, same, state, trained, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


def let_run_ahead(monkeypatch, steps):
    """Read losses every so many steps, as on a GPU."""
    monkeypatch.setattr(pending_losses, "steps_unread", lambda device: steps)


@pytest.mark.parametrize("ahead", [3, 7, 100])
def test_losses_read_seldom_change_nothing(index, tmp_path, monkeypatch, ahead):
    plain, rows = trained(index, tmp_path)
    let_run_ahead(monkeypatch, ahead)
    model, after = trained(index, tmp_path, "ahead")
    assert same(state(plain), state(model))
    for key in ("step", "epoch", "loss", "validation_loss"):
        assert [r[key] for r in rows] == [r[key] for r in after], key


@pytest.mark.parametrize("ahead", [1, 5])
def test_a_loss_that_is_not_finite_is_found_at_its_step(index, tmp_path, monkeypatch, ahead):
    let_run_ahead(monkeypatch, ahead)
    data, held_out = parts(index)
    draw = data.batch

    def batch(rows, step, augment=True):
        found = draw(rows, step, augment)
        return replace(found, noisy=found.noisy * (np.nan if step == 3 else 1))

    data.batch = batch
    run = TrainingRun(
        "net", tmp_path / "log.csv", tmp_path / "checkpoint", compute=Compute(checkpoint_minutes=0)
    )
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 3 \(slices a 60s z="
    ) as caught:
        fit(network(), data, held_out, SETTINGS, run)
    if ahead == 1:  # nothing after step 3 was kept, and everything before it was
        assert "the last good checkpoint is" in str(caught.value)
        fit(model := network(), *parts(index), SETTINGS, run)
        assert same(state(model), state(trained(index, tmp_path, "whole")[0]))
    else:
        assert "no checkpoint is kept" in str(caught.value) and not run.checkpoint.exists()


def test_a_signal_while_processes_agree_stops_at_the_next_reading(index, tmp_path, capsys):
    readings = []

    class Late(World):
        def mean(self, values):
            readings.append(values)
            if len(readings) == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().mean(values)

    run = TrainingRun("net", tmp_path / "log.csv", tmp_path / "checkpoint", world=Late())
    with pytest.raises(SystemExit) as stopped:
        fit(network(), *parts(index), SETTINGS, run)
    assert stopped.value.code == 143 and len(readings) == 4
    assert "stopped at step 4 of" in capsys.readouterr().err and run.checkpoint.exists()


def test_no_checkpoint_holds_losses_that_were_not_read(index, tmp_path, monkeypatch):
    let_run_ahead(monkeypatch, 5)
    steps = []
    monkeypatch.setattr(
        checkpoint,
        "save_checkpoint",
        lambda path, identity, model, optimizer, state: steps.append(state["step"]),
    )
    run = TrainingRun(
        "net", tmp_path / "log.csv", tmp_path / "checkpoint", compute=Compute(checkpoint_minutes=0)
    )
    fit(network(), *parts(index), SETTINGS, run)
    assert steps == [5, 10, 12]
