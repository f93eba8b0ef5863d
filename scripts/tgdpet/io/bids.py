"""What makes folders of images a data set after the Brain Imaging Data Structure (BIDS 1.10, PET).

Images with `desc-` in their names are derivatives there: `results/recon`, of the list mode, and
`results/denoised/NETWORK`, of `results/recon`.
"""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from .files import write_json, write_text

VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
# files of ours that BIDS has no names for
IGNORED = ("*_sensitivity.*", "*.provenance.json")


def data_set_of(image: str | Path) -> Path | None:
    """The data set that an image lies in by its path, ROOT/sub-NAME/pet/..._pet.nii.gz; None
    elsewhere.
    """
    image = Path(image)
    pet = image.parent
    subject = pet.parent

    if pet.name != "pet" or not subject.name.startswith("sub-") or "_pet.nii" not in image.name:
        return None

    return subject.parent


def describe(image: str | Path) -> None:
    """Write what a data set says of itself beside its subjects, where an image lies in one that
    does not yet.
    """
    root = data_set_of(image)
    if root is None or (root / DESCRIPTION).exists():
        return

    write_text(root / ".bidsignore", "\n".join(IGNORED) + "\n")
    write_json(
        root / DESCRIPTION,
        {
            "Name": root.name,
            "BIDSVersion": VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "tgdpet", "Version": __version__}],
        },
    )
