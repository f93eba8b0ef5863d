"""The expected background of a study: randoms and scatter."""

from __future__ import annotations

from dataclasses import dataclass

from ..io.contents import ListOf, Number, Object

# A background as JSON.
BACKGROUND = Object(
    {
        "scatter_bq": Number(low=0),
        "scatter_centre_mm": ListOf(Number(), length=3),
        "scatter_sigma_mm": ListOf(Number(above=0), length=3),
        "randoms_per_s": Number(low=0),
    },
    optional=True,
)


@dataclass(frozen=True)
class Background:
    """Scatter and randoms of a study, as the corrections need them.

    `scatter_bq`: strength of the Gaussian scatter source; `scatter_centre_mm`, `scatter_sigma_mm`
    (3,); `randoms_per_s`: rate on one LOR and TOF bin.
    """

    scatter_bq: float
    scatter_centre_mm: list[float]
    scatter_sigma_mm: list[float]
    randoms_per_s: float
