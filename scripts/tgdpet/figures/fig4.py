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
from ..evaluation.results import Results, in_suv
from ..io.contents import Anything, ListOf, Object, Text, check
from ..io.files import read_json
from ..io.nifti import sidecar_path
from ..networks.score_table import read_dropped
from .common import box_mm, display_limit
from .montage import Panel, Row, differences, montage
from .style import coronal


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Columns: noisy image, original network, kernels dropped at each phi.

    Below: minus the original network.
    """
    table = read_dropped(results.drop_table).set_index("phi")

    noisy_path = _noisy_path(results)
    noisy = results.read(noisy_path)
    original = in_suv(results.read(results.dropped_path(0)))

    volumes = {
        "input\n\n": in_suv(noisy),
        f"{results.config.score.network}\nnothing dropped\n": original,
    }

    for phi in sorted(phi for phi in table.index if phi > 0):
        dropped = results.read(results.dropped_path(phi))
        volumes[_title(phi, table.loc[phi])] = in_suv(dropped)

    # The plane through the lesion, or the middle of the liver.
    study = _study_of(noisy_path)
    labels = results.labels(study)
    lesion = labels == ORGANS["lesion"]
    target = lesion if lesion.any() else m.liver_voi(labels, ORGANS)
    y = int(m.middle(target)[1])
    window = box_mm(m.body(labels), noisy.voxel_mm, (10, 0, 0))

    panels = []

    for (title, volume), letter in zip(volumes.items(), ascii_lowercase, strict=False):
        plane = coronal(volume, y, window)
        panels.append(Panel(title, plane, letter=letter))

    row = Row(
        "activity",
        panels,
        pixel_mm=noisy.voxel_mm[[0, 2]],
        limit=display_limit(original, labels),
        keys={"study": study},
    )
    reference = coronal(original, y, window)
    below = differences(row, reference, "minus b", leave_out=(0, 1))
    figure, pixels = montage([row, below])

    dropped_table = table.add_prefix("drop_").rename_axis("drop_phi").reset_index()
    return figure, pd.concat([dropped_table, pixels], ignore_index=True)


def _title(phi: float, row: pd.Series) -> str:
    kernels = 100 * row.kernels_dropped / row.kernels_total
    parameters = 100 * row.parameters_dropped / row.parameters_total
    return f"φ = {phi:g}\n{kernels:.1f} % kernels\n{parameters:.1f} % param."


# What is read of a dropped image's sidecar.
DROPPED_SIDECAR = Object(more={"inputs": ListOf(Text(longest=5000))}, others=Anything())


def _noisy_path(results: Results) -> Path:
    """The image that was denoised.

    The first input that the dropped image's sidecar names, else the lesion study's.
    """
    beside = sidecar_path(results.dropped_path(0))
    sidecar = read_json(beside)
    check(sidecar, DROPPED_SIDECAR, beside)
    whole_scan = f"desc-{results.scan}_"

    for path in map(Path, sidecar.get("inputs", [])):
        if not path.name.endswith("_pet.nii.gz") or whole_scan in str(path):
            continue

        study_folder = path.parents[1].name
        in_results = results.image_folder() / study_folder / "pet" / path.name

        if in_results.exists():
            return in_results

    study = results.of_role(roles.LESION)[0]
    protocol = results.protocol_of(results.config.score.network)
    sample = results.noisy(study, protocol)
    return results.image_path(study, protocol, sample)


def _study_of(path: Path) -> str:
    match = re.match(r"sub-([^_]+)_", path.name)

    if not match:
        raise ValueError(f"{path}: expected a file name that begins with sub-STUDY_")

    return match[1]
