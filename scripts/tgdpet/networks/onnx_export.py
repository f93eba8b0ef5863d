"""Networks for other programs: ONNX with the card's scale, channels and units in the file's
metadata.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..io.files import atomic
from .architecture import SLICES
from .dncnn import DnCNN
from .weights import WEIGHTS_FORMAT, Card

OPSET = 18  # the oldest that torch's exporter writes, so that older runtimes read it
INPUT_CHANNELS = "slices z-1, z, z+1 along axial; at the ends the edge slice is repeated"


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

    proto = _exported(model)
    _forget_origin(proto.graph)

    proto.producer_name = "tgdpet"
    proto.producer_version = __version__
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
        "format": str(WEIGHTS_FORMAT),
        "intensity_scale_bqml": repr(card.intensity_scale_bqml),
        "units": "input and output: Bq/mL divided by intensity_scale_bqml",
        "axes": "batch, channel, height (y), width (x)",
        "input_channels": INPUT_CHANNELS,
        "output_channels": "the same three slices, denoised; keep the middle one, channel 1",
        "use": "research only, not for diagnosis",
    }


def _exported(model: DnCNN) -> Any:
    """The ONNX ModelProto of the network in eval mode."""
    network = model.to("cpu").eval()
    example = torch.zeros(2, SLICES, 24, 32)
    free_axes = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height"),
        3: torch.export.Dim("width"),
    }

    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["noisy"],
            output_names=["denoised"],
            dynamic_shapes=(free_axes,),
        )

    assert program is not None
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's warnings that no user can act on."""
    # It warns about every operator of torchvision, which is not needed.
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)

    try:
        with warnings.catch_warnings():
            # torch 2.13's exporter calls a part of torch that is to go.
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _forget_origin(graph: Any) -> None:
    """Remove the exporter's notes on the source, which hold this machine's paths."""
    parts = [
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ]

    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
