"""Patches: right voxels, right neighbours, little air, and draws that depend on the seed and the
step alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tgdpet.dataset.index import read_index
from tgdpet.dataset.patches import PatchData, intensity_scale

NZ, NY, NX, P = 5, 20, 24, 8


@pytest.fixture
def index(tmp_path):
    """Every voxel holds a number of its own; volume 1 is volume 0 plus 1e5."""
    volume = 1.0 + np.arange(NZ * NY * NX, dtype=np.float32).reshape(NZ, NY, NX)
    np.save(tmp_path / "a.npy", np.stack([volume, volume + 1e5]))
    rows = [("a", "train", "a.npy", "60s", 0, 1, z, 0.5) for z in range(NZ)]
    columns = ["study", "split", "file", "sample", "input", "target", "slice", "body"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "index.tsv", sep="\t", index=False)
    return tmp_path / "index.tsv"


def load(index, air=0.05, scale=1.0, patch=P, seed=3):
    device = torch.device("cpu")
    return PatchData(
        index, "train", scale=scale, patch=patch, air_fraction=air, seed=seed, device=device
    )


@pytest.fixture
def two_shapes(tmp_path, index):
    """Beside study a, study b with other numbers of slices, rows and columns."""
    nz, ny, nx = 3, 16, 40
    volume = 1e6 + np.arange(nz * ny * nx, dtype=np.float32).reshape(nz, ny, nx)
    np.save(tmp_path / "b.npy", np.stack([volume + 1e5, volume]))
    table = pd.read_csv(index, sep="\t")
    rows = [("b", "train", "b.npy", "60s", 1, 0, z, 0.5) for z in range(nz)]
    more = pd.DataFrame(rows, columns=table.columns)
    pd.concat([table, more]).to_csv(index, sep="\t", index=False)
    return index


def test_studies_may_differ_in_shape(two_shapes):
    data = load(two_shapes, air=1.0)
    seen_columns = set()
    for step in range(40):
        batch = data.batch(torch.arange(NZ + 3), step, augment=False)
        of_a, of_b = batch.noisy[:NZ].double() - 1, batch.noisy[NZ:].double() - 1e6
        for z in range(3):
            number = of_b[z, 1].long()
            rows, columns = (number // 40) % 16, number % 40
            assert torch.equal(number // (16 * 40), torch.full_like(number, z))
            assert (rows.diff(dim=0) == 1).all() and (columns.diff(dim=1) == 1).all()
            seen_columns.add(int(columns[0, 0]))
        assert ((of_a // (NY * NX))[:, 1] == torch.arange(NZ)[:, None, None]).all()
        torch.testing.assert_close(batch.target[NZ:], batch.noisy[NZ:] + 1e5, atol=0.2, rtol=0)
    assert min(seen_columns) < 4 and max(seen_columns) > 28  # over the whole width


def test_three_neighbouring_slices_clamped_at_the_ends(index):
    batch = load(index).batch(torch.arange(NZ), 0, augment=False)
    slices = ((batch.noisy - 1) // (NY * NX)).long()
    assert slices.amin(dim=(2, 3)).equal(slices.amax(dim=(2, 3)))
    assert slices[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]


def test_target_lies_where_the_input_does_whatever_the_turn(index):
    data = load(index)
    for step in range(10):
        batch = data.batch(torch.arange(NZ), step)
        torch.testing.assert_close(batch.target - 1e5, batch.noisy, atol=0.02, rtol=0)


def test_all_eight_turns_occur_and_keep_the_patch_together(index):
    data = load(index)
    seen = set()
    for step in range(40):
        for patch in data.batch(torch.arange(NZ), step).noisy[:, 1]:
            down, right = int(patch[1, 0] - patch[0, 0]), int(patch[0, 1] - patch[0, 0])
            assert {abs(down), abs(right)} == {1, NX}
            seen.add((down, right))
    assert len(seen) == 8


def test_intensities_are_divided_by_the_scale(index):
    one, ten = (load(index, scale=s).batch(torch.arange(NZ), 0) for s in (1.0, 10.0))
    torch.testing.assert_close(one.noisy, 10 * ten.noisy)


def test_draws_depend_on_seed_and_step_alone(index):
    first, again, other = load(index), load(index), load(index, seed=4)
    first.batch(torch.arange(NZ), 6)
    rows = torch.arange(NZ)
    assert torch.equal(first.batch(rows, 7).noisy, again.batch(rows, 7).noisy)
    assert not torch.equal(first.batch(rows, 7).noisy, first.batch(rows, 8).noisy)
    assert not torch.equal(first.batch(rows, 7).noisy, other.batch(rows, 7).noisy)


def test_an_epoch_takes_every_slice_equally_often(index):
    order = load(index).epoch_order(0, 3 * NZ)
    assert torch.bincount(order).tolist() == [3] * NZ


def test_at_most_the_given_share_is_centred_on_air(tmp_path):
    volume = np.zeros((2, 64, 64), np.float32)
    volume[:, 20:44, 20:44] = 1000
    np.save(tmp_path / "a.npy", volume[None])
    frame = pd.DataFrame(
        [("a", "train", "a.npy", "60s", 0, 0, 0, 0.14)],
        columns=["study", "split", "file", "sample", "input", "target", "slice", "body"],
    )
    frame.to_csv(tmp_path / "index.tsv", sep="\t", index=False)
    for air in (0.0, 0.1):
        batch = load(tmp_path / "index.tsv", air).batch(
            torch.zeros(2000, dtype=torch.long), 0, augment=False
        )
        share = float((batch.target[:, 1, P // 2, P // 2] == 0).float().mean())
        assert share <= air + 3 * (air * (1 - air) / 2000) ** 0.5 + 1e-9


def test_scale_is_that_of_the_body(index):
    values = intensity_scale(index)
    assert 1e5 <= values < 1.1e5
    assert values == float(f"{values:.2g}")


def test_errors_name_file_and_cause(index):
    with pytest.raises(ValueError, match=r"a\.npy.*smaller than a patch"):
        load(index, patch=22)
    table = pd.read_csv(index, sep="\t").drop(columns="target")
    table.to_csv(index, sep="\t", index=False)
    with pytest.raises(ValueError, match=r"index\.tsv.*'target'"):
        read_index(index)


@pytest.mark.parametrize(
    ("column", "value", "cause"),
    [
        ("input", 2, r"a\.npy.*'input' names 2, there are 2"),
        ("slice", NZ, r"a\.npy.*'slice' names 5, there are 5"),
        ("target", -1, r"index\.tsv.*'target', row .*a whole number >= 0"),
        ("input", "x", r"index\.tsv.*'input', row .*a whole number >= 0"),
        ("slice", None, r"index\.tsv.*'slice', row .*no value"),
        ("file", None, r"index\.tsv.*'file'"),
        ("file", "b.npy", r"b\.npy: no such array"),
        ("split", "training", r"index\.tsv.*'split', row .*one of train, val"),
    ],
)
def test_a_row_that_points_nowhere_is_named(index, column, value, cause):
    table = pd.read_csv(index, sep="\t").astype({column: object})
    table.loc[0, column] = value
    table.to_csv(index, sep="\t", index=False)
    with pytest.raises((ValueError, FileNotFoundError), match=cause):
        load(index)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda a: np.where(a == a[1, 2, 3, 4], np.nan, a), "target volume 1: holds NaN"),
        (lambda a: a * 0, "target volume 1: nothing in it"),
        (lambda a: a[0], r"expected volumes \(V, Z, Y, X\)"),
        (lambda a: a.astype(int).astype(str), r"expected volumes .* of floats"),
    ],
)
def test_volumes_without_a_scale_are_named(index, spoil, cause):
    path = index.parent / "a.npy"
    np.save(path, spoil(np.load(path)))
    with pytest.raises(ValueError, match=r"a\.npy: " + cause):
        intensity_scale(index)


def test_truncated_volumes_are_named(index):
    path = index.parent / "a.npy"
    for size in (path.stat().st_size // 2, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"a\.npy: not a readable array"):
            load(index)


def test_a_table_for_validation_only_is_refused(index):
    pd.read_csv(index, sep="\t").assign(split="val").to_csv(index, sep="\t", index=False)
    with pytest.raises(ValueError, match=r"index\.tsv: no training slices"):
        load(index)
