"""Studies that are not simulated from the built-in body: a label map, and list mode of the exchange
format.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.constants import ORGANS
from tgdpet.io.nifti import image_name, read_image, read_labels

ROOT = Path(__file__).resolve().parents[2]
LIVER, BLADDER, BONE = 5, 21, 29  # TotalSegmentator v2


def label_map(folder: Path) -> Path:
    """A trunk with a liver, a bladder and a spine on 6 mm voxels."""
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * 6.0 for n in (60, 48, 56)), indexing="ij"
    )
    labels = np.zeros(x.shape, np.uint8)
    labels[(x / 12) ** 2 + ((y + 50) / 12) ** 2 <= 1] = BONE
    labels[((x - 50) / 75) ** 2 + (y / 60) ** 2 + ((z - 60) / 55) ** 2 <= 1] = LIVER
    labels[(x / 35) ** 2 + (y / 30) ** 2 + ((z + 90) / 25) ** 2 <= 1] = BLADDER
    folder.mkdir()
    nib.save(nib.Nifti1Image(labels, np.diag([6.0, 6.0, 6.0, 1.0])), folder / "labels.nii.gz")
    return folder


def table(path: Path, changes: dict[str, tuple[str, Path]]) -> Path:
    """The smoke run's studies with other sources and paths for some."""
    head, *rows = (ROOT / "config/studies_smoke.tsv").read_text().splitlines()
    lines = [f"{head}\tpath"]
    for row in rows:
        cells = row.split("\t")
        if cells[0] in changes:
            source, origin = changes[cells[0]]
            cells[2] = source
            cells.append(str(origin))
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_list_mode_and_anatomy_become_images(snakemake, tmp_path):
    simulated, read = tmp_path / "simulated", tmp_path / "read"

    def images(results: Path, *words: str) -> tuple[Path, Path]:
        """An image of an adaptation study and one of the lesion study, reconstructed by the
        workflow.
        """
        names = [("adapt01", "60s"), ("lesion", "real01")]
        paths = [
            results / "recon" / f"sub-{n}" / "pet" / image_name(n, "v2", sample)
            for n, sample in names
        ]
        done = snakemake(
            *paths, "--configfile", "config/smoke.yaml", "--config", f"results={results}", *words
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return paths[0], paths[1]

    first, _ = images(simulated, "--notemp")
    scan = tmp_path / "scan.petsird"
    export = [
        sys.executable,
        "scripts/02_export.py",
        "--listmode",
        simulated / "listmode/adapt01",
        "--out",
        scan,
    ]
    subprocess.run(list(map(str, export)), cwd=ROOT, check=True)
    changes = {"adapt01": ("petsird", scan), "lesion": ("anatomy", label_map(tmp_path / "patient"))}
    again, lesion = images(read, f"studies={table(tmp_path / 'studies.tsv', changes)}")

    one, two = read_image(first), read_image(again)
    np.testing.assert_allclose(two.data, one.data, rtol=0.01, atol=1e-3 * one.data.max())
    for key in ("InjectedRadioactivity", "BodyWeight", "ScanStart", "FrameDuration"):
        assert two.sidecar[key] == pytest.approx(one.sidecar[key])
    organs, _ = read_labels(read / "listmode/lesion/organs.nii.gz")
    image = read_image(lesion).data
    mean = {name: image[organs == ORGANS[name]].mean() for name in ("liver", "lesion", "body")}
    assert mean["lesion"] > 1.3 * mean["liver"] > 2 * mean["body"]


def test_a_missing_file_is_told_before_anything_runs(snakemake, tmp_path):
    studies = table(tmp_path / "studies.tsv", {"adapt01": ("petsird", tmp_path / "none.petsird")})
    done = snakemake("-n", "--configfile", "config/smoke.yaml", "--config", f"studies={studies}")
    assert done.returncode != 0
    assert (
        f"study adapt01: column path: {tmp_path}/none.petsird: no such file or folder"
        in done.stdout
    )
