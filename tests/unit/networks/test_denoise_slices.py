"""A volume denoised a few slices at a time is the volume denoised at once; what is written says
where it is from.
"""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from tgdpet.io import nifti
from tgdpet.io.orientation import RAS, to_ras
from tgdpet.networks import denoise as module
from tgdpet.networks import weights
from tgdpet.networks.denoise import denoise, write_denoised
from tgdpet.networks.dncnn import DnCNN

pytestmark = pytest.mark.usefixtures("one_thread")

SCALE = 1000.0
CPU = torch.device("cpu")


@pytest.fixture
def model():
    net = DnCNN(0.125, torch.Generator().manual_seed(1))
    nn.init.normal_(net.blocks[-1].conv.weight, std=0.2, generator=torch.Generator().manual_seed(2))
    return net.eval()


@pytest.fixture
def few(monkeypatch):
    """`few(n)`: at most n slices of 14 x 12 in a batch."""
    return lambda n: monkeypatch.setattr(module, "PIXELS_AT_ONCE", n * 14 * 12)


def image(depth=19, nx=14, ny=12):
    return np.random.default_rng(0).gamma(2, 500, (nx, ny, depth)).astype(np.float32)


def untiled(model, noisy):
    """All slices in one batch, put together without the library."""
    volume = np.pad(noisy.transpose(2, 1, 0), ((1, 1), (0, 0), (0, 0)), "edge") / SCALE
    stack = torch.from_numpy(np.stack([volume[:-2], volume[1:-1], volume[2:]], axis=1))
    with torch.no_grad():
        return model(stack)[:, 1].numpy().transpose(2, 1, 0) * SCALE


class Watched:
    """A volume that remembers which slices were asked for."""

    def __init__(self, data):
        self.data, self.asked = data, []

    @property
    def shape(self):
        return self.data.shape

    def __getitem__(self, key):
        self.asked.append(range(*key[2].indices(self.data.shape[2])))
        return self.data[key]


class Spy(nn.Module):
    """The identity, which remembers its inputs' shapes and the convolutions' precision."""

    def __init__(self):
        super().__init__()
        self.shapes, self.tf32 = [], []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        self.tf32.append(torch.backends.cudnn.allow_tf32)
        if len(self.shapes) == 3:
            raise RuntimeError("stop")
        return x


@pytest.mark.parametrize(("nx", "ny"), [(14, 12), (13, 17)])
@pytest.mark.parametrize("depth", [1, 2, 8, 19])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_few_slices_at_a_time_equal_all_at_once(model, few, nx, ny, depth, at_once):
    few(at_once)
    noisy = image(depth, nx, ny)
    before = noisy.copy()
    out = denoise(model, noisy, SCALE)
    assert out.shape == noisy.shape and out.dtype == np.float32
    np.testing.assert_allclose(out, untiled(model, noisy), atol=1e-5 * SCALE)
    assert np.array_equal(noisy, before)


def test_memory_is_bounded_by_pixels_whatever_the_depth(few):
    few(4)
    spy, steps = Spy(), []
    volume = Watched(image(8))
    denoise(spy, volume, SCALE, on_slices=steps.append)
    assert spy.shapes == [(4, 3, 12, 14)] * 2 and steps == [4, 4]
    assert [list(r) for r in volume.asked] == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]
    wide = Spy()
    # a slice larger than the limit still goes through, alone
    denoise(wide, image(2, 60, 60), SCALE)
    assert wide.shapes == [(1, 3, 60, 60)] * 2


@pytest.mark.parametrize("order", ["C", "F"])
def test_files_are_read_through_nibabel_or_a_memory_map(model, few, tmp_path, order):
    few(3)
    noisy = np.asarray(image(7), order=order)
    expected = denoise(model, noisy, SCALE)
    nib.save(nib.Nifti1Image(noisy, np.eye(4)), tmp_path / "a.nii")
    assert np.array_equal(denoise(model, nib.load(tmp_path / "a.nii").dataobj, SCALE), expected)
    np.save(tmp_path / "a.npy", noisy)
    assert np.array_equal(
        denoise(model, np.load(tmp_path / "a.npy", mmap_mode="r"), SCALE), expected
    )


def test_convolutions_are_plain_float32_and_the_setting_is_put_back(few):
    few(1)
    spy = Spy()
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(RuntimeError, match="stop"):
        denoise(spy, image(5), SCALE)
    assert spy.tf32 == [False] * 3
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(model, few):
    few(3)
    expected = denoise(model, image(20), SCALE)
    np.testing.assert_allclose(
        denoise(model, image(20), SCALE, "cuda"), expected, atol=1e-5 * SCALE
    )


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), (4, 4, 0)])
def test_only_volumes_are_taken(model, shape):
    with pytest.raises(ValueError, match=r"\(X, Y, Z\)"):
        denoise(model, np.zeros(shape, np.float32), 1.0)


def test_what_is_written_has_the_grid_the_sidecar_and_the_provenance(model, tmp_path):
    source = tmp_path / "net.safetensors"
    card = weights.Card("net", 0.125, SCALE)
    weights.save(source, model, card)
    affine = np.array([[0, -2.0, 0.1, 5], [3, 0, 0, -7], [0, 0.2, -4, 9], [0, 0, 0, 1]])
    noisy = nifti.Image(image(5), affine, {"Units": "Bq/mL", "Study": "a", "Network": "before"})
    write_denoised(tmp_path / "out.nii.gz", noisy, (model, card), CPU, [source], {"threads": "1"})
    written = nifti.read_image(tmp_path / "out.nii.gz")
    ras, ras_affine = to_ras(noisy.data, affine)
    assert np.array_equal(written.data, denoise(model, ras, SCALE))
    np.testing.assert_allclose(written.affine, ras_affine, atol=1e-6)
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii.gz").affine, affine, atol=1e-6)
    assert (written.sidecar["Study"], written.sidecar["Network"]) == ("a", "net")
    provenance = json.loads((tmp_path / "out.json").read_text())["provenance"]
    assert list(provenance["inputs"]) == [str(source)] and provenance["settings"] == {
        "threads": "1"
    }


@pytest.mark.parametrize("order", ["RAS", "LAS", "LPS", "PIR", "RSA", "SAR", "ILP"])
def test_the_same_image_gives_the_same_result_whatever_its_storage(model, tmp_path, order):
    network = model, weights.Card("net", 0.125, SCALE)
    affine = np.array([[2.0, 0, 0.1, 5], [0, 3, 0, -7], [-0.1, 0, 4, 9], [0, 0, 0, 1]])
    wanted = denoise(model, image(5), SCALE)
    wanted_ras = nib.Nifti1Image(wanted, affine)

    turn = nib.orientations.ornt_transform(RAS, nib.orientations.axcodes2ornt(order))
    stored = nib.Nifti1Image(image(5), affine).as_reoriented(turn)
    nib.save(stored, tmp_path / "in.nii.gz")

    noisy = nifti.read_converted(tmp_path / "in.nii.gz", "Bq/mL")
    write_denoised(tmp_path / "out.nii.gz", noisy, network, CPU, [], {})
    written = nib.load(tmp_path / "out.nii.gz")

    assert nib.aff2axcodes(written.affine) == tuple(order)
    np.testing.assert_allclose(written.affine, stored.affine, atol=1e-5)
    np.testing.assert_allclose(
        written.get_fdata(), wanted_ras.as_reoriented(turn).get_fdata(), rtol=1e-5, atol=1e-2
    )


def test_an_output_that_is_no_number_is_not_written(model, tmp_path):
    noisy = nifti.Image(np.full((6, 6, 3), 3e38, np.float32), np.eye(4), {"Units": "Bq/mL"})
    nn.init.constant_(model.blocks[-1].conv.weight, 1e6)
    with pytest.raises(
        ValueError,
        match=r"out\.nii: net gives NaN or infinite values; the input's largest is 3e\+38",
    ):
        write_denoised(
            tmp_path / "out.nii", noisy, (model, weights.Card("net", 0.125, 1.0)), CPU, [], {}
        )
    assert not list(tmp_path.iterdir())
