"""TGD in two processes: `python tgd_two_processes.py MEETING_FILE RANK`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from tgd_cases import image, random_masks, small
from tgdpet.tgd import TGD


def whole(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state with sharded parameters put together, under the names of the plain network."""
    return {
        name.removeprefix("module."): (
            value.full_tensor() if hasattr(value, "full_tensor") else value
        )
        .detach()
        .clone()
        for name, value in model.state_dict().items()
    }


def check(model: nn.Module, before: dict[str, torch.Tensor], masks) -> None:
    now = whole(model)
    allowed = {f"{n}.{k}": mask for n, mask in masks.items() for k in ("weight", "bias")}
    allowed |= {
        f"{n.removesuffix('.conv')}.bn.{k}": mask
        for n, mask in masks.items()
        for k in ("weight", "bias")
    }
    for name, value in now.items():
        same = (value == before[name]).reshape(len(value) if value.ndim else 1, -1).all(1)
        free = allowed.get(name, torch.tensor(False))
        assert bool((same | free).all()), name
    for name, mask in masks.items():
        row_moved = (now[f"{name}.weight"] != before[f"{name}.weight"]).flatten(1).any(1)
        assert torch.equal(row_moved, mask), name


def steps(model: nn.Module, parameters) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad()
        (model(image(seed=10 * step + dist.get_rank())) ** 2).mean().backward()
        optimizer.step()


def ddp() -> None:
    from torch.nn.parallel import DistributedDataParallel

    model = small()
    masks = random_masks(model)
    before = whole(model)
    with TGD(model, masks, example_input=image(1)) as tgd:
        wrapped = DistributedDataParallel(model)
        steps(wrapped, tgd.parameters())
        assert tgd.unchanged()
    check(model, before, masks)

    # After wrapping it is refused by name, from outside and from inside.
    other = DistributedDataParallel(small())
    masks_of_other = {f"module.{name}": mask for name, mask in masks.items()}
    refused(other, masks_of_other, "before DistributedDataParallel wraps")
    refused(other.module, masks, "before DistributedDataParallel wraps")


def refused(model: nn.Module, masks, words: str) -> None:
    try:
        TGD(model, masks)
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"attached: expected an error with {words!r}")


def fsdp2() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))

    def shard(model: nn.Module) -> None:
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)

    for flow in ("parameter", "layer"):
        model = small()
        masks = random_masks(model)
        before = whole(model)

        with TGD(model, masks, flow=flow, example_input=image(1)) as tgd:
            shard(model)
            steps(model, model.parameters())
            assert tgd.unchanged()
        check(model, before, masks)
        refused(model, masks, "before fully_shard")


def main() -> None:
    meeting, rank = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", world_size=2, rank=int(rank))
    ddp()
    fsdp2()
    dist.barrier()
    print("useful kernels kept")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
