"""The page beside a network's weights: its numbers are those of the run, and the same run writes
the same page.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

import tgdpet
from tgdpet.config.sections import NetworkEntry
from tgdpet.dataset.index import read_index
from tgdpet.io import nifti
from tgdpet.io.files import sha256
from tgdpet.networks import model_card, weights
from tgdpet.training import jobs
from tgdpet.training.job import Job
from training_cases import SETTINGS, network, write_index


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path / "v1")


@pytest.fixture
def one_epoch():
    return replace(SETTINGS, epochs=1)


def train(folder, index, settings, name="my-net"):
    jobs.train(
        Job(name, index, folder / f"{name}.safetensors", 1, "cpu", 1, None), settings, 0.0625
    )
    return (folder / f"{name}.md").read_text()


def cell(page, key):
    return re.search(rf"^\| {re.escape(key)} \| (.*) \|$", page, re.M).group(1)


def test_a_trained_network_has_its_page(tmp_path, index, one_epoch):
    page = train(tmp_path, index, one_epoch)
    numbers = json.loads((tmp_path / "my-net.json").read_text())
    _, card = weights.load(tmp_path / "my-net.safetensors")
    assert "# my-net\n" in page and "**not for diagnosis**" in page
    assert cell(page, "made by") == "train, from scratch" and cell(page, "parents") == "none"
    assert cell(page, "width").startswith("0.0625 times")
    assert "`v1/index.tsv`" in page and f"divided by {card.intensity_scale_bqml:.6g} Bq/mL" in page
    assert cell(page, "trained on") == "a | 8" and cell(page, "held out for validation") == "b | 8"
    assert cell(page, "last training loss") == f"{numbers['final_loss']:.6g}"
    assert (
        cell(page, "last PSNR on held-out studies, dB") == f"{numbers['final_validation_psnr']:.6g}"
    )
    total = numbers["kernels_total"]
    assert cell(page, "kernels retrained") == f"{total} of {total}"
    assert cell(page, "learning_rate") == "0.003" and cell(page, "seed") == "1"
    assert cell(page, "dataset") == sha256(index) and cell(page, "tgdpet") == tgdpet.__version__


def test_the_same_run_writes_the_same_page_anywhere(tmp_path, index, one_epoch, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    page = train(tmp_path / "one", index, one_epoch)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert train(tmp_path / "two", write_index(tmp_path / "moved" / "v1"), one_epoch) == page
    assert str(tmp_path) not in page


def test_an_adapted_network_names_its_chain_and_what_was_retrained(tmp_path, index, one_epoch):
    train(tmp_path, index, one_epoch, "base")
    table = tmp_path / "kse.csv"
    jobs.score_table(network(), 5, 1.0).to_csv(table, index=False)
    job = Job("child", index, tmp_path / "child.safetensors", 1, "cpu", 1, None)
    entry = NetworkEntry(method="tgd", base="base", data="adapt", fraction=0.3)
    jobs.adapt(job, one_epoch, entry, tmp_path / "base.safetensors", table)
    page = (tmp_path / "child.md").read_text()
    numbers = json.loads((tmp_path / "child.json").read_text())
    assert cell(page, "made by") == "tgd" and cell(page, "parents") == "base -> child"
    assert (
        cell(page, "kernels retrained")
        == f"{numbers['kernels_retrained']} of {numbers['kernels_total']}"
    )
    assert 0 < numbers["kernels_retrained"] < numbers["kernels_total"]
    assert (
        cell(page, "all other kernels bit for bit as before") == "yes"
        and cell(page, "fraction") == "0.3"
    )


def test_a_number_that_is_missing_has_no_row(index):
    numbers = {"final_loss": 0.5, "final_validation_psnr": None}
    page = model_card.markdown(
        weights.Card("n", 1.0, 1.0), numbers, read_index(index), "v1/index.tsv", "n.safetensors"
    )
    assert (
        cell(page, "last training loss") == "0.5"
        and "PSNR on" not in page
        and "retrained |" not in page
    )


def test_the_header_is_yaml_and_text_cannot_break_a_table(index):
    card = weights.Card("n", 1.0, 1.0, settings={"note": "a | b\nc"})
    page = model_card.markdown(card, {}, read_index(index), "v1/index.tsv", "n.safetensors")
    header = yaml.safe_load(page.split("---\n")[1])
    assert header["license"] == "apache-2.0" and "pet" in header["tags"]
    assert r"| note | a \| b c |" in page


def test_its_python_loads_the_network(tmp_path, index, one_epoch, monkeypatch):
    page = train(tmp_path, index, one_epoch)
    monkeypatch.chdir(tmp_path)
    nifti.write_image("in.nii.gz", np.full((16, 16, 3), 500, np.float32), np.eye(4), {})
    space: dict[str, object] = {}
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(code, "my-net.md", "exec"), space)
    assert space["clean"].shape == (16, 16, 3) and len(code.strip().splitlines()) <= 5
