"""KSE against the reference values, its edge cases, and properties of the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tgdpet.tgd import kse

pytestmark = pytest.mark.usefixtures("one_thread")

# (6, 3, 1, 1): small enough to follow by hand; scores from an independent implementation of the
# formula
TINY = [[1, 1, 2], [2, -1, 2.5], [3, 0.5, 3], [4, -0.5, 3.5], [5, 2, 4], [10, -2, 9]]
TINY_S = [25, 7, 24]
TINY_E = [2.47541718, 2.54484919, 2.4003846]
TINY_KSE = [0.83479153, 0, 1]
TINY_OFFICIAL = [1, 0, 0.96539552]
REFERENCE = sorted(
    (Path(__file__).resolve().parents[4] / "shared/data/kse_reference").glob("*.npz")
)


def tiny() -> torch.Tensor:
    return torch.tensor(TINY)[:, :, None, None]


def test_small_case_of_the_formula():
    parts = kse.components(tiny())
    np.testing.assert_allclose(parts.sparsity, TINY_S)
    np.testing.assert_allclose(parts.entropy, TINY_E, atol=1e-7)
    np.testing.assert_allclose(parts.kse, TINY_KSE, atol=1e-7)
    assert parts.kse.dtype == torch.float64


def test_small_case_of_the_published_code():
    np.testing.assert_allclose(kse.score(tiny(), compat="official"), TINY_OFFICIAL, atol=1e-7)


@pytest.mark.skipif(not REFERENCE, reason="the reference values are not beside this checkout")
@pytest.mark.parametrize("path", REFERENCE, ids=lambda p: p.stem)
def test_reference_values(path):
    content = np.load(path)
    weight = torch.from_numpy(content["weight"])
    key = "correct_kse" if "correct_kse" in content else "recommended_kse"
    np.testing.assert_allclose(kse.score(weight), content[key], atol=1e-6)
    if "official_kse" in content:
        np.testing.assert_allclose(
            kse.score(weight, compat="official"), content["official_kse"], atol=1e-6
        )


def test_entropy_against_a_loop():
    weight = torch.randn(
        9, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for c in range(4):
        flat = weight[:, c].reshape(9, -1).numpy()
        distance = np.linalg.norm(flat[:, None] - flat[None], axis=2)
        dm = np.sort(distance, axis=1)[:, 1:6].sum(axis=1)
        p = dm / dm.sum()
        assert float(kse.components(weight).entropy[c]) == pytest.approx(
            float(-(p * np.log2(p)).sum()), abs=1e-12
        )


def test_one_output_has_no_entropy():
    assert kse.components(torch.randn(1, 8, 3, 3)).entropy.abs().max() == 0


def test_fewer_neighbours_than_k_uses_all_there_are():
    weight = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(kse.score(weight, k=5), kse.score(weight, k=3))


def test_identical_kernels_are_maximally_redundant_in_entropy():
    weight = torch.randn(8, 3, 3, 3)
    weight[:, 1] = weight[:1, 1]
    assert float(kse.components(weight).entropy[1]) == pytest.approx(3.0)


def test_no_range_protects_all_channels():
    assert kse.score(torch.ones(4, 5, 3, 3)).tolist() == [1.0] * 5
    assert kse.score(torch.randn(4, 1, 3, 3)).tolist() == [1.0]


def test_silent_channel_scores_zero():
    weight = torch.randn(8, 5, 3, 3)
    weight[:, 2] = 0
    assert float(kse.score(weight)[2]) == 0


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3), (8, 5, 2, 3, 3)])
def test_any_number_of_kernel_axes(shape):
    values = kse.score(torch.randn(shape))
    assert values.shape == (5,)
    assert float(values.min()) >= 0 and float(values.max()) == 1


@pytest.mark.parametrize(
    ("weight", "options", "word"),
    [
        (torch.zeros(3), {}, "weight"),
        (torch.full((3, 3, 1, 1), torch.nan), {}, "weight"),
        (torch.zeros(3, 3), {"k": 0}, "k"),
        (torch.zeros(3, 3), {"alpha": -1.0}, "alpha"),
        (torch.zeros(3, 3), {"compat": "oficial"}, "compat"),
    ],
)
def test_errors_name_what_is_wrong(weight, options, word):
    with pytest.raises(ValueError, match=word):
        kse.score(weight, **options)
