"""The table of kernel scores: read back in channel order, and refused where it is damaged or of
another network.
"""

from __future__ import annotations

import pandas as pd
import pytest

from tgdpet.io.files import write_csv
from tgdpet.networks.dncnn import DnCNN
from tgdpet.networks.score_table import read_scores
from tgdpet.training import jobs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return jobs.score_table(DnCNN(0.0625), 5, 1.0)


def test_the_order_of_rows_does_not_matter(table, tmp_path):
    write_csv(tmp_path / "k.csv", table.sample(frac=1, random_state=1))
    scores = read_scores(tmp_path / "k.csv", DnCNN(0.0625).scored)
    for module, rows in table.groupby("module"):
        assert scores[module] == pytest.approx(rows["kse"], rel=1e-9)


def test_the_table_says_which_kernels_are_alive():
    model = DnCNN(0.0625)
    model.blocks[1].conv.weight.data[:, 2] = 0  # nobody reads it
    table = jobs.score_table(model, 5, 1.0)
    dead = table[table["alive"] == 0]
    assert list(zip(dead["module"], dead["channel"], strict=True)) == [("blocks.0.conv", 2)]


def test_a_table_without_that_column_is_read(table, tmp_path):
    write_csv(tmp_path / "k.csv", table.drop(columns="alive"))
    assert set(read_scores(tmp_path / "k.csv")) == set(DnCNN(0.0625).scored)


def test_the_sparsity_of_a_kernel_that_nothing_reads_is_infinite(table, tmp_path):
    table = table.copy()
    table.loc[2, "sparsity"] = float("nan")
    write_csv(tmp_path / "k.csv", table)
    sparsity = read_scores(tmp_path / "k.csv", DnCNN(0.0625).scored, "sparsity")
    assert sparsity["blocks.0.conv"][2] == float("inf")
    assert sparsity["blocks.0.conv"][:2] == pytest.approx(table["sparsity"][:2], rel=1e-9)
    write_csv(tmp_path / "k.csv", table.assign(sparsity=-1.0))
    with pytest.raises(ValueError, match=r"k\.csv: column 'sparsity', row 2: .*>= 0, got -1"):
        read_scores(tmp_path / "k.csv", column="sparsity")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda t: t.drop(columns="kse"), "column 'kse' is missing"),
        (lambda t: t.assign(kse=float("nan")), "column 'kse', row 2: no value"),
        (lambda t: t.assign(kse="many"), "column 'kse', row 2: .*>= 0 and <= 1, got 'many'"),
        (lambda t: t[1:], r"blocks\.0\.conv: expected channels 0\.\.2, each once"),
        (lambda t: t[:-1], r"another network: blocks\.6\.conv: expected 16 kernels, got 15"),
        (lambda t: t[:0], r"another network: blocks\.0\.conv: expected 4 kernels, got 0"),
        (
            lambda t: t.replace("blocks.6.conv", "blocks.9.conv"),
            r"blocks\.6\.conv: expected 16 kernels, got 0",
        ),
        (
            lambda t: jobs.score_table(DnCNN(0.125), 5, 1.0),
            r"blocks\.0\.conv: expected 4 kernels, got 8",
        ),
    ],
)
def test_other_tables_are_refused(table, tmp_path, spoil, cause):
    write_csv(tmp_path / "k.csv", spoil(table))
    with pytest.raises(ValueError, match=r"k\.csv: .*" + cause):
        read_scores(tmp_path / "k.csv", DnCNN(0.0625).scored)
