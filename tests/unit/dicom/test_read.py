"""PET series become images in Bq/mL at the right place, or are refused in one line."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from dicom_series import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ORIGIN_MM,
    PIXEL_MM,
    SAGITTAL,
    SPACING_MM,
    isotope,
    volume,
    write,
)
from tgdpet.dicom import units
from tgdpet.dicom.read import read_series
from tgdpet.dicom.series import DicomError
from tgdpet.io.nifti import suv_factor, write_image

ORIENTATIONS = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def where_mm(orientation, z, row, column):
    """RAS position of a stored voxel, by the standard's formula (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(along_row, along_column)
    lps = (
        ORIGIN_MM
        + z * SPACING_MM * normal
        + column * PIXEL_MM[1] * along_row
        + row * PIXEL_MM[0] * along_column
    )
    return lps * [-1, -1, 1]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_voxel_is_where_the_header_says(tmp_path, name):
    data = volume()
    image = read_series(write(tmp_path / "pet", data, ORIENTATIONS[name])).image
    assert image.data.dtype == np.float32
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    to_voxel = np.linalg.inv(image.affine)
    for z, row, column in np.ndindex(*data.shape):
        position = where_mm(ORIENTATIONS[name], z, row, column)
        x, y, s = to_voxel[:3, :3] @ position + to_voxel[:3, 3]
        found = image.data[round(x), round(y), round(s)]
        assert np.abs(np.array([x, y, s]) - np.rint([x, y, s])).max() < 1e-3
        assert found == pytest.approx(data[z, row, column], rel=2e-5 * 2)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_an_independent_converter_has_the_same_voxels(tmp_path, name):
    converter = pytest.importorskip("dcm2niix")
    folder = write(tmp_path / "pet", volume(), ORIENTATIONS[name])
    (tmp_path / "nii").mkdir()
    command = [converter.bin, "-b", "n", "-f", "pet", "-o", str(tmp_path / "nii"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (made,) = (tmp_path / "nii").glob("*.nii*")
    theirs = nib.as_closest_canonical(nib.load(made))
    ours = read_series(folder).image
    assert done.returncode == 0
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    np.testing.assert_allclose(ours.data, np.asarray(theirs.dataobj), rtol=1e-5)


def test_sidecar_says_dose_weight_and_times_and_nobodys_name(tmp_path):
    image = read_series(write(tmp_path / "pet", volume())).image
    side = image.sidecar
    assert side["TracerName"] == "FDG" and side["TracerRadionuclide"] == "F18"
    assert (side["InjectedRadioactivity"], side["InjectedRadioactivityUnits"]) == (300.0, "MBq")
    assert (side["BodyWeight"], side["TracerHalfLife"]) == (70.0, 6586.2)
    assert (side["InjectionStart"], side["ScanStart"], side["TimeZero"]) == (0, 3600.0, "09:00:00")
    assert side["FrameDuration"] == [60.0] and side["ImageDecayCorrectionTime"] == 3600.0
    assert suv_factor(side) == pytest.approx(300e6 * 0.5 ** (3600 / 6586.2) / 70e3)
    write_image(tmp_path / "x.nii.gz", image.data, image.affine, side)
    text = (tmp_path / "x.json").read_text()
    for private in ("Doe", "Jane", "12345", "1970", "2024"):
        assert private not in text


def test_an_injection_before_midnight_is_of_the_day_before(tmp_path):
    late = isotope(RadiopharmaceuticalStartTime="233000")
    folder = write(
        tmp_path / "pet",
        volume(),
        SeriesTime="003000",
        AcquisitionTime="003000",
        RadiopharmaceuticalInformationSequence=[late],
    )
    assert read_series(folder).image.sidecar["ScanStart"] == 3600.0


def test_a_half_life_that_the_nuclide_has_not_is_refused(tmp_path):
    gallium = isotope(RadionuclideHalfLife="4062.6")
    tags = {"RadiopharmaceuticalInformationSequence": [gallium]}
    folder = write(tmp_path / "pet", volume(), **tags)
    words = r"\.dcm: Radiopharm.*: nuclide F18 has a half-life of 6586.2 s, got 4062.6 s"
    with pytest.raises(ValueError, match=words):
        read_series(folder)


def test_counts_with_philips_factor_become_bqml(tmp_path):
    data = volume()

    def counts(dataset, z):
        dataset.Units = "CNTS"
        dataset.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
        dataset.add_new((0x7053, 0x1009), "DS", "2.5")

    plain = read_series(write(tmp_path / "plain", data)).image
    scaled = read_series(write(tmp_path / "counts", data, change=counts)).image
    np.testing.assert_allclose(scaled.data, 2.5 * plain.data, rtol=1e-6)


def edit(tag, value, only=None):
    def change(dataset, z):
        if only is None or z == only:
            setattr(dataset, tag, value)

    return change


def shifted(dataset, z):
    x, y, s = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y + 0.5 * z, s]


def moved(dataset, z):
    if z == 4:
        x, y, s = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, s - 1.5]


REFUSED = {
    "CT": (edit("Modality", "CT"), r"Modality: expected a PET series \(PT\), got CT"),
    "MR": (edit("Modality", "MR"), r"Modality: expected a PET series \(PT\), got MR"),
    "SUV": (edit("Units", "GML"), r"Units: expected BQML, got GML \(SUV by body weight"),
    "counts": (edit("Units", "CNTS"), r"CNTS needs the vendor's factor to Bq/mL"),
    "percent": (edit("Units", "PCNT"), r"expected BQML or CNTS with a factor, got PCNT"),
    "tilt": (shifted, r"a shift of 0.500 mm in the plane: gantry tilt"),
    "spacing": (moved, r"expected 5.000 mm from .*, got 3.500 mm: slices are missing or mixed"),
    "orientation": (edit("ImageOrientationPatient", list(CORONAL), 2), "ImageOrientationPatient"),
    "long directions": (
        edit("ImageOrientationPatient", [1.1, 0, 0, 0, 1.1, 0]),
        "ImageOrientationPatient: expected two perpendicular unit vectors, got",
    ),
    "skewed directions": (
        edit("ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0]),
        "ImageOrientationPatient: expected two perpendicular unit vectors, got",
    ),
    "pixel size": (edit("PixelSpacing", [2.0, 2.0], 1), r"PixelSpacing: expected \[.*got \["),
    "mixed units": (edit("Units", "CNTS", 3), "mixed series"),
    "frames in a file": (edit("NumberOfFrames", 3), r"enhanced \(multi-frame\)"),
    "RGB": (edit("PhotometricInterpretation", "RGB"), "expected MONOCHROME2 with one sample"),
    "no slope": (edit("RescaleSlope", None), "RescaleSlope: expected a number"),
    "no position": (
        edit("ImagePositionPatient", None, 2),
        "ImagePositionPatient: expected a value",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(tmp_path, case):
    change, message = REFUSED[case]
    folder = write(tmp_path / "pet", volume(), change=change)
    with pytest.raises(DicomError, match=message) as caught:
        read_series(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_missing_and_doubled_slices(tmp_path):
    folder = write(tmp_path / "pet", volume())
    paths = {pydicom.dcmread(p).ImagePositionPatient[2]: p for p in folder.iterdir()}
    inner = sorted(paths)[2]
    copy = folder / "copy.dcm"
    copy.write_bytes(paths[inner].read_bytes())
    with pytest.raises(DicomError, match="slices are doubled"):
        read_series(folder)
    copy.unlink()
    paths[inner].unlink()
    with pytest.raises(DicomError, match="expected 5.000 mm .*got 10.000 mm: slices are missing"):
        read_series(folder)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path, kept):
    folder = write(tmp_path / "pet", volume())
    path = next(iter(sorted(folder.iterdir())))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=path.name) as caught:
        read_series(folder)
    assert "\n" not in str(caught.value)


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    write(tmp_path / "both/a", volume(), SeriesNumber=4, SeriesDescription="PET WB")
    write(tmp_path / "both/b", volume(seed=9), SeriesNumber=5, SeriesDescription="PET NAC")
    with pytest.raises(DicomError, match=r"2 PET series; .*4: 'PET WB' .*; 5: 'PET NAC'"):
        read_series(tmp_path / "both")
    chosen = read_series(tmp_path / "both", "5").image.data
    np.testing.assert_array_equal(chosen, read_series(tmp_path / "both", "PET NAC").image.data)
    np.testing.assert_array_equal(chosen, read_series(tmp_path / "both/b").image.data)
    with pytest.raises(DicomError, match="--series 7: no such PET series"):
        read_series(tmp_path / "both", "7")


def test_a_ct_beside_the_pet_does_not_matter(tmp_path):
    write(tmp_path / "both/ct", volume(), Modality="CT", SeriesNumber=2)
    write(tmp_path / "both/pet", volume())
    (tmp_path / "both/notes.txt").write_text("not DICOM")
    assert read_series(tmp_path / "both").image.data.shape == (10, 8, 6)


def test_frames_are_split_as_asked(tmp_path):
    one = write(tmp_path / "pet/1", volume(seed=1), FrameReferenceTime=30000)
    two = write(tmp_path / "pet/2", volume(seed=2), FrameReferenceTime=90000)
    uid = pydicom.dcmread(next(one.iterdir())).SeriesInstanceUID
    for path in two.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = uid
        dataset.FrameOfReferenceUID = pydicom.dcmread(next(one.iterdir())).FrameOfReferenceUID
        dataset.save_as(path)
    with pytest.raises(DicomError, match="2 frames or gates; choose one with --frame 1 to 2"):
        read_series(tmp_path / "pet")
    second = read_series(tmp_path / "pet", frame=2).image
    np.testing.assert_array_equal(second.data, read_series(two).image.data)


def test_folders_without_dicom(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_series(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DicomError, match="no DICOM file in it"):
        read_series(tmp_path / "empty")


def test_compressed_pixels_are_read(tmp_path):
    """RLE, which pydicom writes itself."""
    plain = write(tmp_path / "plain", volume())
    packed = write(tmp_path / "packed", volume())
    for path in packed.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_series(packed).image.data, read_series(plain).image.data)


def test_without_pydicom_one_line_says_what_to_install(tmp_path, monkeypatch):
    folder = write(tmp_path / "pet", volume())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DicomError, match=r"pip install 'tgdpet\[dicom\]'"):
        read_series(folder)


@pytest.mark.parametrize("factor", ["-2.5", "0", b"nan", b"inf", None])
def test_a_factor_that_gives_no_activity_is_refused(factor):
    header = (
        {} if factor is None else {units.PHILIPS_ACTIVITY_FACTOR: SimpleNamespace(value=factor)}
    )
    with pytest.raises(ValueError, match=r"a\.dcm: Units: CNTS needs the vendor's factor"):
        units._counts_factor(SimpleNamespace(path="a.dcm", header=header))


@pytest.mark.parametrize("slope", ["nan", "inf", None])
def test_a_rescaling_that_is_no_number_is_refused(slope):
    header = {"RescaleSlope": slope, "RescaleIntercept": 0}
    with pytest.raises(ValueError, match=r"a\.dcm: RescaleSlope: expected a number"):
        units.rescaling(SimpleNamespace(path="a.dcm", header=header))
