"""The networks that come with the package: whole, found by name, and plain about their limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tgdpet.io.files import sha256
from tgdpet.networks import shipped, weights
from tgdpet.networks.shipping import MOST_BYTES

NETWORKS = shipped.shipped()


def test_the_package_has_them() -> None:
    assert set(shipped.SHIPPED) <= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_is_whole_small_and_itself(name: str) -> None:
    network = NETWORKS[name]
    assert sha256(network.path) == network.sha256
    assert network.path.stat().st_size <= MOST_BYTES

    _, card = weights.load(shipped.find(name))
    assert card.network == name
    assert card.domain == network.domain
    assert card.domain["voxel_mm"] == [4.0, 4.0, 5.0]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_card_says_what_it_is(name: str) -> None:
    page = NETWORKS[name].card.read_text()
    words = ("tgdpet simulated cylinder", "never seen a patient", "4 x 4 x 5", "Apache-2.0",
             "injected activity, MBq", "not for diagnosis", "FDG", "99th percentile")  # fmt: skip
    assert [word for word in words if word not in page] == []


def test_nothing_tells_of_a_machine() -> None:
    index = json.loads((shipped.FOLDER / shipped.INDEX).read_text())
    assert set(index["provenance"]) == {"seed", "software", "device", "finished"}
    names = {path.name for path in shipped.FOLDER.iterdir()}
    files = {f"{name}{suffix}" for name in NETWORKS for suffix in (".safetensors", ".md")}
    assert names == files | {shipped.INDEX}


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.find("v2-net") == shipped.FOLDER / "v2-net.safetensors"
    (tmp_path / "v2-net").write_text("mine")
    assert shipped.find("v2-net") == Path("v2-net")


def test_what_is_neither_is_refused_with_the_names() -> None:
    with pytest.raises(FileNotFoundError, match=r"v3-net: no such network; .* come v1-net, v2-net"):
        shipped.find("v3-net")


def test_a_damaged_installation_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    shutil.copytree(shipped.FOLDER, folder)
    path = folder / "v2-net.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"0000")

    with pytest.raises(ValueError, match=r"v2-net\.safetensors: damaged"):
        shipped.find("v2-net", folder)

    path.unlink()
    with pytest.raises(FileNotFoundError, match="install tgdpet anew"):
        shipped.find("v2-net", folder)


def test_without_an_index_there_are_none(tmp_path: Path) -> None:
    assert shipped.shipped(tmp_path) == {}
