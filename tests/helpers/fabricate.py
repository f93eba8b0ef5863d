"""A made-up results tree, for tests of evaluation, figures and report: `python
tests/helpers/fabricate.py FOLDER`.

Nothing in it was reconstructed or trained: images are ellipses with filtered noise, networks are
Gaussian filters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from fabricated_training import training_log, training_sidecar
from tgdpet.config.sweep import MEASURED, PLAIN
from tgdpet.constants import ORGANS
from tgdpet.evaluation import voi_values
from tgdpet.evaluation.estimates import estimates
from tgdpet.evaluation.evaluate import METRICS_COLUMNS, evaluate_study
from tgdpet.evaluation.findings import findings, task_errors
from tgdpet.evaluation.phi import choose
from tgdpet.evaluation.results import image_path
from tgdpet.evaluation.seed_runs import load_runs
from tgdpet.io.files import write_csv, write_json
from tgdpet.io.nifti import grid_affine, read_image, write_image, write_labels

STUDIES = [
    ("train01", "train_v1v2", 21),
    ("train02", "train_v1v2", 31),
    ("adapt01", "adapt", 21),
    ("lesion", "test_lesion", 22),
    ("highbmi", "test_high_bmi", 34),
    ("bladder", "test_bladder", 23),
    ("catheter", "test_catheter", 24),
]
ONLINE_ROLES = ("test_bladder", "test_catheter")
NETWORKS: dict[str, dict[str, object]] = {
    "v1-net": {"method": "train", "data": "v1"},
    "v2-net": {"method": "train", "data": "v2"},
    "FT-net": {"method": "finetune", "base": "v1-net", "data": "adapt"},
    "TGD-net": {"method": "tgd", "base": "v1-net", "data": "adapt", "phi": 0.3},
    "TGD-N2N": {"method": "tgd", "base": "v2-net", "data": "n2n", "phi": 0.4},
    "TGD2-N2N": {"method": "tgd", "base": "TGD-net", "data": "n2n", "phi": 0.4},
}
WITH_ARTEFACT = ("v2-net", "TGD-net")  # at the bladder: what online learning is to remove
SWEEP: dict[str, object] = {"network": "TGD-net", "phi": [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0]}
SMOOTH_VOXELS = {
    "v1-net": 1.3,
    "v2-net": 0.8,
    "FT-net": 0.9,
    "TGD-net": 1.0,
    "TGD-N2N": 0.8,
    "TGD2-N2N": 1.0,
}
UPTAKE_SUV = {
    "body": 0.5,
    "lung": 0.3,
    "liver": 2.4,
    "lesion": 6.0,
    "bladder": 9.0,
    "heart": 3.0,
    "catheter": 6.0,
}
BQML_PER_SUV = 2500.0
SIDECAR = {
    "InjectedRadioactivity": 260.0,
    "BodyWeight": 70.0,
    "ScanStart": 3600.0,
    "TracerHalfLife": 6586.2,
}
DROP_COLUMNS = [
    "network",
    "phi",
    "kernels_dropped",
    "kernels_total",
    "parameters_dropped",
    "parameters_total",
    "rmse_to_undropped_bqml",
    "rmse_to_reference_bqml",
    "relative_change",
]


def labels(shape: tuple[int, int, int], bmi: float, catheter: bool) -> np.ndarray:
    """Ellipsoidal organs, RAS (liver at high x), (X, Y, Z) int16."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    wide = 0.62 + 0.012 * (bmi - 22)

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> np.ndarray:
        return np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1)

    in_body = (x / wide) ** 2 + (y / (0.7 * wide)) ** 2 < 1
    organs = np.where(in_body, ORGANS["body"], 0)

    for side in (-1, 1):
        organs[ball(side * 0.3, 0, 0.65, 0.2, 0.3, 0.35)] = ORGANS["lung"]

    organs[ball(-0.1, 0.1, 0.55, 0.15, 0.15, 0.16)] = ORGANS["heart"]
    organs[ball(0.24, 0, 0.05, 0.3, 0.34, 0.34)] = ORGANS["liver"]
    organs[ball(0.28, 0, 0.1, 0.07, 0.07, 0.1)] = ORGANS["lesion"]
    organs[ball(0, 0.1, -0.75, 0.16, 0.16, 0.14)] = ORGANS["bladder"]

    if catheter:
        organs[ball(0.22, 0.1, -0.85, 0.04, 0.06, 0.25)] = ORGANS["catheter"]

    return organs.astype(np.int16)


def truth(organs: np.ndarray) -> np.ndarray:
    """Activity in Bq/mL of a label image."""
    activity = np.zeros(organs.shape, np.float32)

    for name, suv in UPTAKE_SUV.items():
        if name in ORGANS:
            activity[organs == ORGANS[name]] = suv * BQML_PER_SUV

    return activity


def noisy(
    activity: np.ndarray, seconds: float, protocol: str, generator: np.random.Generator
) -> np.ndarray:
    """Blurred activity with noise whose texture is coarse for v1 and fine for v2."""
    sd_voxels = {"v1": (1.3, 0.9, 0.9), "v2": (0.55, 0.55, 0.55)}[protocol]
    white = ndimage.gaussian_filter(generator.standard_normal(activity.shape), sd_voxels)
    blurred = ndimage.gaussian_filter(activity, sd_voxels)

    # Of Poisson kind: the variance grows with the activity and falls with the time.
    scale = np.sqrt(np.maximum(blurred, 0) * BQML_PER_SUV)
    noise = white / white.std() * scale * 2.2 / np.sqrt(seconds)
    return np.maximum(blurred + noise, 0).astype(np.float32)


def samples(role: str) -> list[tuple[str, float, tuple[str, ...]]]:
    """(sample, seconds, protocols) of a role."""
    both = ("v1", "v2")
    new = ("v2",)

    if role == "test_lesion":
        realisations = [(f"real{i:02d}", 60.0, both) for i in range(1, 5)]
        return [("600s", 600, both), *realisations]

    if role == "test_high_bmi":
        return [("600s", 600, both), ("60s", 40, both)]

    if role in ONLINE_ROLES:
        return [("600s", 600, new), ("120s", 120, new), ("half1", 60, new), ("half2", 60, new)]

    return []


def fabricate(
    root: Path, shape: tuple[int, int, int] = (40, 40, 24), voxel_mm: tuple[float, ...] = (9, 9, 18)
) -> Path:
    """Write the whole tree under `root` / results; returns the results folder.

    Configuration and studies.tsv lie beside it.
    """
    results = root / "results"
    generator = np.random.default_rng(1)
    affine = grid_affine(shape, voxel_mm)
    write_json(root / "made_up.json", {"note": "made-up results"})
    _write_config(root, shape, voxel_mm)

    tables = []

    for study, role, bmi in STUDIES:
        if role.startswith("test"):
            tables.append(_write_study(results, study, role, bmi, shape, affine, generator))

    for table in tables:
        study = table["study"].iloc[0]
        write_csv(results / "metrics" / f"{study}.csv", table)

    write_csv(results / "metrics" / "metrics.csv", pd.concat(tables)[METRICS_COLUMNS])
    _write_networks(results, generator)
    _write_drop(results, affine)
    write_csv(results / "kse" / "sweep.csv", sweep())
    _write_benchmarks(results)
    judge(results)
    return results


def judge(results: Path) -> None:
    """The findings of what is there."""
    runs = load_runs([results])
    write_csv(results / "metrics" / "findings.csv", findings(runs)[0])
    write_csv(results / "metrics" / "gain.csv", task_errors(runs)[0])
    write_csv(results / "metrics" / "estimates.csv", estimates(runs)[0])
    write_csv(results / "metrics" / "phi.csv", choose([sweep()], 1))


def sweep(luck: float = 0.0) -> pd.DataFrame:
    """A table of a sweep whose gain levels off and whose forgetting grows.

    Both by `luck` (%) more than usual.
    """
    rows = []

    for phi in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, PLAIN):
        x = min(phi, 1.2)
        share = min(1.0, x**0.7)
        extra = luck / 100 if phi else 0.0

        row = {
            "network": "v1-net" if phi == 0 else f"TGD-net@{phi:g}",
            "phi": phi,
            "kernels_below": round(259 * share),
            "kernels_total": 259,
            "parameters_below": round(83299 * share),
            "parameters_total": 83299,
            "relative_change": float("nan") if phi == PLAIN else 0.5 * x**2,
            "old_loss": 0.01 * (1 + 0.05 * x**2 + extra),
            "new_loss": 0.01 * (1 - 0.2 * (1 - np.exp(-4 * x)) - extra),
            "old_held_out": True,
            "new_held_out": True,
        }
        rows.append(row)

    return pd.DataFrame(rows, columns=MEASURED)


def _write_config(root: Path, shape: tuple[int, int, int], voxel_mm: tuple[float, ...]) -> None:
    rows = [(study, role, "analytic", bmi, 100 + i) for i, (study, role, bmi) in enumerate(STUDIES)]
    columns = ["study", "role", "source", "bmi", "seed"]
    write_csv(root / "studies.tsv", pd.DataFrame(rows, columns=columns))

    results = root / "results"
    config = {
        "results": str(results),
        "networks": NETWORKS,
        "studies": str(root / "studies.tsv"),
        "sweep": SWEEP,
        "adapt": {"log_old": True},
        "grid": {"shape": list(shape), "voxel_mm": [float(v) for v in voxel_mm]},
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _write_study(
    results: Path,
    study: str,
    role: str,
    bmi: float,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """A test study's labels and images, noisy and denoised, and its measures."""
    organs = labels(shape, bmi, role == "test_catheter")
    organs_path = results / "listmode" / study / "organs.nii.gz"
    write_labels(organs_path, organs, affine)

    networks = [
        name for name, entry in NETWORKS.items() if entry["data"] != "n2n" or role in ONLINE_ROLES
    ]
    recon = results / "recon"
    denoised = results / "denoised"

    for sample, seconds, protocols in samples(role):
        for protocol in protocols:
            image = noisy(truth(organs), seconds, protocol, generator)
            write_image(image_path(recon, study, protocol, sample), image, affine, SIDECAR)

            if sample in ("600s", "half1", "half2"):
                continue

            for network in networks:
                path = image_path(denoised / network, study, protocol, sample)
                write_image(path, _denoise(image, organs, network), affine, SIDECAR)

    table, values = evaluate_study(
        study,
        role,
        "600s",
        organs_path,
        ORGANS,
        recon,
        denoised,
        networks,
    )
    voi_values.write_voi_values(results / "metrics" / voi_values.file_name(study), values)
    return table


def _denoise(image: np.ndarray, organs: np.ndarray, network: str) -> np.ndarray:
    smooth = ndimage.gaussian_filter(image, SMOOTH_VOXELS[network])

    if network in WITH_ARTEFACT:
        bladder = organs == ORGANS["bladder"]
        smooth[np.roll(bladder, 3, axis=0) & ~bladder] += 6.0 * BQML_PER_SUV

    return smooth


def _write_networks(results: Path, generator: np.random.Generator) -> None:
    """Logs and sidecars of all networks."""
    for network, entry in NETWORKS.items():
        folder = results / ("models" if entry["method"] == "train" else "adapted")
        online = entry["data"] == "n2n"
        stems = [folder / network]

        if online:
            stems = [folder / network / study for study in ("bladder", "catheter")]

        for stem in stems:
            write_csv(stem.with_name(f"{stem.name}_log.csv"), training_log(generator, not online))
            write_json(
                stem.with_name(f"{stem.name}.json"), training_sidecar(folder.name == "adapted")
            )


def _write_drop(results: Path, affine: np.ndarray) -> None:
    """Scores of kernels, and images with kernels dropped."""
    generator = np.random.default_rng(3)
    scores = [(f"conv{i}", c, *generator.beta(2, 4, 3)) for i in range(1, 8) for c in range(8 * i)]
    columns = ["module", "channel", "sparsity", "entropy", "kse"]
    table = pd.DataFrame(scores, columns=columns)

    for network in ("v1-net", "TGD-net"):
        write_csv(results / "kse" / f"{network}.csv", table)

    denoised = results / "denoised" / "v1-net"
    image = read_image(image_path(denoised, "lesion", "v1", "real01")).data
    rows = []

    for phi in (0.0, 0.3, 0.4, 0.5, 0.6):
        stripes = np.sin(np.arange(image.shape[2]) * 1.3)
        volume = image * (1 + 0.6 * phi**3 * stripes)
        write_image(results / "kse" / "drop" / f"phi-{phi:g}.nii.gz", volume, affine, SIDECAR)

        total = len(table)
        dropped = int((table.kse < phi).sum())
        change = float(np.sqrt(((volume - image) ** 2).mean()))
        counts = (dropped, total, dropped * 360, total * 360)
        rows.append(("v1-net", phi, *counts, change, 300 + change, change / 300))

    write_csv(results / "kse" / "drop.csv", pd.DataFrame(rows, columns=DROP_COLUMNS))


def _write_benchmarks(results: Path) -> None:
    """Seconds of every job."""

    def record(path: str, seconds: float) -> None:
        table = pd.DataFrame({"s": [seconds], "h:m:s": ["0:00:00"], "cpu_time": [seconds]})
        write_csv(results / "benchmarks" / path, table)

    for study, role, _ in STUDIES:
        for protocol in ("v1", "v2"):
            if role != "adapt" or protocol == "v2":
                record(f"reconstruct/{study}_{protocol}.tsv", 30.0)

    for network in ("v1-net", "v2-net"):
        record(f"train/{network}.tsv", 80.0)

    for network in ("FT-net", "TGD-net"):
        record(f"adapt/{network}.tsv", 25.0)

    for study in ("bladder", "catheter"):
        record(f"adapt_online/TGD-N2N_{study}.tsv", 12.0)

    for task in ("v1", "v2", "adapt"):
        record(f"dataset/{task}.tsv", 2.0)


if __name__ == "__main__":
    fine = "--fine" in sys.argv
    target = fabricate(Path(sys.argv[1]), *(((104, 104, 56), (4, 4, 8)) if fine else ()))
    print(target)
