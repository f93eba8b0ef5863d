"""What a results folder holds: images, labels, tables, by study, protocol, sample and network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..config import roles
from ..config.paths import INPUT as INPUT
from ..config.paths import ONLINE_BASES as ONLINE_BASES
from ..config.paths import PAPER_NETWORKS as PAPER_NETWORKS
from ..config.paths import PAPER_ONLINE as PAPER_ONLINE
from ..config.paths import RunFiles
from ..config.paths import image_path as image_path
from ..config.roles import REALISATION
from ..io.nifti import Image, image_name, read_image, read_labels, suv_factor
from . import measures as m
from .measures import Window


def natural(name: str) -> list[int | str]:
    """Key that sorts 30s before 120s."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def reconstructed_samples(root: Path, study: str, protocol: str) -> list[str]:
    """Samples of a study and protocol that exist under `root`, in natural order (30s before
    120s).
    """
    any_tracer = image_name(study, protocol, "*", tracer="*")
    paths = (root / f"sub-{study}" / "pet").glob(any_tracer)

    names = [path.name.split("_desc-")[1].removesuffix("_pet.nii.gz") for path in paths]
    return sorted(names, key=natural)


Volume = npt.NDArray[np.floating]

PAPER_TABLE1 = {
    "v1-net": (-6.30, 6.02),
    "v2-net": (-4.07, 8.56),
    "FT-net": (-4.71, 7.87),
    "TGD-net": (-3.77, 6.46),
}

KEPT = 4  # images held in memory, each some 40 MB at the paper's scale


@dataclass(frozen=True)
class Results(RunFiles):
    """What the files of a run hold; the last few images are kept."""

    _images: dict[Path, Image] = field(default_factory=dict, repr=False, compare=False)

    def image(self, study: str, protocol: str, sample: str, network: str = INPUT) -> Image:
        """A reconstructed or, with `network`, a denoised image."""
        return self.read(self.image_path(study, protocol, sample, network))

    def read(self, path: Path) -> Image:
        """An image; the last few are kept."""
        if path not in self._images:
            while len(self._images) >= KEPT:
                oldest = next(iter(self._images))
                del self._images[oldest]
            self._images[path] = read_image(path)

        return self._images[path]

    def ensemble(self, study: str, protocol: str, window: Window, network: str = INPUT) -> Volume:
        """The i.i.d. realisations of a study within a window, (R, x, y, z) in Bq/mL.

        Raises FileNotFoundError when there are fewer than two.
        """
        names = self.samples(study, protocol, network)
        realisations = [name for name in names if REALISATION.fullmatch(name)]
        if len(realisations) < 2:
            missing = f"no realisations (real01, ...) of {protocol} of study {study!r}"
            raise FileNotFoundError(f"{self.image_folder(network)}: {missing}")

        return np.stack(
            [self.image(study, protocol, name, network).data[window] for name in realisations]
        )

    def suv(self, study: str, protocol: str, sample: str, network: str = INPUT) -> Volume:
        """The same image in SUV (body weight)."""
        return in_suv(self.image(study, protocol, sample, network))

    def samples(self, study: str, protocol: str, network: str = INPUT) -> list[str]:
        """The configured samples of a study that were reconstructed or, with `network`, denoised.

        In natural order (30s before 120s).
        """
        role = next(s.role for s in self.studies if s.study == study)

        made = []
        for name in self.sample_names(role):
            if self.image_path(study, protocol, name, network).exists():
                made.append(name)

        return sorted(made, key=natural)

    def noisy(self, study: str, protocol: str = "v2") -> str:
        """The sample that networks are shown on: the first that is not the whole scan nor a
        half.
        """
        scan_s = self.config.simulation.scan_s
        names = self.samples(study, protocol)
        noisy = [name for name in names if roles.is_noisy_input(name, scan_s)]
        if not noisy:
            raise FileNotFoundError(
                f"{self.root}/recon: no noisy {protocol} image of study {study!r}"
            )

        return sorted(noisy, key=lambda name: not name.startswith("real"))[0]

    def labels(self, study: str) -> m.Labels:
        """Organ labels of a study, (X, Y, Z)."""
        return read_labels(self.organs_path(study))[0]

    def voxel_mm(self, study: str) -> npt.NDArray[np.floating]:
        """Voxel size of a study's images, mm."""
        return self.image(study, "v2", self.scan).voxel_mm

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All studies' measures, tidy."""
        return pd.read_csv(self.metrics_path())

    def measured(
        self, measure: str, role: str, network: str, protocol: str = "v2", study: str | None = None
    ) -> float:
        """Mean of a measure over samples and studies of a role (or one study); nan where it was not
        measured.
        """
        table = self.metrics
        chosen = table[
            (table.measure == measure)
            & (table.role == role)
            & (table.network == network)
            & (table.protocol == protocol)
        ]
        if study is not None:
            chosen = chosen[chosen.study == study]

        return float(chosen.value.mean()) if len(chosen) else float("nan")


def in_suv(image: Image) -> Volume:
    """Image data in SUV."""
    return np.asarray(image.data / suv_factor(image.sidecar))


def records(table: pd.DataFrame) -> Iterator[Any]:
    """Rows as named tuples, whose cells the type checker takes as they come."""
    yield from table.itertuples()
