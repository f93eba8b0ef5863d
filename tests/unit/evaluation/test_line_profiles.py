"""Line profiles of a made-up results tree, against its images."""

from pathlib import Path

import numpy as np
import pytest

import fabricate
from tgdpet.config.loading import read_config
from tgdpet.config.studies import read_studies
from tgdpet.evaluation.line_profiles import line_profiles
from tgdpet.evaluation.measures import middle
from tgdpet.evaluation.results import INPUT, Results
from tgdpet.io.nifti import suv_factor, write_image


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))
    config = read_config(root / "config.yaml")
    return Results(root, config, read_studies(root.parent / "studies.tsv"))


def test_profiles_are_means_over_the_realisations_through_the_lesion(results: Results) -> None:
    table = line_profiles(results, "lesion")
    lesion = fabricate.labels((40, 40, 16), 22, False) == fabricate.ORGANS["lesion"]
    x, y, z = middle(lesion)
    stack = [results.suv("lesion", "v2", f"real{i:02d}", "TGD-net")[x, y, z] for i in range(1, 5)]
    at = table[(table.network == "TGD-net") & (table.x_mm == 0)].iloc[0]
    scan = results.suv("lesion", "v2", "600s")[x, y, z]
    assert (at.suv, at.sd) == pytest.approx((np.mean(stack), np.std(stack, ddof=1)), rel=1e-5)
    assert at.minus_scan == pytest.approx(np.mean(stack) - scan, abs=1e-5)
    assert at.standard_error == pytest.approx(at.sd / 2) and at.images == 4 and at.inside
    inside = table[(table.network == "600s") & table.inside].x_mm
    assert len(inside) == lesion[:, y, z].sum() and table.truth.isna().all()
    bladder = line_profiles(results, "bladder")
    assert list(bladder.network.unique()) == [
        "600s",
        INPUT,
        "v2-net",
        "TGD-net",
        "TGD-N2N",
        "TGD2-N2N",
    ]
    assert bladder.sd.isna().all()


def test_profiles_show_the_true_activity_where_it_is_known(
    results: Results, tmp_path: Path
) -> None:
    image = results.image("lesion", "v2", "600s")
    truth = fabricate.truth(fabricate.labels((40, 40, 16), 22, False))
    path = results.root / "listmode" / "lesion" / "truth.nii.gz"
    write_image(path, truth, image.affine, fabricate.SIDECAR)
    try:
        table = line_profiles(results, "lesion")
    finally:
        path.unlink()
        path.with_name("truth.json").unlink()
    known = 6.0 * fabricate.BQML_PER_SUV / suv_factor(fabricate.SIDECAR)
    assert table[table.inside].truth.to_numpy() == pytest.approx(known, rel=1e-5)
