"""A stopped run resumes where it was, and ends in the same bits."""

from __future__ import annotations

import pytest
import torch

from tgdpet import tgd
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun
from training_cases import SETTINGS, network, parts, same, state, stop_at, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


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


def test_a_network_with_dropout_resumes_in_the_same_bits(index, tmp_path):
    def go(name, stop=None):
        torch.manual_seed(5)
        model = torch.nn.Sequential(network(), torch.nn.Dropout(0.3))
        data, held_out = parts(index)
        if stop is not None:
            stop_at(data, stop)
        fit(
            model,
            data,
            held_out,
            SETTINGS,
            TrainingRun("net", tmp_path / f"{name}.csv", tmp_path / name, "same"),
        )
        return state(model)

    whole = go("whole")
    with pytest.raises(SystemExit):
        go("cut", stop=5)
    assert same(whole, go("cut"))
