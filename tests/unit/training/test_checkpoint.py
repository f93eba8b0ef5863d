"""A stopped run resumes where it was, and ends in the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tgdpet import tgd
from tgdpet.networks.weights import read_tensors, write_tensors
from tgdpet.training.checkpoint import KEY, load_checkpoint, save_checkpoint
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


def test_a_damaged_checkpoint_is_left_aside_whatever_the_damage(index, tmp_path, capsys):
    """And the run that starts afresh ends as one without it."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    path = tmp_path / "x.ckpt"
    state_of_run = {"step": 3, "total": 1.0, "count": 1, "seconds": 2.0, "rows": [{"a": 1}]}
    save_checkpoint(path, "same", model, optimizer, state_of_run)
    assert load_checkpoint(path, "same", model, optimizer) == state_of_run

    content = path.read_bytes()
    fresh = network()
    before = state(fresh)
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(content), 300, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << int(bit) % 8
        path.write_bytes(changed)
        fresh_optimizer = torch.optim.Adam(fresh.parameters())
        assert load_checkpoint(path, "same", fresh, fresh_optimizer) is None
        assert not fresh_optimizer.state
    assert same(before, state(fresh))
    assert capsys.readouterr().out.count("not a readable checkpoint, starting afresh") == 300


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, f"x.ckpt: no '{KEY}' in the metadata: not a readable"),
        ({KEY: "{"}, "x.ckpt: not a readable checkpoint (truncated?): Expecting"),
        ({KEY: "[]"}, "x.ckpt: expected an object, got"),
        ({KEY: "{}"}, "x.ckpt: "),
    ],
)
def test_a_checkpoint_whose_state_is_damaged_is_named(tmp_path, capsys, metadata, words):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    path = tmp_path / "x.ckpt"
    save_checkpoint(path, "same", model, optimizer, {"step": 1})
    tensors, _ = read_tensors(path)

    write_tensors(path, tensors, metadata)
    assert load_checkpoint(path, "same", model, optimizer) is None

    said = capsys.readouterr().out
    assert words in said and said.endswith("starting afresh\n") and said.count("\n") == 1
