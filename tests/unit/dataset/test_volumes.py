"""Where volumes lie: what is taken is the same from memory and from the disk, and the choice is
said.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tgdpet.dataset import patches, volumes
from tgdpet.dataset.patches import PatchData
from tgdpet.runtime import device
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun
from training_cases import SETTINGS, network, parts, same, state, write_index

CPU = torch.device("cpu")


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(1)
    for name, count in (("a", 2), ("b", 3)):
        np.save(tmp_path / f"{name}.npy", rng.random((count, 4, 6, 5), np.float32))
    return [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "ab"]


def test_mapped_and_resident_volumes_give_the_same_bits(arrays):
    resident, mapped = volumes.Resident(arrays, 7.0, CPU), volumes.MappedVolumes(arrays, 7.0, CPU)
    starts = torch.tensor(
        [0, 230, 240, 590, 17]
    )  # the last values of the first array, the first of the second
    index = starts[:, None, None] + torch.tensor([[0, 3], [5, 9]])
    wanted = torch.from_numpy(np.concatenate([a.reshape(-1) for a in arrays]))[index] / 7.0
    for kind in (resident, mapped):
        assert torch.equal(kind.take(index), wanted)
    assert resident.take(index).dtype == mapped.take(index).dtype == torch.float32


@pytest.mark.parametrize(
    ("where", "free", "resident"),
    [("auto", 1e9, True), ("auto", 3000, False), ("memory", 3000, True), ("mapped", 1e9, False)],
)
def test_what_does_not_fit_is_mapped_and_said(arrays, monkeypatch, capsys, where, free, resident):
    monkeypatch.setattr(volumes, "free_bytes", lambda _: free)  # the volumes are 2400 bytes
    placed = volumes.load_volumes(arrays, 1.0, CPU, where=where, name="v1 (train)")
    assert isinstance(placed, volumes.Resident if resident else volumes.MappedVolumes)
    said = capsys.readouterr().err
    assert said.startswith("v1 (train): 5 volumes, 0.00 GB as float32; ")
    assert ("kept there" in said) == resident and ("memory-mapped" in said) != resident
    assert (f"(volumes: {where})" in said) == (where != "auto")


@pytest.mark.usefixtures("one_thread")
def test_training_on_mapped_volumes_ends_in_the_same_bits(tmp_path):
    index = write_index(tmp_path, samples=("60s", "30s"))
    ends = []
    for where in ("memory", "mapped"):
        model = network()
        data = PatchData(
            index,
            "train",
            scale=1000.0,
            patch=16,
            air_fraction=0.05,
            seed=1,
            device=CPU,
            volumes=where,
        )
        fit(model, data, parts(index)[1], SETTINGS, TrainingRun(where, tmp_path / f"{where}.csv"))
        ends.append(state(model))
    assert same(*ends)


def test_mapped_volumes_are_not_read_whole(tmp_path, monkeypatch):
    index = write_index(tmp_path)
    monkeypatch.setattr(
        patches,
        "load_volumes",
        lambda arrays, *_, **__: kept.extend(arrays) or volumes.MappedVolumes(arrays, 1, CPU),
    )
    kept: list[np.ndarray] = []
    PatchData(index, "train", scale=1.0, patch=16, air_fraction=0.0, seed=1, device=CPU)
    assert kept and all(isinstance(a, np.memmap) for a in kept)


def test_a_control_group_limits_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    whole = device.free_bytes(CPU)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    assert device.free_bytes(CPU) == 4000 < whole
    (tmp_path / "memory.max").write_text("500\n")
    assert device.free_bytes(CPU) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert device.free_bytes(CPU) > 4000
