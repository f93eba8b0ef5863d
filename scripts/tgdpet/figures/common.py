"""What the figures read: images in SUV, labels, metrics and tables of one results folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .. import measures as m
from ..config import Config, NetworkEntry
from ..evaluate import INPUT, image_path, samples_of
from ..images import Image, read_image, read_labels, suv_factor
from ..phantom import ORGANS
from ..studies import Study
from ..voi import REALISATION
from .style import GREY, PALETTE, Numbers, Plane, Window

Volume = npt.NDArray[np.floating]
PAPER_NETWORKS = ("v1-net", "v2-net", "FT-net", "TGD-net")
PAPER_ONLINE = ("TGD-N2N", "TGD2-N2N")
ONLINE_BASES = ("v2-net", "TGD-net")
PAPER_TABLE1 = {"v1-net": (-6.30, 6.02), "v2-net": (-4.07, 8.56), "FT-net": (-4.71, 7.87), "TGD-net": (-3.77, 6.46)}

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
        """The configured networks, the paper's first and in its order (a YAML file may have been sorted)."""
        networks = self.config.networks
        first = [n for n in (*PAPER_NETWORKS, *PAPER_ONLINE) if n in networks]
        return {n: networks[n] for n in (*first, *(n for n in networks if n not in first))}

    def population(self, order: Sequence[str] = PAPER_NETWORKS) -> list[str]:
        """Networks for any study: those in `order`; all if it names none, or none of the configuration."""
        names = [n for n, e in self.ordered().items() if e.data != "n2n"]
        return [n for n in order if n in names] or names

    def online(self, order: Sequence[str] = PAPER_ONLINE) -> list[str]:
        """Networks that online learning makes for one study each: those in `order`, or all if it names none."""
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
        return samples_of(self.root / "recon", study, protocol)

    def noisy(self, study: str, protocol: str = "v2") -> str:
        """The sample that networks are shown on: the first that is not the whole scan nor a half."""
        found = [s for s in self.samples(study, protocol) if s != self.scan and not s.startswith("half")]
        if not found:
            raise FileNotFoundError(f"{self.root}/recon: no noisy {protocol} image of study {study!r}")
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

    def measured(self, measure: str, role: str, network: str, protocol: str = "v2", study: str | None = None) -> float:
        """Mean of a measure over samples and studies of a role (or one study); nan where it was not measured."""
        t = self.metrics
        chosen = t[(t.measure == measure) & (t.role == role) & (t.network == network) & (t.protocol == protocol)]
        if study is not None:
            chosen = chosen[chosen.study == study]
        return float(chosen.value.mean()) if len(chosen) else float("nan")


@dataclass(frozen=True)
class View:
    """A coronal plane of a study: its name, index `y`, window, pixels in mm, and where an arrow points."""

    name: str
    study: str
    y: int
    window: Window
    pixel_mm: npt.NDArray[np.floating]
    tip: tuple[float, float]


def in_suv(image: Image) -> Volume:
    """Image data in SUV."""
    return np.asarray(image.data / suv_factor(image.sidecar))


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each network, the same in every figure; grey for the input and black for the reference."""
    fixed = dict(zip((*PAPER_NETWORKS, *PAPER_ONLINE), PALETTE, strict=False)) | {INPUT: GREY}
    spare = iter(PALETTE * len(names))
    return {name: fixed.get(name) or next(spare) for name in names}


def seconds_text(results: Results, sample: str) -> str:
    """How long a sample was scanned, in words for a title."""
    if sample.startswith("real"):
        return f"{results.config.simulation.scan_s / results.config.sampling.realisations:g} s"
    return f"{sample.removesuffix('s')} s"


def records(table: pd.DataFrame) -> Iterator[Any]:
    """Rows as named tuples, whose cells the type checker takes as they come."""
    yield from table.itertuples()


def middle(mask: m.Mask) -> npt.NDArray[np.int_]:
    """Voxel nearest to a mask's centre of mass."""
    return np.rint(np.argwhere(mask).mean(axis=0)).astype(int)


def box_mm(mask: m.Mask, voxel_mm: npt.NDArray[np.floating], margin_mm: Sequence[float]) -> Window:
    """Bounding box of a mask, grown by `margin_mm` along x, y, z, within the grid and without its noisy end slices."""
    grown = []
    edge = m.edge_slices(mask.shape[2])
    for axis, box in enumerate(m.bounding_box(mask)):
        extra = int(round(margin_mm[axis] / float(voxel_mm[axis])))
        low, high = (edge, mask.shape[2] - edge) if axis == 2 else (0, mask.shape[axis])
        grown.append(slice(max(box.start - extra, low), min(box.stop + extra, high)))
    x, y, z = grown
    return x, y, z


def on_plane(voxel: Numbers, window: Window, voxel_mm: Numbers) -> tuple[float, float]:
    """Position in mm on the coronal plane that `style.coronal` cuts, of a voxel (x, y, z)."""
    return (window[0].stop - voxel[0] - 0.5) * voxel_mm[0], (voxel[2] - window[2].start + 0.5) * voxel_mm[2]


def display_limit(volume: Volume, labels: m.Labels, times: float = 2.2) -> float:
    """Upper end of the SUV scale: a multiple of the liver's mean, rounded to 0.5 (the bladder may saturate)."""
    mean = float(volume[labels == ORGANS["liver"]].mean())
    return max(0.5, round(times * mean * 2) / 2)


def plane_rows(plane: Plane, panel: str, **keys: str) -> pd.DataFrame:
    """A panel's pixels as a table: panel, row (from the feet up), column (from the left of the picture), suv."""
    row, column = np.indices(plane.shape)
    suv = plane.ravel().astype(float).round(4)
    return pd.DataFrame({"panel": panel, **keys, "row": row.ravel(), "column": column.ravel(), "suv": suv})
