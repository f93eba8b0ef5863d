"""How coarse the noise in the liver is: autocorrelation and spectra of the lesion study.

All are of its realisations minus their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..config import roles
from ..constants import ORGANS
from . import measures as m
from .noise_power import Spectrum, ensemble_noise, mean_frequency, power_by_axial_half, radial_power
from .results import INPUT, Results

AXES = ("x", "y", "z")
N_LAGS = 8
# Measures of `noise_texture`.
AUTOCORRELATION = "autocorrelation"
NOISE_POWER = "noise_power_bqml2_mm2"
TEXTURE_FWHM = "grain_fwhm_mm"
LIVER_COV = "liver_cov_percent"
TEXTURE_COLUMNS = ["protocol", "measure", "axis", "at", "value"]
SPECTRUM_COLUMNS = [
    "protocol",
    "network",
    "frequency_per_mm",
    "nps_bqml2_mm2",
    "standard_error",
    "shape_mm",
]


@dataclass(frozen=True, eq=False)
class LiverNoise:
    """Noise-only images (R, x, y, z) around the liver, Bq/mL, and the liver in them."""

    noise: Spectrum
    voi: m.Mask
    voxel_mm: m.Array

    def radial_power(self) -> tuple[Spectrum, Spectrum]:
        """In-plane frequency (N,) in 1/mm, and each realisation's power (R, N)."""
        return radial_power(self.noise, self.voi, self.voxel_mm)

    def power_by_axial_half(self) -> tuple[Spectrum, Spectrum]:
        """In-plane frequency (N,) in 1/mm, and each realisation's power (R, 2, N) for slow and for
        fast axial waves.
        """
        return power_by_axial_half(self.noise, self.voi, self.voxel_mm)

    def autocorrelation(self, axis: int) -> Spectrum:
        """Mean over the realisations, (N_LAGS,)."""
        each = [m.autocorrelation(image, self.voi, axis, N_LAGS) for image in self.noise]
        return np.asarray(np.mean(each, axis=0))

    def sd(self) -> float:
        """Standard deviation in the liver, Bq/mL."""
        values = self.noise[:, self.voi]
        return float(np.sqrt((values**2).mean()))


def liver_noise(results: Results, protocol: str, network: str = INPUT) -> LiverNoise:
    """The noise in the lesion study's liver, of the noisy or of denoised images."""
    study = results.of_role(roles.LESION)[0]
    voi = m.liver_voi(results.labels(study), ORGANS)
    box = m.bounding_box(voi)
    realisations = results.ensemble(study, protocol, box, network)
    noise = ensemble_noise(realisations)
    return LiverNoise(noise, voi[box], results.voxel_mm(study))


def noise_texture(results: Results, protocol: str) -> pd.DataFrame:
    """Autocorrelation, noise power and their summaries, of the noisy images of a protocol.

    Columns TEXTURE_COLUMNS: `at` is a distance (mm) for the autocorrelation, a frequency (1/mm) for
    the noise power, and nan for a summary.
    """
    noise = liver_noise(results, protocol)
    rows: list[tuple[str, str, float, float]] = []

    for axis, name in enumerate(AXES):
        rho = noise.autocorrelation(axis)
        spacing_mm = float(noise.voxel_mm[axis])

        for lag, value in enumerate(rho):
            distance_mm = float(lag * noise.voxel_mm[axis])
            rows.append((AUTOCORRELATION, name, distance_mm, float(value)))

        fwhm_mm = m.texture_fwhm(rho, spacing_mm)
        rows.append((TEXTURE_FWHM, name, float("nan"), fwhm_mm))

    frequency, each = noise.radial_power()

    mean_power = each.mean(axis=0)

    for at, power in zip(frequency, mean_power, strict=True):
        rows.append((NOISE_POWER, "xy", float(at), float(power)))

    study = results.of_role(roles.LESION)[0]
    cov = results.measured("liver_cov", roles.LESION, INPUT, protocol, study)
    rows.append((LIVER_COV, "", float("nan"), cov))

    with_protocol = [(protocol, *row) for row in rows]
    return pd.DataFrame(with_protocol, columns=TEXTURE_COLUMNS)


def noise_spectrum(
    results: Results, protocol: str, network: str
) -> tuple[pd.DataFrame, dict[str, str | float]]:
    """Radial noise power of one network's output, and a row of its numbers.

    The table has SPECTRUM_COLUMNS: power with its standard error over realisations, and the same
    divided by its area. The numbers are the noise's SD (Bq/mL) and mean frequency (1/mm).
    """
    noise = liver_noise(results, protocol, network)
    frequency, each = noise.radial_power()
    power = each.mean(axis=0)
    sd = each.std(axis=0, ddof=1)

    columns = {
        "protocol": protocol,
        "network": network,
        "frequency_per_mm": frequency,
        "nps_bqml2_mm2": power,
        "standard_error": sd / np.sqrt(len(each)),
        "shape_mm": power / np.trapezoid(power, frequency),
    }
    numbers: dict[str, str | float] = {
        "protocol": protocol,
        "network": network,
        "noise_sd_bqml": noise.sd(),
        "mean_frequency_per_mm": mean_frequency(frequency, power),
    }
    return pd.DataFrame(columns, columns=SPECTRUM_COLUMNS), numbers
