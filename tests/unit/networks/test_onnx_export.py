"""A network as ONNX gives what torch gives, says how to use it, and holds nothing of the machine
that wrote it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tgdpet.networks import onnx_export, weights

pytestmark = pytest.mark.usefixtures("one_thread")

onnx = pytest.importorskip("onnx", reason="onnx is in the extra 'dev'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is in the extra 'dev'")


@pytest.fixture(scope="module")
def network():
    return weights.load(Path(__file__).parents[2] / "data" / "network-0.1.safetensors")


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    onnx_export.write_onnx(path, *network)
    return path


@pytest.mark.parametrize("shape", [(1, 3, 17, 31), (5, 3, 64, 48)])
def test_any_size_gives_what_torch_gives(network, written, shape):
    session = runtime.InferenceSession(written, providers=["CPUExecutionProvider"])
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2
    (out,) = session.run(None, {"noisy": x.numpy()})
    with torch.no_grad():
        expected = network[0](x).numpy()
    assert np.abs(expected - x.numpy()).max() > 0.01  # not the identity
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_names_and_sizes_are_those_that_were_promised(written):
    session = runtime.InferenceSession(written, providers=["CPUExecutionProvider"])
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    assert (given.name, taken.name) == ("noisy", "denoised")
    assert given.shape == taken.shape == ["batch", 3, "height", "width"]


def test_scale_channels_and_units_are_in_the_metadata(network, written):
    session = runtime.InferenceSession(written, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found == onnx_export.metadata(network[1])
    assert float(found["intensity_scale_bqml"]) == 4321.0
    assert (
        "Bq/mL" in found["units"]
        and "z-1, z, z+1" in found["input_channels"]
        and "diagnosis" in found["use"]
    )


def test_the_same_network_gives_the_same_bytes_without_paths(network, written, tmp_path):
    onnx_export.write_onnx(tmp_path / "again.onnx", *network)
    content = (tmp_path / "again.onnx").read_bytes()
    assert content == written.read_bytes()
    proto = onnx.load(written)
    parts = [*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer]
    assert not any(p.metadata_props or p.doc_string for p in parts)
    assert proto.opset_import[0].version == onnx_export.OPSET


def test_the_exporters_noise_is_kept_off_the_screen(root, network, tmp_path):
    weights.save(tmp_path / "net.safetensors", *network)
    words = ["export", "--model", tmp_path / "net.safetensors", tmp_path / "a.onnx"]
    done = subprocess.run(  # a process of its own, as the exporter warns once
        [sys.executable, "-m", "tgdpet", *words],
        cwd=root / "scripts",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_one_line_that_says_what_to_install(
    network, tmp_path, monkeypatch, package
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ValueError,
        match=rf"a\.onnx: ONNX needs the package {package}: pip install 'tgdpet\[onnx\]'",
    ):
        onnx_export.write_onnx(tmp_path / "a.onnx", *network)
    assert not list(tmp_path.iterdir())
