"""Networks from images that exist: of DICOM dose levels, and of a finished run's own folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors import safe_open

pytest.importorskip("pydicom")

import dicom_series
from tgdpet.cli import command
from tgdpet.config.studies import read_studies

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "grid": {"voxel_mm": [3.0, 4.0, 5.0]},
    "network": {"width": 0.0625},
    "train": {"epochs": 2, "patch": 16, "patches_per_slice": 2.0},
    "adapt": {"epochs": 1, "patch": 16},
    "online": {"epochs": 1, "patch": 16},
}


def body(n_slices: int, seed: int) -> np.ndarray:
    """A body of 5 kBq/mL with a hot organ, (slices, rows, columns), without noise."""
    z, y, x = np.indices((n_slices, 28, 36))
    shift = np.random.default_rng(seed).uniform(-2, 2)
    inside = ((y - 14) / 11) ** 2 + ((x - 18) / 14) ** 2 <= 1
    organ = (y - 12 - shift) ** 2 + (x - 13) ** 2 + (2 * (z - n_slices / 2)) ** 2 <= 25
    return 5000.0 * inside + 15000.0 * (inside & organ)


def noisy(clean: np.ndarray, level: float, seed: int) -> np.ndarray:
    """The same with noise of a relative standard deviation."""
    rng = np.random.default_rng(seed)
    return clean * np.maximum(0.0, 1 + level * rng.standard_normal(clean.shape))


def scan(folder: Path, clean: np.ndarray, levels: dict[str, float], seed: int) -> None:
    """A patient's DICOM series, one for each dose level."""
    for number, (name, level) in enumerate(levels.items()):
        dicom_series.write(folder / name, noisy(clean, level, 10 * seed + number))


def imported(*words: object) -> None:
    command.main(["import", *map(str, words)])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two old patients of differing length, a new one and one to test on, imported from DICOM."""
    folder = tmp_path_factory.mktemp("images")
    old = {"Full_dose": 0.02, "1-4 dose": 0.2, "1-20 dose": 0.5}
    for number, n_slices in enumerate((6, 8)):
        scan(folder / f"old/Doe_{number}", body(n_slices, number), old, number)
    scan(folder / "new/Doe_3", body(7, 3), {"Full_dose": 0.03, "1-10 dose": 0.4}, 3)
    scan(folder / "test/Doe_4", body(6, 4), {"Full_dose": 0.03, "1-10 dose": 0.4}, 4)

    out = folder / "images"
    imported(folder / "old", out, "--study", "old", "--protocol", "v1")
    imported(folder / "new", out, "--study", "new", "--role", "adapt")
    imported(folder / "test", out, "--study", "test", "--role", "test_high_bmi")
    return out


def test_dose_levels_become_a_table_that_names_nobody(images):
    studies = {study.study: study for study in read_studies(images / "studies.tsv")}
    assert {name: study.role for name, study in studies.items()} == {
        "old1": "train_v1v2", "old2": "train_v1v2", "new1": "adapt", "test1": "test_high_bmi",
    }  # fmt: skip
    names = sorted(path.name for path in images.rglob("*.nii.gz"))
    assert len(names) == 3 + 3 + 2 + 2
    assert "sub-old1_trc-FDG_rec-v1_desc-1in20_pet.nii.gz" in names
    for path in images.rglob("*.json"):
        assert "Doe" not in path.read_text()


@pytest.mark.slow
def test_from_dicom_to_an_adapted_network_and_its_report(snakemake, images, tmp_path):
    small, results = tmp_path / "small.yaml", tmp_path / "results"
    small.write_text(yaml.safe_dump(SMALL))
    settings = (f"results={results}", f"studies={images / 'studies.tsv'}")
    done = snakemake("--configfile", "config/images.yaml", small, "--config", *settings)
    assert done.returncode == 0, done.stdout[-5000:]
    for rule in ("simulate", "reconstruct", "subsample", "train_online"):
        assert f"rule {rule}" not in done.stdout

    card = json.loads((results / "adapted/TGD-net.json").read_text())
    assert card["useful_unchanged"] is True
    metrics = pd.read_csv(results / "metrics/metrics.csv")
    assert set(metrics.network) == {"input", "v1-net", "FT-net", "TGD-net"}
    assert set(metrics.measure) >= {"rmse", "psnr", "ssim"}
    assert (results / "figures/training.png").exists()

    page = (results / "report.html").read_text()
    assert "study test1: no organ labels (column organs)" in page
    assert "no study has the role test_lesion" in page
    assert not (results / "figures/fig3.png").exists()


def first_row_with(images: Path, **cells: str) -> str:
    """The table with columns of its first study replaced."""
    table = pd.read_csv(images / "studies.tsv", sep="\t", dtype=str, keep_default_na=False)
    for column, value in cells.items():
        table.loc[table.index[0], column] = value
    return str(table.to_csv(sep="\t", index=False))


@pytest.mark.parametrize(
    ("cells", "settings", "cause"),
    [
        ({"path": "none"}, {}, "study old1: column path: none: no such file or folder"),
        ({"study": "old3"}, {}, r"study old3: column path: no image in .*sub-old3/pet"),
        ({}, {"images": {"reference": "2in1"}}, "study old1: expected the target desc-2in1"),
        ({}, {"grid": {"voxel_mm": [3.0, 4.0, 4.0]}}, "expected voxels of 3 x 4 x 4 mm, got 3 x 4 x 5"),
        ({}, {"train": {"patch": 32}}, "expected slices of at least 32 voxels"),
        ({"role": "adapt"}, {}, "study old1: expected the target desc-full .* of rec-v2, got rec-v1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_before_any_job(images, tmp_path, cells, settings, cause):
    from tgdpet.config.loading import load_config
    from tgdpet.config.schema import ConfigError
    from tgdpet.config.studies import check_studies

    table = tmp_path / "studies.tsv"
    table.write_text(first_row_with(images, **cells))
    raw = yaml.safe_load((ROOT / "config/images.yaml").read_text())
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for part in (raw, SMALL, settings, {"studies": str(table)}):
        for key, value in part.items():
            base[key] = {**base[key], **value} if isinstance(base.get(key), dict) else value

    config = load_config(base, "config")
    with pytest.raises(ConfigError, match=cause) as error:
        check_studies(config, read_studies(table))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
def test_a_finished_runs_images_give_its_networks_bit_for_bit(snakemake, smoke, tmp_path):
    head, *rows = (ROOT / "config/studies_smoke.tsv").read_text().splitlines()
    lines = [f"{head}\tpath\torgans"]
    for row in rows:
        study, role, _, bmi, seed = row.split("\t")
        organs = smoke / "listmode" / study / "organs.nii.gz" if role.startswith("test") else ""
        cells = (study, role, "images", bmi, seed, smoke / "recon", organs)
        lines.append("\t".join(map(str, cells)))
    table, results = tmp_path / "studies.tsv", tmp_path / "results"
    table.write_text("\n".join(lines) + "\n")

    networks = ["models/v2-net", "adapted/TGD-N2N/bladder"]
    targets = [results / f"{name}.safetensors" for name in networks]
    settings = (f"results={results}", f"studies={table}")
    done = snakemake(*targets, "--configfile", "config/smoke.yaml", "--config", *settings)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "rule reconstruct" not in done.stdout and "rule train:" in done.stdout

    for name, target in zip(networks, targets, strict=True):
        with safe_open(smoke / f"{name}.safetensors", "np") as one, safe_open(target, "np") as two:
            assert list(one.keys()) == list(two.keys())
            for key in one.keys():
                assert one.get_tensor(key).tobytes() == two.get_tensor(key).tobytes(), (name, key)
