"""Precision, compilation, losses that are read seldom, and what is watched."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tgdpet.config.sections import Compute
from tgdpet.runtime import device
from tgdpet.runtime.distributed import World
from tgdpet.training import checkpoint, pending_losses
from tgdpet.training import log as training_log
from tgdpet.training.forward import Forward
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingError, TrainingRun
from training_cases import SETTINGS, network, parts, same, state, write_index

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


def trained(index, tmp_path, name="net", settings=SETTINGS, **compute):
    model = network()
    run = TrainingRun("net", tmp_path / f"{name}.csv", compute=Compute(**compute))
    return model, fit(model, *parts(index), settings, run)


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


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this processor has no bf16"
)
def test_half_precision_is_within_the_noise_of_training(index, tmp_path):
    settings = replace(SETTINGS, epochs=20)
    model, rows = trained(index, tmp_path, settings=settings)
    half, half_rows = trained(index, tmp_path, "half", settings, precision="bf16")
    assert not same(state(model), state(half))
    assert all(
        t.dtype == u.dtype for t, u in zip(state(model).values(), state(half).values(), strict=True)
    )
    assert half_rows[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=0.1)


@pytest.mark.parametrize("wanted", ["bf16", "tf32"])
def test_precision_that_the_processor_lacks_is_refused(monkeypatch, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(
        ValueError, match=f"precision: {wanted} was asked for, but this processor has no {wanted}"
    ):
        device.precision(wanted, CPU)


def test_a_processor_trains_in_float32_unless_asked():
    assert device.precision("auto", CPU) == device.precision("float32", CPU) == "float32"


@pytest.mark.parametrize(
    ("capability", "wanted", "expected"),
    [((9, 0), "auto", "bf16"), ((7, 5), "auto", "float32"), ((8, 0), "tf32", "tf32"), ((8, 0), "float32", "float32"),
     ((7, 5), "bf16", None), ((7, 5), "tf32", None)],
)  # fmt: skip
def test_precision_of_a_gpu_is_what_it_has(monkeypatch, capability, wanted, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "old GPU")
    place = torch.device("cuda")
    if expected is not None:
        assert device.precision(wanted, place) == expected
        return
    with pytest.raises(ValueError, match=f"{wanted} was asked for, but cuda: old GPU lacks it"):
        device.precision(wanted, place)


@pytest.mark.parametrize("deterministic", [False, True])
def test_arithmetic_is_set_for_the_time_of_training_only(monkeypatch, deterministic):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def now():
        return (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
                torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark,
                os.environ.get("CUBLAS_WORKSPACE_CONFIG"))  # fmt: skip

    before = now()
    with pytest.raises(KeyError), device.arithmetic("bf16", deterministic):
        assert now() == (
            "high",
            deterministic,
            deterministic,
            not deterministic,
            ":4096:8" if deterministic else None,
        )
        raise KeyError
    assert now() == before
    with device.arithmetic("float32", False):
        assert torch.get_float32_matmul_precision() == "highest"


def test_deterministic_training_on_a_processor_has_the_same_bits(index, tmp_path):
    plain, _ = trained(index, tmp_path)
    strict, _ = trained(index, tmp_path, "strict", deterministic=True)
    assert same(state(plain), state(strict))


@pytest.mark.parametrize(
    ("compute", "place", "steps", "compiled"),
    [({}, "cpu", 10**6, False), ({}, "cuda", 8000, True), ({}, "cuda", 7999, False),
     ({"compile": "always"}, "cpu", 1, True), ({"compile": "never"}, "cuda", 10**6, False),
     ({"deterministic": True}, "cuda", 10**6, False)],
)  # fmt: skip
def test_compiled_where_it_is_asked_for_or_pays(monkeypatch, compute, place, steps, compiled):
    asked = []
    monkeypatch.setattr(
        torch, "compile", lambda network, **options: asked.append(options["mode"]) or network
    )
    Forward(network(), torch.device(place), "float32", Compute(**compute), steps)
    assert asked == ([] if not compiled else ["reduce-overhead" if place == "cuda" else None])


def test_a_compiled_network_learns_the_same(index, tmp_path, monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda n, mode, dynamic: compiler(n, backend="aot_eager", dynamic=dynamic)
    )
    plain, rows = trained(index, tmp_path)
    model, after = trained(index, tmp_path, "compiled", compile="always")
    for name, value in state(plain).items():
        torch.testing.assert_close(state(model)[name], value, rtol=1e-4, atol=1e-5)
    assert after[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=1e-4)


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_the_log(index, tmp_path):
    run = TrainingRun("net", tmp_path / "log.csv", tensorboard=tmp_path / "board")
    fit(network(), *parts(index), SETTINGS, run)
    log, shown = pd.read_csv(tmp_path / "log.csv"), events(tmp_path / "board")
    assert set(shown) == set(training_log.SCALARS)
    for tag, pairs in shown.items():
        assert [s for s, _ in pairs] == list(log["step"])
        np.testing.assert_allclose([v for _, v in pairs], log[tag], rtol=1e-6)


def test_a_resumed_tensorboard_has_no_step_twice(tmp_path):
    row = dict.fromkeys(training_log.LOG_COLUMNS, 1.0)
    with training_log.TensorBoard(tmp_path) as board:
        for step in (10, 20, 30):
            board.add({**row, "step": step})
    with training_log.TensorBoard(
        tmp_path, step=20
    ) as board:  # killed after 30, the checkpoint is of 20
        for step in (30, 40):
            board.add({**row, "step": step, "validation_loss": float("nan")})
    shown = events(tmp_path)
    assert [s for s, _ in shown["loss"]] == [10, 20, 30, 40]
    assert [s for s, _ in shown["validation_loss"]] == [10, 20]


def test_without_the_package_tensorboard_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="needs the package tensorboard: pip install"):
        training_log.TensorBoard(tmp_path)


def test_a_network_with_dropout_resumes_in_the_same_bits(index, tmp_path):
    from training_cases import stop_at

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
