"""What a results folder holds: images, labels, tables, by study, protocol, sample and network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..config.roles import REALISATION
from ..config.sections import Config, NetworkEntry
from ..config.studies import Study
from ..io.nifti import Image, image_name, read_image, read_labels, suv_factor
from . import measures as m
from .measures import Window

INPUT = "input"


def image_path(root: Path, study: str, protocol: str, sample: str) -> Path:
    """Where an image lies under a recon or denoised/{network} folder."""
    return root / f"sub-{study}" / "pet" / image_name(study, protocol, sample)


def reconstructed_samples(root: Path, study: str, protocol: str) -> list[str]:
    """Samples of a study and protocol that exist under `root`, in natural order (30s before
    120s).
    """
    start, end = image_name(study, protocol, "\0").split("\0")
    found = [
        p.name[len(start) : -len(end)]
        for p in (root / f"sub-{study}" / "pet").glob(f"{start}*{end}")
    ]
    return sorted(
        found, key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)]
    )


Volume = npt.NDArray[np.floating]

PAPER_NETWORKS = ("v1-net", "v2-net", "FT-net", "TGD-net")

PAPER_ONLINE = ("TGD-N2N", "TGD2-N2N")

ONLINE_BASES = ("v2-net", "TGD-net")

PAPER_TABLE1 = {
    "v1-net": (-6.30, 6.02),
    "v2-net": (-4.07, 8.56),
    "FT-net": (-4.71, 7.87),
    "TGD-net": (-3.77, 6.46),
}

KEPT = 4  # images held in memory, each some 40 MB at the paper's scale


@dataclass(frozen=True)
class Results:
    """One results folder with the configuration and studies that it was made from."""

    root: Path
    config: Config
    studies: Sequence[Study]
    _images: dict[Path, Image] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scan(self) -> str:
        """Sample name of the whole scan, the reference."""
        return f"{self.config.simulation.scan_s:g}s"

    def of_role(self, role: str) -> list[str]:
        """Names of the studies of a role; raises ValueError when there is none."""
        names = [s.study for s in self.studies if s.role == role]
        if not names:
            raise ValueError(f"studies: none has the role {role!r}, which this figure shows")
        return names

    def ordered(self) -> dict[str, NetworkEntry]:
        """The configured networks, the paper's first and in its order (a YAML file may have been
        sorted).
        """
        networks = self.config.networks
        first = [n for n in (*PAPER_NETWORKS, *PAPER_ONLINE) if n in networks]
        return {n: networks[n] for n in (*first, *(n for n in networks if n not in first))}

    def population(self, order: Sequence[str] = PAPER_NETWORKS) -> list[str]:
        """Networks for any study: those in `order`; all if it names none, or none of the
        configuration.
        """
        names = [n for n, e in self.ordered().items() if e.data != "n2n"]
        return [n for n in order if n in names] or names

    def online(self, order: Sequence[str] = PAPER_ONLINE) -> list[str]:
        """Networks that online learning makes for one study each: those in `order`, or all if it
        names none.
        """
        names = [n for n, e in self.ordered().items() if e.data == "n2n"]
        return [n for n in order if n in names] or names

    def image(self, study: str, protocol: str, sample: str, network: str = INPUT) -> Image:
        """A reconstructed or, with `network`, a denoised image."""
        folder = self.root / ("recon" if network == INPUT else f"denoised/{network}")
        return self.read(image_path(folder, study, protocol, sample))

    def read(self, path: Path) -> Image:
        """An image; the last few are kept."""
        if path not in self._images:
            while len(self._images) >= KEPT:
                del self._images[next(iter(self._images))]
            self._images[path] = read_image(path)
        return self._images[path]

    def ensemble(self, study: str, protocol: str, window: Window, network: str = INPUT) -> Volume:
        """The i.i.d. realisations of a study within a window, (R, x, y, z) in Bq/mL.

        Raises FileNotFoundError when there are fewer than two.
        """
        samples = [s for s in self.samples(study, protocol) if REALISATION.fullmatch(s)]
        if len(samples) < 2:
            raise FileNotFoundError(
                f"{self.root}/recon: no realisations (real01, ...) of {protocol} of study {study!r}"
            )
        return np.stack([self.image(study, protocol, s, network).data[window] for s in samples])

    def suv(self, study: str, protocol: str, sample: str, network: str = INPUT) -> Volume:
        """The same image in SUV (body weight)."""
        return in_suv(self.image(study, protocol, sample, network))

    def samples(self, study: str, protocol: str) -> list[str]:
        """Reconstructed samples of a study."""
        return reconstructed_samples(self.root / "recon", study, protocol)

    def noisy(self, study: str, protocol: str = "v2") -> str:
        """The sample that networks are shown on: the first that is not the whole scan nor a
        half.
        """
        found = [
            s for s in self.samples(study, protocol) if s != self.scan and not s.startswith("half")
        ]
        if not found:
            raise FileNotFoundError(
                f"{self.root}/recon: no noisy {protocol} image of study {study!r}"
            )
        return sorted(found, key=lambda s: not s.startswith("real"))[0]

    def labels(self, study: str) -> m.Labels:
        """Organ labels of a study, (X, Y, Z)."""
        return read_labels(self.root / "listmode" / study / "organs.nii.gz")[0]

    def voxel_mm(self, study: str) -> npt.NDArray[np.floating]:
        """Voxel size of a study's images, mm."""
        return self.image(study, "v2", self.scan).voxel_mm

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All studies' measures, tidy."""
        return pd.read_csv(self.root / "metrics" / "metrics.csv")

    def measured(
        self, measure: str, role: str, network: str, protocol: str = "v2", study: str | None = None
    ) -> float:
        """Mean of a measure over samples and studies of a role (or one study); nan where it was not
        measured.
        """
        t = self.metrics
        chosen = t[
            (t.measure == measure)
            & (t.role == role)
            & (t.network == network)
            & (t.protocol == protocol)
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
