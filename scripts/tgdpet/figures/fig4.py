"""Fig. 4: what is lost when the kernels below a KSE threshold are dropped."""

from __future__ import annotations

import re
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.results import Results, image_path, in_suv
from ..io.files import read_json
from ..io.nifti import sidecar_path
from .common import box_mm, display_limit, middle
from .montage import Panel, Row, differences, montage
from .style import coronal


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy image, original network, kernels dropped at each phi; below: minus the
    original network.
    """
    folder = results.root / "kse" / "drop"
    original = in_suv(results.read(folder / "phi-0.nii.gz"))
    noisy_path = _noisy(results, folder)
    noisy = results.read(noisy_path)
    study = _study(results, noisy_path)
    labels = results.labels(study)
    table = pd.read_csv(results.root / "kse" / "drop.csv").set_index("phi")
    lesion = labels == ORGANS["lesion"]
    y = int(middle(lesion if lesion.any() else m.liver_voi(labels, ORGANS))[1])
    window = box_mm(m.body(labels), noisy.voxel_mm, (10, 0, 0))
    limit, keys = display_limit(original, labels), {"study": study}
    shown = [
        ("input\n\n", in_suv(noisy)),
        (f"{results.config.score.network}\nnothing dropped\n", original),
    ]
    for phi in sorted(p for p in table.index if p > 0):
        shown.append(
            (_title(phi, table.loc[phi]), in_suv(results.read(folder / f"phi-{phi:g}.nii.gz")))
        )
    panels = [
        Panel(title, coronal(volume, y, window), letter=letter)
        for (title, volume), letter in zip(shown, ascii_lowercase, strict=False)
    ]
    row = Row("activity", panels, noisy.voxel_mm[[0, 2]], limit, keys=keys)
    figure, pixels = montage(
        [row, differences(row, coronal(original, y, window), "minus b", leave_out=(0, 1))]
    )
    dropped = table.add_prefix("drop_").rename_axis("drop_phi").reset_index()
    return figure, pd.concat([dropped, pixels], ignore_index=True)


def _title(phi: float, row: pd.Series) -> str:
    kernels = 100 * row.kernels_dropped / row.kernels_total
    parameters = 100 * row.parameters_dropped / row.parameters_total
    return f"φ = {phi:g}\n{kernels:.1f} % kernels\n{parameters:.1f} % param."


def _noisy(results: Results, folder: Path) -> Path:
    """The image that was denoised: the first input that the dropped image's sidecar names, else the
    lesion study's.
    """
    inputs = read_json(sidecar_path(folder / "phi-0.nii.gz")).get("inputs", {})
    named = [
        Path(name)
        for name in inputs
        if name.endswith("_pet.nii.gz") and f"desc-{results.scan}_" not in name
    ]
    for path in named:
        inside = results.root / "recon" / path.parents[1].name / "pet" / path.name
        if inside.exists():
            return inside
    study = results.of_role(roles.LESION)[0]
    protocol = results.config.networks[results.config.score.network].data
    protocol = protocol if protocol in ("v1", "v2") else "v2"
    return image_path(results.root / "recon", study, protocol, results.noisy(study, protocol))


def _study(results: Results, path: Path) -> str:
    found = re.match(r"sub-([^_]+)_", path.name)
    if not found:
        raise ValueError(f"{path}: expected a file name that begins with sub-STUDY_")
    return found[1]
