"""The paper's network in numbers, for whoever counts its weights without loading torch."""

from __future__ import annotations

# Output channels of the first seven convolutions (Fig. 1).
CHANNELS = (64, 64, 128, 128, 128, 256, 256)
SLICES = 3  # neighbouring slices in and out


def layer_channels(width: float) -> list[int]:
    """Channels between the layers, input and output included, at `width` times the paper's."""
    hidden = [max(1, round(channels * width)) for channels in CHANNELS]
    return [SLICES, *hidden, SLICES]
