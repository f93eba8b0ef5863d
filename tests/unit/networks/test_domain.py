"""What a network knows, measured, kept in its card, and compared with an image in numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from halves_of_a_study import activity, measured
from tgdpet.io.nifti import Image
from tgdpet.networks import domain, weights
from tgdpet.networks.domain import Domain


@pytest.fixture(scope="module")
def image() -> Image:
    return measured(activity(), seed=1)


@pytest.fixture(scope="module")
def known(image: Image) -> Domain:
    return domain.of_images([image, measured(activity(), seed=2, counts=18.0)])


def test_noise_between_slices_is_that_of_independent_slices() -> None:
    rng = np.random.default_rng(0)
    data = 1000 + 80 * rng.standard_normal((40, 40, 30))
    assert domain.relative_noise(data) == pytest.approx(0.08, rel=0.05)
    assert domain.relative_noise(np.full((4, 4, 4), 5.0)) == 0
    assert domain.relative_noise(data[:, :, :2]) == 0


def test_a_domain_spans_its_images(image: Image, known: Domain) -> None:
    assert known.voxel_mm == [4, 4, 5]
    assert (
        known.noise[0]
        < known.noise[1]
        == pytest.approx(domain.relative_noise(image.data), abs=1e-4)
    )
    assert known.frame_s == [60, 60]
    assert known.tracers == ["FDG"]
    assert domain.from_card(known.as_dict()) == known
    assert domain.united(Domain(), known) == known


@pytest.mark.parametrize(
    ("maker", "model", "sources"),
    [
        ("Maker", "Model", ["Maker Model"]),
        ("Maker", "n/a", ["Maker"]),
        ("unknown", "Model", ["Model"]),
        ("unknown", None, []),
    ],
)
def test_a_source_is_maker_and_model_as_far_as_they_are_known(
    image: Image, maker: str, model: str | None, sources: list[str]
) -> None:
    names = {"Manufacturer": maker, "ManufacturersModelName": model}
    told = dataclasses.replace(image, sidecar={**image.sidecar, **names})
    assert domain.of_image(told).sources == sources


def test_an_image_of_the_kind_is_near(image: Image, known: Domain) -> None:
    assert domain.far(known, image) == []
    assert domain.refused_voxels(known, image) is None
    assert domain.far(Domain(), image) == []
    assert domain.refused_voxels(Domain(), image) is None


def test_what_is_far_is_said_with_numbers(image: Image, known: Domain) -> None:
    affine = image.affine @ np.diag([0.8, 0.8, 1, 1])
    noisy = measured(activity(), seed=3, counts=2.0)
    sidecar = {**image.sidecar, "TracerName": "PSMA"}
    remarks = domain.far(known, Image(5 * noisy.data, affine, sidecar))

    assert remarks[0] == "voxels of 3.2 x 3.2 x 5 mm, trained on 4 x 4 x 5 mm"
    assert remarks[1].startswith("noise of ") and " between slices, trained on " in remarks[1]
    assert remarks[2].startswith("99th percentile of ") and remarks[2].endswith(" Bq/mL")
    assert remarks[3] == "tracer PSMA, trained on FDG"


def test_quite_other_voxels_are_refused(image: Image, known: Domain) -> None:
    for factor in (0.5, 1.6):
        other = Image(image.data, image.affine @ np.diag([factor, 1, 1, 1]), image.sidecar)
        refused = domain.refused_voxels(known, other)
        assert refused is not None
        assert refused.startswith("expected voxels of 4 x 4 x 5 mm, got ")


def test_a_card_keeps_it_and_one_without_is_as_before(root: Path, tmp_path: Path) -> None:
    model, card = weights.load(root / "tests/data/network-0.1.safetensors")
    assert card.domain == {}

    weights.save(tmp_path / "without.safetensors", model, card)
    assert b"domain" not in (tmp_path / "without.safetensors").read_bytes()[:4000]

    content = {"voxel_mm": [4.0, 4.0, 5.0]}
    card.domain.update(content)
    weights.save(tmp_path / "with.safetensors", model, card)
    assert weights.load(tmp_path / "with.safetensors")[1].domain == content
