"""The forward pass as configured: precision, memory layout, compilation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config.sections import Compute

# Compiling takes a GPU job as long as some thousand steps that are not compiled
# (benchmarks/RESULTS.md).
COMPILED_STEPS = 8000


class Forward:
    """The network's output in float32 for inputs (B, 3, P, P).

    It is computed in the precision, and compiled, as configured. `steps` is the length of the
    training: one too short to earn the compilation back is not compiled (`auto`).
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str,
        compute: Compute,
        steps: int,
    ) -> None:
        self._network = network
        self._device_type = device.type
        self._bf16 = precision == "bf16"

        on_gpu = device.type == "cuda"
        pays = on_gpu and steps >= COMPILED_STEPS
        wanted = compute.compile == "always" or (compute.compile == "auto" and pays)
        if wanted and not compute.deterministic:
            # On a GPU the compiled graphs are replayed as CUDA graphs: one launch instead of dozens
            # a step.
            mode = "reduce-overhead" if on_gpu else None
            self._network = torch.compile(network, mode=mode, dynamic=False)  # type: ignore[assignment]

    def __call__(self, noisy: Tensor) -> Tensor:
        """(B, 3, P, P) on the device, noisy -> denoised."""
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._bf16):
            output: Tensor = self._network(noisy)

        return output.float()
