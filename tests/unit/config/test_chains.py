"""Which networks need the old task's data."""

import pytest

from tgdpet.config import chains, sections
from tgdpet.config.loading import load_config

NETWORKS = {
    "v1-net": {"method": "train", "data": "v1"},
    "TGD-net": {"method": "tgd", "base": "v1-net", "data": "adapt"},
    "TGD-N2N": {"method": "tgd", "base": "TGD-net", "data": "n2n"},
}


def test_the_old_task_is_what_the_chain_starts_from():
    networks = load_config(
        {
            "networks": {
                **NETWORKS,
                "v2-net": {"data": "v2"},
                "n": {"method": "finetune", "data": "n2n", "base": "v2-net"},
            }
        }
    ).networks
    assert [chains.old_task(n, networks) for n in ("TGD-N2N", "n", "v1-net")] == [
        "v1",
        "v2",
        "v1",
    ]


@pytest.mark.parametrize(
    ("keys", "needs"),
    [
        ({}, False),
        ({"penalty": "lwf", "strength": 1.0}, False),
        ({"penalty": "lwf"}, True),
        ({"penalty": "ewc", "strength": 1.0}, True),
        ({"replay": 0.1}, True),
    ],
)
def test_old_data_are_read_only_where_they_are_needed(keys, needs):
    entry = sections.NetworkEntry(method="finetune", data="adapt", **keys)
    assert chains.needs_old_data(entry, sections.Training()) is needs


@pytest.mark.parametrize(
    ("method", "data", "needs"),
    [("tgd", "adapt", True), ("tgd", "n2n", False), ("train", "v1", False)],
)
def test_a_log_of_the_old_task_needs_its_data(method, data, needs):
    entry = sections.NetworkEntry(method=method, data=data)
    watching = sections.Training(log_old=True)
    assert chains.needs_old_data(entry, watching) is needs
