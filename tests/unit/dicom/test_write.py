"""A derived series: same place and patient, new identity, the same image when read again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from dicom_series import CORONAL, OBLIQUE, volume, write
from tgdpet.dicom.read import read_series
from tgdpet.dicom.write import write_series


def headers(folder):
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda dataset: tuple(dataset.ImagePositionPatient))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("orientation", [CORONAL, OBLIQUE])
def test_read_again_it_is_the_same_image(tmp_path, orientation):
    folder = write(tmp_path / "pet", volume(), orientation)
    before = digests(folder)
    source = read_series(folder)
    denoised = source.image.data * 0.9 - 1800  # some below zero
    assert write_series(tmp_path / "out", source, denoised, "v2-net") == 6
    again = read_series(tmp_path / "out")
    np.testing.assert_allclose(again.image.affine, source.image.affine, atol=1e-6)
    worst = np.abs(again.image.data - denoised).max()
    assert worst < 1e-4 * np.abs(denoised).max()
    assert digests(folder) == before


def test_identity_is_new_and_the_rest_is_the_patients(tmp_path):
    folder = write(tmp_path / "pet", volume())
    source = read_series(folder)
    write_series(tmp_path / "out", source, source.image.data, "v2-net")
    old, new = headers(folder), headers(tmp_path / "out")
    assert len({x.SOPInstanceUID for x in (*old, *new)}) == 12
    assert len({x.SeriesInstanceUID for x in new}) == 1
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID
    for one, two in zip(old, new, strict=True):
        for tag in (
            "PatientName",
            "PatientID",
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "RadiopharmaceuticalInformationSequence",
        ):
            assert one.get(tag) == two.get(tag), tag
        assert list(two.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert "v2-net" in two.SeriesDescription and len(two.SeriesDescription) <= 64
        assert two.file_meta.MediaStorageSOPInstanceUID == two.SOPInstanceUID
        assert two.SourceImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    source = read_series(write(tmp_path / "pet", volume()))
    written = []

    def full(self, path, **_):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        path.touch()

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", full)
    with pytest.raises(OSError, match="No space"):
        write_series(tmp_path / "out", source, source.image.data, "v2-net")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pet"]


def test_an_empty_image_is_written_too(tmp_path):
    source = read_series(write(tmp_path / "pet", volume()))
    write_series(tmp_path / "out", source, np.zeros_like(source.image.data), "v2-net")
    assert not read_series(tmp_path / "out").image.data.any()


def test_a_series_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    source = read_series(write(tmp_path / "pet", volume()))
    write_series(tmp_path / "out", source, source.image.data, "v2-net")
    before = digests(tmp_path / "out")
    plain = Path.rename

    def fail(self, target):
        if self.name == ".tmp-out":
            raise OSError(5, "Input/output error")
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="out: cannot be written: Input/output error"):
        write_series(tmp_path / "out", source, source.image.data * 2, "v2-net", replace=True)
    assert digests(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pet"]
