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

import dicom_patients
from tgdpet.cli import command
from tgdpet.config.studies import read_studies
from tgdpet.io.nifti import read_image, read_labels

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "network": {"width": 0.0625},
    "train": {"epochs": 2, "patch": 16, "patches_per_slice": 2.0},
    "adapt": {"epochs": 1, "patch": 16},
    "online": {"epochs": 1, "patch": 16},
}


def imported(*words: object) -> None:
    command.main(["import", *map(str, words)])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients of an old protocol, two of a new one, one to test on: imported from DICOM."""
    folder = tmp_path_factory.mktemp("images")
    dicom_patients.write_patients(folder / "dicom")

    out = folder / "images"
    imported(folder / "dicom/old", out, "--study", "old", "--protocol", "v1")
    imported(folder / "dicom/new", out, "--study", "new", "--role", "adapt")
    imported(folder / "dicom/test", out, "--study", "test", "--role", "test_high_bmi")
    return out


def test_dose_levels_become_the_table_of_the_example_which_names_nobody(images):
    made = read_studies(images / "studies.tsv")
    shown = read_studies(ROOT / "config/studies_images.tsv")
    assert [(s.study, s.role) for s in made] == [(s.study, s.role) for s in shown]

    names = sorted(path.name for path in images.rglob("*.nii.gz"))
    assert len(names) == 3 * 4 + 3 * 3
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
    assert (results / "figures/training.png").exists() and (results / "figures/fig5.png").exists()

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
        ({"study": "old9"}, {}, r"study old9: column path: no image in .*sub-old9/pet"),
        ({}, {"images": {"reference": "2in1"}}, "study old1: expected the target desc-2in1"),
        ({}, {"grid": {"voxel_mm": [4.0, 4.0, 4.0]}}, "of 4 x 4 x 4 mm, got 4 x 4 x 5"),
        ({}, {"train": {"patch": 48}}, "expected slices of at least 48 voxels"),
        ({"role": "adapt"}, {}, "study old1: expected the target .* of rec-v2, got rec-v1"),
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
            for key in list(one.keys()):
                assert one.get_tensor(key).tobytes() == two.get_tensor(key).tobytes(), (name, key)


def test_images_of_other_voxels_are_resampled_if_asked(snakemake, images, tmp_path):
    settings = {"grid": {"voxel_mm": [5.0, 5.0, 5.0]}, "images": {"resample": True}}
    small, results = tmp_path / "small.yaml", tmp_path / "results"
    small.write_text(yaml.safe_dump({**SMALL, **settings}))
    target = results / "recon/sub-test1/pet/sub-test1_trc-FDG_rec-v2_desc-1in4_pet.nii.gz"
    words = ("--configfile", "config/images.yaml", small, "--config", f"results={results}")
    table = f"studies={images / 'studies.tsv'}"
    done = snakemake(target, results / "organs/test1.nii.gz", *words, table)
    assert done.returncode == 0, done.stdout[-3000:]

    image = read_image(target)
    np.testing.assert_allclose(image.voxel_mm, 5, rtol=1e-5)
    assert read_labels(results / "organs/test1.nii.gz")[0].shape == image.data.shape

    planned = snakemake("-n", "--quiet", "rules", *words, table)
    assert "resample_image" in planned.stdout and "denoise_found" in planned.stdout
