"""Evaluation of a made-up results tree: what is measured, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fabricate
from tgdpet.constants import ORGANS
from tgdpet.evaluation import voi_values
from tgdpet.evaluation.evaluate import METRICS_COLUMNS, collect, evaluate_study
from tgdpet.evaluation.measures import MeasureError, ensemble_cov
from tgdpet.evaluation.results import image_path, reconstructed_samples
from tgdpet.io.nifti import read_image, read_labels, write_image, write_labels


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate.fabricate(tmp_path_factory.mktemp("made_up"))


def evaluate(
    results: Path, study: str, role: str, networks: list[str], organs: Path | None = None
) -> pd.DataFrame:
    organs = organs or results / "listmode" / study / "organs.nii.gz"
    return evaluate_study(
        study, role, "600s", organs, ORGANS, results / "recon", results / "denoised", networks
    )[0]


def test_lesion_study_has_every_measure_for_both_protocols(results: Path) -> None:
    table = pd.read_csv(results / "metrics" / "metrics.csv")
    assert list(table.columns) == METRICS_COLUMNS and table.value.notna().all()
    lesion = table[table.role == "test_lesion"]
    ensemble = lesion[lesion["sample"] == "ensemble"]
    assert set(ensemble.measure) == {"lesion_bias", "liver_cov", "liver_bias"}
    assert set(lesion.protocol) == {"v1", "v2"} and "TGD-net" in set(lesion.network)
    assert set(lesion["sample"]) == {"ensemble", "real01", "real02", "real03", "real04"}
    one = (
        ensemble[(ensemble.protocol == "v2") & (ensemble.network == "v1-net")]
        .set_index("measure")
        .value
    )
    noisy = (
        ensemble[(ensemble.protocol == "v2") & (ensemble.network == "input")]
        .set_index("measure")
        .value
    )
    assert one.liver_cov < 0.5 * noisy.liver_cov and one.lesion_bias < noisy.lesion_bias


def test_what_is_kept_for_intervals_is_what_the_table_was_measured_from(results: Path) -> None:
    table = pd.read_csv(results / "metrics" / "metrics.csv")
    for study, role in (("lesion", "test_lesion"), ("catheter", "test_catheter")):
        values = voi_values.read_voi_values(results / "metrics" / f"{study}_voi.npz")
        own = table[table.study == study]
        assert values.role == role and set(values.protocols) == set(own.protocol)
        for protocol, images in values.protocols.items():
            assert set(images.networks) == set(own.network)
            of_protocol = own[(own.protocol == protocol) & (own["sample"] != "ensemble")]
            for (network, measure), rows in of_protocol.groupby(["network", "measure"]):
                if measure in voi_values.ERRORS:
                    assert tuple(rows["sample"]) == images.samples
                    np.testing.assert_allclose(
                        images.networks[network].errors[measure], rows.value, rtol=1e-9
                    )
    images = values.protocols["v2"]
    assert (
        images.lesion is None
        and images.networks["v2-net"].lesion is None
        and images.liver is not None
    )
    images = voi_values.read_voi_values(results / "metrics" / "lesion_voi.npz").protocols["v2"]
    network, n = images.networks["TGD-net"], len(images.liver)
    assert network.liver.shape == (4, n) and network.liver.dtype == images.liver.dtype == np.float32
    own = table[(table.study == "lesion") & (table.protocol == "v2") & (table.network == "TGD-net")]
    ensemble = own[own["sample"] == "ensemble"].set_index("measure").value
    assert 100 * (network.lesion / images.lesion - 1).mean() == pytest.approx(
        ensemble.lesion_bias, rel=1e-5
    )
    assert 100 * (network.liver.mean() / images.liver.mean() - 1) == pytest.approx(
        ensemble.liver_bias, rel=1e-4
    )
    cov = ensemble_cov(network.liver.reshape(4, n, 1, 1), np.ones((n, 1, 1), bool))
    assert cov == pytest.approx(ensemble.liver_cov, rel=1e-6)


def test_online_studies_are_judged_at_bladder_and_catheter_but_not_on_their_halves(
    results: Path,
) -> None:
    table = pd.read_csv(results / "metrics" / "metrics.csv")
    bladder, catheter = (
        set(table[table.role == f"test_{o}"].measure) for o in ("bladder", "catheter")
    )
    assert {"bladder_error", "bladder_rim_error"} <= bladder and "catheter_error" not in bladder
    assert "catheter_error" in catheter
    assert set(table[table.role == "test_bladder"]["sample"]) == {"120s", "ensemble"}
    assert set(table[table.role == "test_bladder"].protocol) == {"v2"}


def test_an_error_free_network_measures_as_error_free(results: Path, tmp_path: Path) -> None:
    reference = read_image(image_path(results / "recon", "highbmi", "v2", "600s"))
    for protocol in ("v1", "v2"):
        own = read_image(image_path(results / "recon", "highbmi", protocol, "600s"))
        path = image_path(results / "denoised" / "perfect", "highbmi", protocol, "60s")
        write_image(path, own.data, reference.affine, own.sidecar)
    table = evaluate(results, "highbmi", "test_high_bmi", ["perfect"])
    perfect = table[table.network == "perfect"].groupby("measure").value.max()
    assert (
        perfect.rmse == 0
        and np.isinf(perfect.psnr)
        and perfect.ssim == pytest.approx(1)
        and perfect.liver_bias == 0
    )


def test_a_bed_over_the_bladder_needs_no_liver(results: Path, tmp_path: Path) -> None:
    labels, affine = read_labels(results / "listmode/bladder/organs.nii.gz")
    organs = tmp_path / "organs.nii.gz"
    write_labels(organs, np.where(labels == ORGANS["liver"], ORGANS["body"], labels), affine)
    without = evaluate(results, "bladder", "test_bladder", ["v2-net"], organs)
    assert not without.measure.str.startswith("liver").any() and "bladder_error" in set(
        without.measure
    )
    with pytest.raises(MeasureError, match="organ 'liver'.* has no voxel"):
        evaluate(results, "bladder", "test_high_bmi", ["v2-net"], organs)


def test_samples_come_in_natural_order(results: Path) -> None:
    assert reconstructed_samples(results / "recon", "bladder", "v2") == [
        "120s",
        "600s",
        "half1",
        "half2",
    ]


def test_what_is_missing_is_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sub-highbmi_trc-FDG_rec-v1_desc-60s"):
        evaluate(results, "highbmi", "test_high_bmi", ["no-such-net"])
    with pytest.raises(FileNotFoundError, match="no image of study 'nobody'"):
        evaluate(
            results,
            "nobody",
            "test_high_bmi",
            [],
            results / "listmode" / "lesion" / "organs.nii.gz",
        )
    with pytest.raises(MeasureError, match=r"organs.nii.gz: organ 'catheter'"):
        evaluate(results, "bladder", "test_catheter", [])
    with pytest.raises(ValueError, match="expected columns"):
        collect([pd.DataFrame({"study": ["a"]})])


def test_another_grid_is_refused(results: Path) -> None:
    image = read_image(image_path(results / "recon", "highbmi", "v2", "60s"))
    path = image_path(results / "denoised" / "cropped", "highbmi", "v1", "60s")
    write_image(path, image.data[:-1], image.affine, image.sidecar)
    with pytest.raises(
        MeasureError, match=r"desc-60s_pet.nii.gz: expected 40 x .*got 39 x 40 x 24"
    ):
        evaluate(results, "highbmi", "test_high_bmi", ["cropped"])


def test_an_image_that_lies_elsewhere_is_named(tmp_path: Path) -> None:
    results = fabricate.fabricate(tmp_path)
    study, role = "lesion", "test_lesion"
    path = image_path(results / "denoised" / "v1-net", study, "v2", "real02")
    image = read_image(path)
    moved = image.affine.copy()
    moved[0, 3] += 50
    write_image(path, image.data, moved, image.sidecar)
    with pytest.raises(MeasureError, match=r"real02_pet\.nii\.gz: expected the first voxel at"):
        evaluate(results, study, role, ["v1-net"])
