"""The page beside a network's weights: what it is, what it was trained on, its numbers, what it is
not for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..dataset.index import read_index
from ..io.files import write_text
from .weights import FORMAT, Card

SPLITS = {"train": "trained on", "val": "held out for validation"}
NUMBERS = {
    "final_loss": "last training loss",
    "final_validation_loss": "last loss on held-out studies",
    "final_validation_psnr": "last PSNR on held-out studies, dB",
    "useful_unchanged": "all other kernels bit for bit as before",
}
PAGE = """\
---
license: apache-2.0
library_name: tgdpet
tags: [pet, denoising, image-to-image, targeted-gradient-descent]
---

# {network}

A 2.5D residual DnCNN that denoises PET images slice by slice. Research only, **not for diagnosis** or treatment.

| | |
|---|---|
{what}

## Data

From the index table `{index}`; intensities are divided by {scale} Bq/mL.

| role | studies | training slices |
|---|---|---|
{data}

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

For research on denoising PET images of activity concentration (Bq/mL) from the scanner, tracer and reconstruction
protocol that its training images came from, on their voxel size.

- **Not for diagnosis** or treatment: no clinical study has been made of it.
- Images of another scanner, tracer, dose, protocol or voxel size can come out blurred or biased, with no sign of it:
  measure bias and noise on images of that kind first.
- A structure that its training images did not have (a catheter, a full bladder) can be distorted or removed.

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
    path = Path(path)
    name = f"{Path(index).parent.name}/{Path(index).name}"  # no path of this machine
    write_text(path.with_suffix(".md"), text(card, numbers, read_index(index), name, path.name))


def text(card: Card, numbers: Mapping[str, Any], table: pd.DataFrame, index: str, file: str) -> str:
    """The page in Markdown. Nothing in it depends on the clock or the machine: the same run writes
    the same page.

    `table` is the training set's index table, `index` its name, `file` that of the weights.
    """
    settings = dict(card.settings)
    chain = [*card.parents, card.network]
    what = {
        "network": card.network,
        "made by": f"{settings.pop('method', None) or 'train'}{'' if card.parents else ', from scratch'}",
        "parents": " -> ".join(chain) if card.parents else "none",
        "width": f"{card.width:g} times the paper's 64 to 256 channels",
        "input and output": "three neighbouring slices; the middle one of the output is kept",
    }
    provenance = {**card.provenance, "tgdpet": __version__, "format of the weights": FORMAT}
    return PAGE.format(
        network=card.network, file=file, index=index, scale=f"{card.intensity_scale_bqml:.6g}", what=_rows(what),
        data=_data(table), numbers=_rows(_numbers(numbers)), settings=_rows(settings), provenance=_rows(provenance),
    )  # fmt: skip


def _data(table: pd.DataFrame) -> str:
    rows = []
    for split, role in SPLITS.items():
        part = table[table["split"] == split]
        studies = ", ".join(dict.fromkeys(part["study"].astype(str))) or "none"
        rows.append(f"| {role} | {studies} | {len(part)} |")
    return "\n".join(rows)


def _numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for what in ("kernels", "parameters"):
        if (total := numbers.get(f"{what}_total")) is not None:
            out[f"{what} retrained"] = f"{numbers[f'{what}_retrained']} of {total}"
    return out | {
        said: numbers[key] for key, said in NUMBERS.items() if numbers.get(key) is not None
    }


def _rows(content: Mapping[str, Any]) -> str:
    """Lines of a table of two columns; numbers to six digits, which is beyond what a rerun
    elsewhere repeats.
    """
    return (
        "\n".join(f"| {key} | {_cell(value)} |" for key, value in content.items()) or "| none | |"
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        (f"{value:.6g}" if isinstance(value, float) else str(value))
        .replace("|", r"\|")
        .replace("\n", " ")
    )
