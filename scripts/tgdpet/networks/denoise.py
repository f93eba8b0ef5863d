"""Denoising whole volumes, slice by slice, with memory for a few slices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..io.files import sidecar
from ..io.nifti import Image, write_image
from ..io.orientation import from_ras, to_ras
from ..runtime.device import arithmetic, describe
from .architecture import SLICES
from .weights import Card

# Of all slices in one batch: 128 MiB for a layer of 256 channels, whatever the slices' size.
PIXELS_AT_ONCE = 2**17
MIDDLE = SLICES // 2


class VolumeLike(Protocol):
    """What can be cut into slices: an array, a memory map or nibabel's `dataobj` of an uncompressed
    file.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z)."""

    def __getitem__(self, key: Any, /) -> Any:
        """The voxels of some slices."""


@torch.inference_mode()
def denoise(
    model: nn.Module,
    image: VolumeLike,
    scale: float,
    device: torch.device | str = "cpu",
    on_slices: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The denoised image (X, Y, Z) float32, Bq/mL like `image`; `scale` is the network's Bq/mL that
    count as 1.

    Each slice goes through with its two neighbours, the ends repeated as in training, and the
    middle of the three output slices is kept. `image` is read a few slices at a time.
    `on_slices(n)` is called after every n slices. Raises ValueError where `image` is not a volume.
    """
    if len(image.shape) != 3 or 0 in image.shape:
        raise ValueError(f"denoise: expected an image (X, Y, Z), got shape {image.shape}")

    device = torch.device(device)
    cuda = device.type == "cuda"

    # Channels last is what CPUs and half precision like; a GPU's kernels for plain float32 are
    # written for the other.
    layout = torch.contiguous_format if cuda else torch.channels_last
    model = model.to(device, memory_format=layout).eval()  # type: ignore[call-overload]

    nx, ny, depth = image.shape
    denoised = torch.empty((depth, ny, nx), pin_memory=cuda)
    slices_at_once = max(1, PIXELS_AT_ONCE // (nx * ny))

    # TF32 and bfloat16 keep 10 and 7 bits of a factor, so that eight layers of them are off by 1e-3
    # of the scale or more: an image would depend on the machine. Plain float32 is the same to 1e-5
    # everywhere, and 256 slices of 192 x 192 are 25 TFLOP at the paper's width: about a second for
    # a GPU of 20 to 40 TFLOP/s.
    with arithmetic("float32", deterministic=False):
        for first in range(0, depth, slices_at_once):
            last = min(first + slices_at_once, depth)
            slices = _with_neighbours(image, first, last)

            # Pinned memory comes from torch's own pool, which hands it out again only when the copy
            # from it is done, so nothing here waits for the GPU.
            if cuda:
                slices = slices.pin_memory()

            slices = slices.to(device, non_blocking=True).div_(scale)

            # (slices, 3 neighbours, Y, X).
            stack = slices.unfold(0, SLICES, 1).permute(0, 3, 1, 2)
            output = model(stack.contiguous(memory_format=layout))
            denoised[first:last].copy_(output[:, MIDDLE] * scale, non_blocking=cuda)

            if on_slices is not None:
                on_slices(last - first)

        if cuda:
            torch.cuda.synchronize(device)

    return denoised.numpy().transpose(2, 1, 0)


def denoise_image(
    noisy: Image,
    network: tuple[nn.Module, Card],
    device: torch.device,
    on_slices: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The denoised data of an image, Bq/mL; ValueError where a value of it is not finite.

    The network sees axial slices whatever the order of the image's voxels, by its affine.
    """
    model, card = network

    data, _ = to_ras(noisy.data, noisy.affine)
    clean = denoise(model, data, card.intensity_scale_bqml, device, on_slices)
    clean = from_ras(clean, noisy.affine)

    if not np.isfinite(clean).all():
        raise ValueError(
            f"{card.network} gives NaN or infinite values; "
            f"the input's largest is {noisy.data.max():g}"
        )

    return clean


def write_denoised(
    path: str | Path,
    noisy: Image,
    network: tuple[nn.Module, Card],
    device: torch.device,
    inputs: Iterable[Path],
    settings: Mapping[str, Any],
    on_slices: Callable[[int], None] | None = None,
) -> None:
    """Denoise `noisy` with a loaded network and write it to `path`: on its file's own grid, Bq/mL,
    header and sidecar carried over.

    The sidecar gains `Network` and the provenance, made of the files `inputs` and the `settings`.
    Raises ValueError where the network's output is not finite.
    """
    started = time.time()

    try:
        clean = denoise_image(noisy, network, device, on_slices)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

    provenance = sidecar(inputs, settings, None, describe(device), started)
    content = {**noisy.sidecar, "Network": network[1].network, "provenance": provenance}
    write_image(path, clean, noisy.affine, content, noisy.stored)


def check_folders(
    networks: Sequence[Path], images: Sequence[Path], folders: Sequence[Path]
) -> None:
    """Raise ValueError where images that each network writes to its own of `folders`, under the
    names of `images`, would overwrite one of these or one another; it names the option.
    """
    if len(folders) != len(networks):
        expected = f"expected {len(networks)}, one for each --network"
        raise ValueError(f"--out-dir: {expected}, got {len(folders)}")

    _check_each_once("--images", [path.name for path in images])
    _check_each_once("--out-dir", [str(folder.resolve()) for folder in folders])

    read = {path.resolve().parent: path.name for path in images}
    for folder in folders:
        if name := read.get(folder.resolve()):
            would = f"is the folder of {name}, which would be overwritten"
            raise ValueError(f"--out-dir: {folder} {would}")


def _check_each_once(option: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise ValueError(f"{option}: {twice} comes twice; one would overwrite the other")


def _with_neighbours(image: VolumeLike, first: int, last: int) -> Tensor:
    """The slices `first` to `last` - 1 and one more at each side: (slices, Y, X) float32, their own
    memory.
    """
    depth = image.shape[2]
    low = max(first - 1, 0)
    high = min(last + 1, depth)
    block = np.asarray(image[:, :, low:high], np.float32).transpose(2, 1, 0)

    # The edge slice again where there is no neighbour.
    wanted = np.clip(np.arange(first - 1, last + 1), 0, depth - 1)

    return torch.from_numpy(np.ascontiguousarray(block[wanted - low]))
