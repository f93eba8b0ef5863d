"""PET DICOM series made for tests: any orientation, per-slice rescaling, numbers out of order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PET_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)
ORIGIN_MM = np.array([-31.0, 12.0, 105.0])
PIXEL_MM = (4.0, 3.0)  # between rows, between columns
SPACING_MM = 5.0

Change = Callable[[Dataset, int], None]


def volume(shape: Sequence[int] = (6, 8, 10), seed: int = 3) -> np.ndarray:
    """An asymmetric image (slices, rows, columns) in Bq/mL."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(
        np.add.outer(np.arange(shape[0]) * 100, np.arange(shape[1]) * 10), 1.0 * np.arange(shape[2])
    )
    return 2000.0 + ramp + rng.uniform(0, 5, tuple(shape))


def write(
    folder: Path,
    data: np.ndarray,
    orientation: Sequence[float] = AXIAL,
    change: Change = lambda dataset, number: None,
    **tags: Any,
) -> Path:
    """Write `data` (slices, rows, columns) as a series; `change(dataset, slice)` edits a file."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (str(generate_uid()) for _ in range(3))
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.random.default_rng(1).permutation(len(data))  # file names and numbers tell nothing
    for z, plane in enumerate(data):
        dataset = _dataset(plane, study, series, frame)
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = [
            round(float(x), 6) for x in ORIGIN_MM + z * SPACING_MM * normal
        ]
        dataset.InstanceNumber = int(order[z]) + 1
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        change(dataset, z)
        dataset.save_as(folder / f"{order[z]:03d}.dcm", enforce_file_format=True)
    return folder


def isotope(**tags: Any) -> Dataset:
    """An item of the RadiopharmaceuticalInformationSequence: 300 MBq of FDG at 9 o'clock."""
    code = Dataset()
    code.CodeMeaning = "^18^Fluorine"
    item = Dataset()
    item.Radiopharmaceutical = "FDG"
    item.RadionuclideTotalDose = "3.0E8"
    item.RadionuclideHalfLife = "6586.2"
    item.RadiopharmaceuticalStartTime = "090000"
    item.RadionuclideCodeSequence = [code]
    for tag, value in tags.items():
        setattr(item, tag, value)
    return item


def _dataset(plane: np.ndarray, study: str, series: str, frame: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = PET_STORAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)

    dataset.SOPClassUID = PET_STORAGE
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = series
    dataset.FrameOfReferenceUID = frame
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "12345"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientWeight = "70"
    dataset.Modality = "PT"
    dataset.Manufacturer = "Maker"
    dataset.SeriesNumber = 4
    dataset.SeriesDescription = "PET WB"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SeriesDate = "20240305"
    dataset.SeriesTime = "100000"
    dataset.AcquisitionDate = "20240305"
    dataset.AcquisitionTime = "100000"
    dataset.ActualFrameDuration = 60000
    dataset.Units = "BQML"
    dataset.DecayCorrection = "START"
    dataset.RadiopharmaceuticalInformationSequence = [isotope()]

    slope = float(f"{plane.max() / 30000:.8g}")
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing = list(PIXEL_MM)
    dataset.SliceThickness = SPACING_MM
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope = f"{slope:.8g}"
    dataset.RescaleIntercept = "0"
    dataset.PixelData = np.rint(plane / slope).astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
