"""Nuclides and half-lives have to agree; what is not known is said to be unknown."""

from __future__ import annotations

import pytest

from tgdpet import nuclides
from tgdpet.config.sections import ScannerChoice
from tgdpet.scanner.cylinder import from_choice
from tgdpet.simulation.lesion import default_psf_mm


def test_every_nuclide_is_found_by_its_rounded_half_life():
    for name, nuclide in nuclides.NUCLIDES.items():
        assert nuclides.of_half_life(nuclide.half_life_s * 1.01) == name
    assert nuclides.of_half_life(5000.0) == nuclides.UNKNOWN


def test_a_half_life_that_the_nuclide_has_not_is_refused():
    nuclides.check("FDG", "F18", 6588.0, "x.json")
    nuclides.check("NEW1", "unknown", 5000.0, "x.json")
    words = r"x.json: nuclide F18 has a half-life of 6586.2 s, got 4062.6 s \(that of Ga68\)"
    with pytest.raises(ValueError, match=words):
        nuclides.check("unknown", "F18", 4062.6, "x.json")
    with pytest.raises(ValueError, match="x.json: tracer FDG is labelled with F18, got Ga68"):
        nuclides.check("FDG", "Ga68", 4062.6, "x.json")


@pytest.mark.parametrize("spelling", ["18F", "F-18", "^18^Fluorine", "Fluorine-18"])
def test_a_nuclide_is_compared_however_it_is_spelt(spelling: str):
    nuclides.check("FDG", spelling, 6588.0, "x.json")
    with pytest.raises(ValueError, match="x.json: nuclide F18 has a half-life of 6586.2 s"):
        nuclides.check("unknown", spelling, 4062.6, "x.json")


@pytest.mark.parametrize(
    ("meaning", "name"),
    [
        *[("^18^Fluorine", "F18"), ("F-18", "F18"), ("^68^Gallium", "Ga68"), ("", None)],
        *[("18F", "F18"), ("68-Ga", "Ga68"), ("fluorine 18", "F18"), ("18FDG", "18FDG")],
    ],
)
def test_names_of_dicom(meaning: str, name: str | None):
    assert nuclides.of_meaning(meaning) == name


def test_positrons_that_go_farther_blur_more():
    scanner = from_choice(ScannerChoice())
    fluorine = default_psf_mm(scanner)
    gallium = default_psf_mm(scanner, "Ga68")

    # 1.25 of each part, added in squares
    assert gallium**2 - fluorine**2 == pytest.approx(1.25**2 * (2.83**2 - 0.54**2))
    with pytest.raises(ValueError, match="--psf-fwhm-mm: the positron range of nuclide unknown"):
        default_psf_mm(scanner, "unknown")
