"""Precision and compilation: as configured, and the same curve."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tgdpet.config.sections import Compute
from tgdpet.training.forward import Forward
from training_cases import SETTINGS, network, same, state, trained, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this processor has no bf16"
)
def test_half_precision_is_within_the_noise_of_training(index, tmp_path):
    settings = replace(SETTINGS, epochs=20)
    model, rows = trained(index, tmp_path, settings=settings, precision="float32")
    half, half_rows = trained(index, tmp_path, "half", settings, precision="bf16")
    assert not same(state(model), state(half))
    assert all(
        t.dtype == u.dtype for t, u in zip(state(model).values(), state(half).values(), strict=True)
    )
    assert half_rows[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=0.1)


def test_deterministic_training_on_a_processor_has_the_same_bits(index, tmp_path):
    plain, _ = trained(index, tmp_path)
    strict, _ = trained(index, tmp_path, "strict", deterministic=True)
    assert same(state(plain), state(strict))


@pytest.mark.parametrize(
    ("compute", "place", "steps", "compiled"),
    [
        ({}, "cpu", 10**6, False),
        ({}, "cuda", 8000, True),
        ({}, "cuda", 7999, False),
        ({"compile": "always"}, "cpu", 1, True),
        ({"compile": "never"}, "cuda", 10**6, False),
        ({"deterministic": True}, "cuda", 10**6, False),
    ],
)
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
