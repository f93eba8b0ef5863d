"""Seeds are the same on every machine and differ between purposes."""

from __future__ import annotations

import pytest
import torch

from tgdpet.runtime.seeds import derive, numpy_generator, torch_generator


@pytest.mark.parametrize(
    ("keys", "value"),  # printf '0' | b2sum -l 64, little endian, halved
    [
        ((0,), 4246866556266386882),
        ((2021, "study", 101), 5302221949695269091),
        ((2021, "subsample", "lesion", "thin", "0.1"), 882142574601185467),
    ],
)
def test_derived_seeds_never_change(keys: tuple[int, str], value: int) -> None:
    assert derive(*keys) == value


def test_every_key_counts_and_so_does_their_order() -> None:
    seeds = [
        derive(1),
        derive(2),
        derive(1, "a"),
        derive(1, "b"),
        derive(1, "a", "b"),
        derive(1, "b", "a"),
        derive(1, "ab"),
    ]
    seeds += [derive(1, "a", i) for i in range(1000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds), "torch and numpy take 63 bits"


def test_generators_repeat_and_are_independent_of_global_state() -> None:
    assert numpy_generator(1, "a").random(4).tolist() == numpy_generator(1, "a").random(4).tolist()
    assert numpy_generator(1, "a").random() != numpy_generator(1, "b").random()
    first = torch.rand(4, generator=torch_generator(1, "a"))
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(4, generator=torch_generator(1, "a")))
    assert not torch.equal(first, torch.rand(4, generator=torch_generator(1, "b")))
