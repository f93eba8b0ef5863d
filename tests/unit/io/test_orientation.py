"""Images are read as RAS+ and written in the order of their file, with its header."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.io import nifti
from tgdpet.io.orientation import RAS, from_ras, grid_difference, orientation_name, to_ras

# oblique, its axes nearest to right, anterior, superior
AFFINE = np.array([[2.0, 0.2, 0.1, 5], [-0.1, 3, 0, -7], [-0.1, 0.3, 4, 9], [0, 0, 0, 1]])
DATA = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
ORDERS = [
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*pairs)
]


def stored(order: str) -> nib.Nifti1Image:
    """The image with its axes in another order and direction."""
    image = nib.Nifti1Image(DATA, AFFINE)
    turn = nib.orientations.ornt_transform(RAS, nib.orientations.axcodes2ornt(order))
    return image.as_reoriented(turn)


@pytest.mark.parametrize("order", ORDERS)
def test_every_storage_is_the_same_image_and_goes_back_to_itself(order: str) -> None:
    image = stored(order)
    assert orientation_name(image.affine) == order

    data, affine = to_ras(np.asarray(image.dataobj), image.affine)
    assert np.array_equal(data, DATA)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-12)
    assert np.array_equal(from_ras(data, image.affine), image.dataobj)


def test_an_image_that_is_ras_is_not_copied() -> None:
    data, affine = to_ras(DATA, AFFINE)
    assert data is DATA and np.array_equal(affine, AFFINE)


def test_header_of_the_input_goes_to_the_output(tmp_path: Path) -> None:
    image = stored("LPS")
    scanner = image.affine.copy()
    scanner[:3, 3] += 40
    image.set_sform(image.affine, code=4)
    image.set_qform(scanner, code=1, strip_shears=True)
    image.header.set_xyzt_units("mm", "msec")
    image.header["descrip"] = b"static PET, 60 min"
    image.header.set_intent("estimate", (), "activity")
    nib.save(image, tmp_path / "in.nii")

    read = nifti.read_converted(tmp_path / "in.nii", "Bq/mL")
    nifti.write_image(tmp_path / "out.nii", read.data, read.affine, read.sidecar, read.stored)

    before, after = (nib.load(tmp_path / name) for name in ("in.nii", "out.nii"))
    assert np.array_equal(after.dataobj, before.dataobj)
    for field in nifti.KEPT_FIELDS:
        assert np.array_equal(after.header[field], before.header[field]), field
    assert (after.header["sform_code"], after.header["qform_code"]) == (4, 1)
    assert np.array_equal(after.get_qform(), before.get_qform())


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1)])
def test_a_single_frame_is_a_3d_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(DATA.reshape(shape), AFFINE), tmp_path / "in.nii")
    image = nifti.read_converted(tmp_path / "in.nii", "Bq/mL")
    assert np.array_equal(image.data, DATA)

    nifti.write_image(tmp_path / "out.nii", image.data, image.affine, {}, image.stored)
    assert nib.load(tmp_path / "out.nii").shape == (3, 4, 5)


def moved(**changes: float) -> np.ndarray:
    """The affine with elements `r{row}{column}` replaced."""
    affine = AFFINE.copy()
    for name, value in changes.items():
        affine[int(name[1]), int(name[2])] = value
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "difference"),
    [
        ((3, 4, 5), AFFINE, None),
        ((3, 4, 5), moved(r03=5.015), None),
        ((3, 4, 6), AFFINE, "expected 3 x 4 x 5 voxels, got 3 x 4 x 6"),
        ((3, 4, 5), moved(r03=9.0), r"expected the first voxel at \(5.00, .*got \(9.00, "),
        ((3, 4, 5), moved(r22=4.4), "expected voxels of 2.00. x 3.02. x 4.00. mm, got .* x 4.40"),
        ((3, 4, 5), moved(r01=-0.2), r"expected the axes \[\[2.0, 0.2, .*got \[\[2.0, -0.2"),
    ],
)
def test_what_tells_two_grids_apart_is_said_in_numbers(shape, affine, difference) -> None:
    said = grid_difference(shape, affine, (3, 4, 5), AFFINE)
    if difference is None:
        assert said is None
    else:
        assert said is not None and re.search(difference, said), said
