"""Networks for other programs: ONNX with the card's scale, channels and units in the file's
metadata.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..io.files import atomic
from .architecture import SLICES
from .dncnn import DnCNN
from .weights import FORMAT, Card

OPSET = 18  # the oldest that torch's exporter writes, so that older runtimes read it
CHANNELS = "slices z-1, z, z+1 along axial; at the ends the edge slice is repeated"


def write_onnx(path: str | Path, model: DnCNN, card: Card) -> None:
    """Write a network as ONNX: (batch, 3, height, width) float32 `noisy` -> `denoised`, batch,
    height, width free.

    Intensities are Bq/mL divided by the metadata's `intensity_scale_bqml`. The same network gives
    the same bytes. Raises ValueError naming the extra to install where a package is missing,
    OSError where the disk refuses.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ValueError(
            f"{path}: ONNX needs the package {error.name}: pip install 'tgdpet[onnx]'"
        ) from error
    proto = _graph(model)
    _forget_origin(proto.graph)
    proto.producer_name, proto.producer_version = "tgdpet", __version__
    onnx.helper.set_model_props(proto, metadata(card))
    onnx.checker.check_model(proto, full_check=True)
    with atomic(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))


def metadata(card: Card) -> dict[str, str]:
    """What another program has to know to use the graph, as ONNX's `metadata_props`."""
    return {
        "network": card.network,
        "parents": ", ".join(card.parents),
        "width": repr(card.width),
        "format": str(FORMAT),
        "intensity_scale_bqml": repr(card.intensity_scale_bqml),
        "units": "input and output: Bq/mL divided by intensity_scale_bqml",
        "axes": "batch, channel, height (y), width (x)",
        "input_channels": CHANNELS,
        "output_channels": "the same three slices, denoised; keep the middle one, channel 1",
        "use": "research only, not for diagnosis",
    }


def _graph(model: DnCNN) -> Any:
    """The ONNX ModelProto of the network in eval mode."""
    batch, height, width = (torch.export.Dim(n) for n in ("batch", "height", "width"))
    network = model.to("cpu").eval()
    # It warns about every operator of torchvision, which is not needed.
    quiet = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13's exporter calls a part of torch that is to go.
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
            program = torch.onnx.export(
                network, (torch.zeros(2, SLICES, 24, 32),), dynamo=True, verbose=False, opset_version=OPSET,
                input_names=["noisy"], output_names=["denoised"],
                dynamic_shapes=({0: batch, 2: height, 3: width},),
            )  # fmt: skip
    finally:
        quiet.setLevel(before)
    assert program is not None
    return program.model_proto


def _forget_origin(graph: Any) -> None:
    """Remove the exporter's notes on the source, which hold this machine's paths."""
    for part in (
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
