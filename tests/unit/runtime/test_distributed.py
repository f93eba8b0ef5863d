"""One training job in two processes (gloo): the same curve as one process with the same batches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tgdpet.cli import arguments
from tgdpet.networks import weights
from tgdpet.runtime import device, distributed
from tgdpet.runtime.distributed import World
from tgdpet.training import jobs
from training_cases import SETTINGS, network, write_index

OPTIONS = arguments.to_options(
    replace(SETTINGS, epochs=4, batch=5)
).split()  # 16 slices: batches of 5, and one of 1
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def command(root, script, *words, launch=()):
    start = [sys.executable, *launch, str(root / "scripts" / script)]
    # In bf16 the curves would differ by rounding, as the batches are parted.
    common = [
        "--device",
        "cpu",
        "--precision",
        "float32",
        "--threads",
        "2",
        "--seed",
        "3",
        *OPTIONS,
    ]

    return [*start, *map(str, words), *common]


def run(*args, more=(), **options):
    done = subprocess.run(
        [*command(*args, **options), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def curve(path):
    return pd.read_csv(path)[["step", "epoch", "loss", "validation_loss"]].to_numpy()


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path / "data", samples=("60s", "30s"))


def test_a_batch_is_parted_whole_and_weighted_by_size():
    for count, size in [(8, 2), (7, 3), (1, 2), (5, 8)]:
        parts = [World(r, size).part(count) for r in range(size)]
        assert [i for part, _ in parts for i in range(count)[part]] == list(range(count))
        means = [np.arange(count)[part].mean() if share else 0.0 for part, share in parts]
        whole = np.mean([m * share for m, (_, share) in zip(means, parts, strict=True)])
        assert whole == pytest.approx(np.arange(count).mean())


def test_alone_nothing_is_spread(index):
    model = network()
    with (
        distributed.joined(torch.device("cpu")) as world,
        world.spread(model, torch.device("cpu")) as spread,
    ):
        assert world == World() and spread is model
        assert world.mean(torch.tensor([2.0])) == 2.0


def test_threads_are_shared_by_processes(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert "2 processes" in device.describe(device.pick("cpu", 4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_process_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="process 2 of this job finds 1 GPU"):
        device.pick("cuda")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert device.pick("cuda") == torch.device("cuda", 0)


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one(root, tmp_path, index):
    for name, launch in [("one", ()), ("two", TWO)]:
        words = (
            "--dataset",
            index,
            "--name",
            "net",
            "--width",
            "0.0625",
            "--out",
            tmp_path / f"{name}.safetensors",
        )
        run(root, "05_train.py", *words, launch=launch)
    one, two = (curve(tmp_path / f"{n}_log.csv") for n in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-4)
    states = [weights.load(tmp_path / f"{n}.safetensors")[0].state_dict() for n in ("one", "two")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=2e-3, atol=2e-5, msg=name)
    assert "2 processes" in json.loads((tmp_path / "two.json").read_text())["provenance"]["device"]


@pytest.mark.slow
def test_two_processes_keep_useful_kernels_and_the_curve(root, tmp_path, index):
    base, table = tmp_path / "base.safetensors", tmp_path / "kse.csv"
    weights.save(base, network(), weights.Card("base", 0.0625, 1000.0))
    jobs.score_table(network(), 5, 1.0).to_csv(table, index=False)
    for name, launch in [("one", ()), ("two", TWO)]:
        files = ("--dataset", index, "--base", base, "--scores", table)
        entry = ("--method", "tgd", "--fraction", "0.5", "--batchnorm", "train")
        words = (*files, *entry, "--name", "net", "--out", tmp_path / f"{name}.safetensors")
        run(root, "07_adapt.py", *words, launch=launch)
    np.testing.assert_allclose(
        curve(tmp_path / "two_log.csv"), curve(tmp_path / "one_log.csv"), rtol=1e-4
    )
    assert json.loads((tmp_path / "two.json").read_text())["useful_unchanged"]


@pytest.mark.slow
def test_two_processes_stopped_together_resume_together(root, tmp_path, index):
    def words(name):
        return ("--dataset", index, "--name", "net", "--width", "0.0625",
                "--checkpoint", tmp_path / f"{name}.ckpt", "--checkpoint-minutes", "0",
                "--out", tmp_path / f"{name}.safetensors")  # fmt: skip

    cut = subprocess.Popen(
        [*command(root, "05_train.py", *words("cut"), launch=TWO), "--epochs", "40"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "cut.ckpt").exists():
        assert cut.poll() is None, cut.stderr.read()[-2000:]
        time.sleep(0.01)
    cut.send_signal(signal.SIGTERM)
    said = cut.communicate(timeout=120)[1]
    assert cut.returncode != 0 and said.count("run it again to resume") == 1, said[-2000:]
    again = run(root, "05_train.py", *words("cut"), more=("--epochs", "40"), launch=TWO)
    assert again.stderr.count("resumes at step") == 1
    run(root, "05_train.py", *words("whole"), more=("--epochs", "40"), launch=TWO)
    assert (curve(tmp_path / "cut_log.csv") == curve(tmp_path / "whole_log.csv")).all()
    assert not (tmp_path / "cut.ckpt").exists()


def test_synced_statistics_of_one_process_are_those_of_batch_norm(monkeypatch):
    monkeypatch.setattr(distributed.distributed, "all_reduce", lambda _: None)
    for plain in (
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, momentum=None),
    ):
        synced = type(plain)(3, affine=plain.affine, momentum=plain.momentum)
        synced.__class__ = distributed._synced(type(plain))
        inputs = [(100 + 5 * torch.randn(4, 3, 6, 5)).requires_grad_() for _ in range(2)]
        again = [x.detach().clone().requires_grad_() for x in inputs]
        for x, y in zip(inputs, again, strict=True):
            (plain(x) ** 3).sum().backward()
            (synced(y) ** 3).sum().backward()
            torch.testing.assert_close(y.grad, x.grad, rtol=1e-3, atol=1e-4)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(synced.state_dict()[name], value)
        torch.testing.assert_close(plain.eval()(inputs[0]), synced.eval()(inputs[0]))
