"""The BIDS-PET sidecar of a series: dose, weight, times, decay, reconstruction; nothing that names
the patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import nuclides
from .series import DicomError, Slice

SERIES_STARTS_EARLIER = (
    "GEMS_PETD_01"  # GE's private block (0009,xx) with the scan's own date and time
)
GE_SCAN_DATETIME = 0x0D
# Keys of BIDS-PET and the text that they get. Descriptions, which people type, are left out.
TEXTS = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "ReconMethodName": "ReconstructionMethod",
    "ReconFilterType": "ConvolutionKernel",
    "AttenuationCorrection": "AttenuationCorrectionMethod",
    "ScatterCorrectionMethod": "ScatterCorrectionMethod",
    "RandomsCorrectionMethod": "RandomsCorrectionMethod",
}


def sidecar_of(slices: Sequence[Slice]) -> dict[str, Any]:
    """What the headers say, in BIDS-PET's keys and units; keys that they do not say are left out.

    Times are in s after the injection where its time is known (TimeZero), else after the start of
    the scan. Doses are in MBq, the weight in kg. Raises DicomError naming the file where the
    half-life contradicts the nuclide.
    """
    header = slices[0].header
    sidecar: dict[str, Any] = {"Modality": "PT", "Units": "Bq/mL"}
    sidecar |= {key: str(header.get(tag)).strip() for key, tag in TEXTS.items() if header.get(tag)}
    sidecar |= _tracer(header)
    _check_half_life(slices[0], sidecar)

    weight_kg = _positive(header.get("PatientWeight"))
    if weight_kg is not None:
        sidecar["BodyWeight"] = weight_kg

    sidecar |= _times(slices)
    sidecar |= _decay_correction(header, sidecar)
    return sidecar


def _tracer(header: Any) -> dict[str, Any]:
    isotope = _first_item(header, "RadiopharmaceuticalInformationSequence")
    if isotope is None:
        return {}

    known: dict[str, Any] = {}
    if name := str(isotope.get("Radiopharmaceutical") or "").strip():
        known["TracerName"] = name
    if nuclide := _nuclide(isotope):
        known["TracerRadionuclide"] = nuclide

    dose_mbq = _dose_mbq(isotope.get("RadionuclideTotalDose"))
    if dose_mbq is not None:
        known |= {"InjectedRadioactivity": dose_mbq, "InjectedRadioactivityUnits": "MBq"}

    half_life_s = _positive(isotope.get("RadionuclideHalfLife"))
    if half_life_s is not None:
        known["TracerHalfLife"] = half_life_s
    return known


def _check_half_life(item: Slice, sidecar: dict[str, Any]) -> None:
    """Refuse a half-life that the nuclide has not, where both are said."""
    if not {"TracerRadionuclide", "TracerHalfLife"} <= set(sidecar):
        return

    try:
        nuclides.check(
            str(sidecar.get("TracerName", nuclides.UNKNOWN)),
            sidecar["TracerRadionuclide"],
            sidecar["TracerHalfLife"],
            f"{item.path}: RadiopharmaceuticalInformationSequence",
        )
    except ValueError as error:
        raise DicomError(str(error)) from None


def _nuclide(isotope: Any) -> str | None:
    """The nuclide by its code's meaning."""
    code = _first_item(isotope, "RadionuclideCodeSequence")

    return None if code is None else nuclides.of_meaning(str(code.get("CodeMeaning") or ""))


def _dose_mbq(value: Any) -> float | None:
    """DICOM's unit is Bq; some scanners write MBq, which no injected dose in Bq comes near."""
    dose = _positive(value)
    if dose is None:
        return None
    return dose / 1e6 if dose > 1e5 else dose


def _times(slices: Sequence[Slice]) -> dict[str, Any]:
    duration_ms = _positive(slices[0].header.get("ActualFrameDuration"))
    known: dict[str, Any] = {}
    if duration_ms is not None:
        known["FrameDuration"] = [duration_ms / 1000]

    start = scan_start(slices)
    if start is None:
        return known

    injection = injection_time(slices[0].header, start)
    if injection is None:
        return known | {
            "TimeZero": f"{start:%H:%M:%S}",
            "ScanStart": 0,
            "FrameTimesStart": [0],
        }

    delay_s = (start - injection).total_seconds()
    return known | {
        "TimeZero": f"{injection:%H:%M:%S}",
        "InjectionStart": 0,
        "ScanStart": delay_s,
        "FrameTimesStart": [delay_s],
    }


def scan_start(slices: Sequence[Slice]) -> datetime | None:
    """The time that decay is corrected to with `DecayCorrection` START.

    The series' time, unless it lies after the first acquisition, as in series that a workstation
    made anew: then GE's private element, else the first acquisition (QIBA's FDG-PET profile).
    """
    header = slices[0].header
    series = _datetime(header.get("SeriesDate"), header.get("SeriesTime"))
    acquisitions = [
        moment
        for item in slices
        if (
            moment := _datetime(
                item.header.get("AcquisitionDate") or item.header.get("SeriesDate"),
                item.header.get("AcquisitionTime"),
            )
        )
    ]
    earliest = min(acquisitions, default=None)
    if series is not None and (earliest is None or series <= earliest):
        return series

    return _ge_scan_datetime(header) or earliest


def injection_time(header: Any, start: datetime) -> datetime | None:
    """When the tracer was injected; a time of day alone is of the last one before the scan."""
    isotope = _first_item(header, "RadiopharmaceuticalInformationSequence")
    if isotope is None:
        return None

    whole = str(isotope.get("RadiopharmaceuticalStartDateTime") or "").strip()
    if len(whole) >= 14:
        moment = _datetime(whole[:8], whole[8:14])
        if moment is not None and timedelta(0) <= start - moment < timedelta(days=30):
            return moment

    moment = _datetime(f"{start:%Y%m%d}", isotope.get("RadiopharmaceuticalStartTime"))
    if moment is not None and moment > start:
        moment -= timedelta(days=1)
    return moment


def _decay_correction(header: Any, sidecar: dict[str, Any]) -> dict[str, Any]:
    """Whether and to which time (s after TimeZero) the image is corrected for decay."""
    method = str(header.get("DecayCorrection") or "")
    if method == "START" and "ScanStart" in sidecar:
        return {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": sidecar["ScanStart"]}
    if method == "ADMIN" and "InjectionStart" in sidecar:
        return {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": sidecar["InjectionStart"]}
    if method == "NONE":
        return {"ImageDecayCorrected": False}
    return {}


def _ge_scan_datetime(header: Any) -> datetime | None:
    try:
        block = header.private_block(0x0009, SERIES_STARTS_EARLIER)
        text = str(block[GE_SCAN_DATETIME].value)
    except (KeyError, AttributeError):
        return None
    return _datetime(text[:8], text[8:14])


def _datetime(date: Any, time: Any) -> datetime | None:
    """Of DICOM's YYYYMMDD and HHMMSS.ffffff; fractions are dropped, None where one is missing."""
    text = f"{str(date or '').strip()} {str(time or '').split('.')[0].strip()}"
    try:
        return datetime.strptime(text, "%Y%m%d %H%M%S")
    except ValueError:
        return None


def _first_item(header: Any, tag: str) -> Any:
    sequence = header.get(tag)
    return sequence[0] if sequence else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
