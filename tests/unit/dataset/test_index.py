"""Training sets: one row a slice and pair, volumes as they were, studies held out whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tgdpet.dataset import index
from tgdpet.dataset.index import Pair, validation_studies
from tgdpet.io import nifti

SHAPE = (6, 5, 9)
AFFINE = nifti.grid_affine(SHAPE, (4.0, 4.0, 5.0))


def image(
    folder: Path, study: str, sample: str, valid: tuple[int, int] | None = (1, 7), **change: object
) -> Path:
    path = folder / nifti.image_name(study, "v2", sample)
    rng = np.random.default_rng([len(sample), *study.encode(), *sample.encode()])
    data = np.zeros(change.get("shape", SHAPE), np.float32)  # type: ignore[call-overload]
    data[1:4] = rng.uniform(500, 1000, data[1:4].shape)
    nifti.write_image(
        path,
        data,
        change.get("affine", AFFINE),
        {} if valid is None else {"ValidSlices": list(valid)},
    )  # type: ignore[arg-type]
    return path


def pairs_of(folder: Path, study: str, samples: tuple[str, ...] = ("30s", "60s")) -> list[Pair]:
    target = image(folder, study, "600s")
    return [Pair(study, s, image(folder, study, s), target) for s in samples]


def test_one_row_a_slice_and_pair(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, "a") + pairs_of(tmp_path, "b", ("90s",))
    table = index.build(pairs, ["b"], tmp_path / "set" / "index.tsv")
    assert list(table.columns) == [
        "study",
        "split",
        "file",
        "sample",
        "input",
        "target",
        "slice",
        "body",
    ]
    assert len(table) == 3 * 7
    assert (
        table.groupby(["study", "sample"])["slice"]
        .apply(list)
        .map(lambda z: z == list(range(1, 8)))
        .all()
    )
    assert set(table[table.study == "a"].split) == {"train"} and set(
        table[table.study == "b"].split
    ) == {"val"}
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "set" / "index.tsv", sep="\t"), table, check_dtype=False
    )


def test_rows_point_to_their_volumes(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, "a", ("30s", "45s", "60s"))
    table = index.build(pairs, [], tmp_path / "index.tsv")
    volumes = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert volumes.dtype == np.float32 and volumes.shape == (4, 9, 5, 6), (
        "(V, Z, Y, X); the target is stored once"
    )
    for pair in pairs:
        row = table[table["sample"] == pair.sample].iloc[0]
        assert row.file == "a.npy"
        assert np.array_equal(
            volumes[row.input].transpose(2, 1, 0), nifti.read_image(pair.noisy).data
        )
        assert np.array_equal(
            volumes[row.target].transpose(2, 1, 0), nifti.read_image(pair.target).data
        )


def test_halves_teach_each_other(tmp_path: Path) -> None:
    one, two = image(tmp_path, "a", "half1"), image(tmp_path, "a", "half2")
    table = index.build(
        [Pair("a", "half1", one, two), Pair("a", "half2", two, one)], [], tmp_path / "index.tsv"
    )
    assert np.load(tmp_path / "a.npy").shape[0] == 2
    assert set(zip(table["sample"], table.input, table.target, strict=True)) == {
        ("half1", 0, 1),
        ("half2", 1, 0),
    }


def test_without_valid_slices_all_are_used(tmp_path: Path) -> None:
    noisy, target = (image(tmp_path, "a", s, valid=None) for s in ("30s", "600s"))
    assert len(index.build([Pair("a", "30s", noisy, target)], [], tmp_path / "index.tsv")) == 9


def test_body_is_the_share_of_voxels_inside(tmp_path: Path) -> None:
    table = index.build(pairs_of(tmp_path, "a"), [], tmp_path / "index.tsv")
    assert table.body.tolist() == [0.5] * len(table)  # 3 of 6 rows of voxels


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (6, 5, 8)},
        {"shape": (5, 6, 9)},
        {"affine": nifti.grid_affine(SHAPE, (4.0, 4.0, 4.0))},
    ],
)
def test_images_on_different_grids_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    noisy, target = image(tmp_path, "a", "30s"), image(tmp_path, "a", "600s", **change)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"desc-600s_pet\.nii\.gz: expected .*, got .*, as in .*desc-30s_pet"
    ):
        index.build([Pair("a", "30s", noisy, target)], [], tmp_path / "index.tsv")
    assert not (tmp_path / "index.tsv").exists()


def test_validation_holds_out_whole_studies() -> None:
    studies = [f"s{i}" for i in range(20)]
    held = validation_studies(studies, 0.15, 1)
    assert len(held) == 3 and set(held) <= set(studies) and len(set(held)) == 3
    assert held == validation_studies(studies[::-1], 0.15, 1), (
        "whatever the order they are named in"
    )
    assert any(held != validation_studies(studies, 0.15, seed) for seed in range(2, 6))


@pytest.mark.parametrize(
    ("n", "fraction", "held"),
    [(6, 0.15, 1), (3, 0.01, 1), (3, 0.9, 1), (6, 0.9, 3), (6, 0.0, 0), (2, 0.5, 0), (1, 0.5, 0)],
)
def test_how_many_are_held_out(n: int, fraction: float, held: int) -> None:
    assert len(validation_studies([f"s{i}" for i in range(n)], fraction, 1)) == held
