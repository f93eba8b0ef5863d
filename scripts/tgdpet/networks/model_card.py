"""The page beside a network's weights: what it is, what it was trained on, its numbers, what it is
not for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..io.files import write_text
from .domain import Domain, from_card
from .weights import WEIGHTS_FORMAT, Card

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {"train": "trained on", "val": "held out for validation"}
RESULT_LABELS = {
    "final_loss": "last training loss",
    "final_validation_loss": "last loss on held-out studies",
    "final_validation_psnr": "last PSNR on held-out studies, dB",
    "useful_unchanged": "all other kernels bit for bit as before",
}
IMAGES = """\
The noisy images, those of the networks before it included; `tgdpet denoise` warns where an image is
far from them. What a simulation made has never seen a patient.

| | |
|---|---|
"""
PAGE = """\
---
license: apache-2.0
library_name: tgdpet
tags: [pet, denoising, image-to-image, targeted-gradient-descent]
---

# {network}

A 2.5D residual DnCNN that denoises PET images slice by slice. Research only, \
**not for diagnosis** or treatment.

| | |
|---|---|
{what}

## Data

From the index table `{index}`; intensities are divided by {scale} Bq/mL.

| role | studies | training slices |
|---|---|---|
{data}
{images}
## Numbers

Of the data above, not of any test study; losses are of intensities divided by the scale.

| | |
|---|---|
{numbers}

## Settings

| | |
|---|---|
{settings}

## Use

For research on denoising PET images of activity concentration (Bq/mL) from the scanner, tracer \
and reconstruction
protocol that its training images came from, on their voxel size.

- **Not for diagnosis** or treatment: no clinical study has been made of it.
- Images of another scanner, tracer, dose, protocol or voxel size can come out blurred or biased, \
with no sign of it:
  measure bias and noise on images of that kind first.
- A structure that its training images did not have (a catheter, a full bladder) can be distorted \
or removed.

## Load

```python
from tgdpet.io.nifti import read_image
from tgdpet.networks import denoise, weights

model, card = weights.load("{file}")
clean = denoise.denoise(model, read_image("in.nii.gz").data, card.intensity_scale_bqml)
```

or `tgdpet denoise --model {file} in.nii.gz out.nii.gz`.

## Provenance

| | |
|---|---|
{provenance}
"""


def write(path: str | Path, card: Card, numbers: Mapping[str, Any], index: str | Path) -> None:
    """Write the page `X.md` beside the weights `path`, X.safetensors.

    `numbers` are those of the sidecar, `index` is the index table of the training set. Raises
    ValueError where the table lacks a column, OSError where the disk refuses.
    """
    from ..dataset.index import read_index  # takes pandas, which loading a network does not

    path = Path(path)
    index = Path(index)
    index_name = f"{index.parent.name}/{index.name}"  # no path of this machine

    page = markdown(card, numbers, read_index(index), index_name, path.name)
    write_text(path.with_suffix(".md"), page)


def markdown(
    card: Card, numbers: Mapping[str, Any], table: pd.DataFrame, index: str, file: str
) -> str:
    """The page in Markdown. Nothing in it depends on the clock or the machine: the same run writes
    the same page.

    `table` is the training set's index table, `index` its name, `file` that of the weights.
    """
    settings = dict(card.settings)
    method = settings.pop("method", None) or "train"
    provenance = {
        **card.provenance,
        "tgdpet": __version__,
        "format of the weights": WEIGHTS_FORMAT,
    }

    images = _domain_rows(from_card(card.domain))

    return PAGE.format(
        network=card.network,
        file=file,
        index=index,
        scale=f"{card.intensity_scale_bqml:.6g}",
        what=_rows(_description(card, method)),
        data=_data_rows(table),
        images=f"\n{IMAGES}{_rows(images)}\n" if images else "",
        numbers=_rows(_results(numbers)),
        settings=_rows(settings),
        provenance=_rows(provenance),
    )


def _description(card: Card, method: str) -> dict[str, str]:
    """What the network is, by the label of each row."""
    if card.parents:
        made_by = method
        parents = " -> ".join([*card.parents, card.network])
    else:
        made_by = f"{method}, from scratch"
        parents = "none"

    return {
        "network": card.network,
        "made by": made_by,
        "parents": parents,
        "licence": "Apache-2.0",
        "width": f"{card.width:g} times the paper's 64 to 256 channels",
        "input and output": "three neighbouring slices; the middle one of the output is kept",
    }


def _data_rows(table: pd.DataFrame) -> str:
    """Studies and number of slices of each split of the training set."""
    rows = []

    for split, role in SPLITS.items():
        part = table[table["split"] == split]
        studies = ", ".join(dict.fromkeys(part["study"].astype(str))) or "none"
        rows.append(f"| {role} | {studies} | {len(part)} |")

    return "\n".join(rows)


def _domain_rows(domain: Domain) -> dict[str, str]:
    """What is known of the images by the label of each row."""
    rows = {}
    if domain.sources:
        rows["made by"] = ", ".join(domain.sources)
    if domain.tracers:
        rows["tracer"] = ", ".join(domain.tracers)
    if domain.voxel_mm:
        rows["voxels, mm"] = " x ".join(f"{size:g}" for size in domain.voxel_mm)

    ranges = {
        "frames, s": (domain.frame_s, "{:g}"),
        "injected activity, MBq": (domain.dose_mbq, "{:.0f}"),
        "99th percentile of the body, Bq/mL": (domain.p99_bqml, "{:.0f}"),
        "noise between slices, of the body's mean": (domain.noise, "{:.1%}"),
    }
    for label, (limits, form) in ranges.items():
        if limits:
            rows[label] = " to ".join(form.format(value) for value in limits)

    return rows


def _results(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The run's numbers by the label of each row; what is missing has none."""
    results = {}

    for unit in ("kernels", "parameters"):
        total = numbers.get(f"{unit}_total")

        if total is not None:
            results[f"{unit} retrained"] = f"{numbers[f'{unit}_retrained']} of {total}"

    for key, label in RESULT_LABELS.items():
        if numbers.get(key) is not None:
            results[label] = numbers[key]

    return results


def _rows(content: Mapping[str, Any]) -> str:
    """Lines of a table of two columns; numbers to six digits, which is beyond what a rerun
    elsewhere repeats.
    """
    rows = [f"| {key} | {_cell(value)} |" for key, value in content.items()]

    return "\n".join(rows) or "| none | |"


def _cell(value: Any) -> str:
    """A value such that it cannot break the table."""
    if isinstance(value, bool):
        return "yes" if value else "no"

    plain = f"{value:.6g}" if isinstance(value, float) else str(value)

    return plain.replace("|", r"\|").replace("\n", " ")
