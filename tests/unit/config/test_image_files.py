"""Which files are a study's images, and what a run of them lacks."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tgdpet.config.image_files import find_images, read_header
from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles
from tgdpet.config.schema import ConfigError
from tgdpet.config.studies import Study
from tgdpet.figures.absent import absent, shown, unmeasured

SUV = {"InjectedRadioactivity": 300, "BodyWeight": 70, "ScanStart": 3600, "TracerHalfLife": 6586}


def put(root: Path, study: str, protocol: str, sample: str, **more: object) -> Path:
    """An image of 8 x 8 x 6 voxels, stored as LPS, with its sidecar."""
    tracer = more.pop("tracer", "FDG")
    path = (
        root / f"sub-{study}/pet/sub-{study}_trc-{tracer}_rec-{protocol}_desc-{sample}_pet.nii.gz"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-4.0, -4.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(np.ones((8, 9, 6), np.float32), affine), path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
        json.dumps({"Units": "Bq/mL", **SUV, **more})
    )
    return path


def run_of(root: Path, *rows: tuple[str, str], **raw: object) -> RunFiles:
    """The files of a run whose studies are (name, role), all of images below `root`."""
    studies = [
        Study(n, role, "images", float("nan"), i, str(root)) for i, (n, role) in enumerate(rows)
    ]
    networks = {
        "v1-net": {"method": "train", "data": "v1"},
        "TGD-net": {"method": "tgd", "base": "v1-net", "data": "adapt"},
        "TGD-N2N": {"method": "tgd", "base": "v1-net", "data": "n2n"},
    }
    settings = {"networks": networks, "images": {"reference": "full"}, **raw}
    return RunFiles(Path("results"), load_config(settings), studies)


def test_images_are_found_by_protocol_and_sample_whatever_the_tracer(tmp_path):
    for sample in ("1in20", "1in4", "full"):
        put(tmp_path, "p1", "v1", sample, tracer="FES")
    put(tmp_path, "p12", "v1", "full")
    (tmp_path / "sub-p1/pet/sub-p1_rec-v1_desc-x_ct.nii.gz").write_text("")
    found = find_images(tmp_path, "p1")
    assert list(found) == [("v1", "1in4"), ("v1", "1in20"), ("v1", "full")]

    header = read_header(found["v1", "full"])
    assert header.shape == (8, 9, 6)
    np.testing.assert_allclose(header.voxel_mm, (4, 4, 5))


def test_two_files_of_one_sample_and_a_missing_sidecar_are_refused(tmp_path):
    path = put(tmp_path, "p1", "v1", "full")
    put(tmp_path, "p1", "v1", "full", tracer="FES")
    with pytest.raises(ConfigError, match="protocol and sample are those of sub-p1_trc-FDG"):
        find_images(tmp_path, "p1")

    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    with pytest.raises(ConfigError, match=r"desc-full_pet\.nii\.gz: its sidecar .* is missing"):
        read_header(path)


def test_images_are_read_where_they_lie_and_denoised_ones_keep_their_names(tmp_path):
    path = put(tmp_path, "t", "v2", "1in4")
    put(tmp_path, "t", "v2", "full")
    run = run_of(tmp_path, ("t", "test_high_bmi"))
    assert run.image_path("t", "v2", "1in4") == path
    denoised = run.image_path("t", "v2", "1in4", "TGD-net")
    assert denoised == Path("results/denoised/TGD-net/sub-t/pet") / path.name
    assert run.study_samples("t", "v2") == ["1in4", "full"]
    assert run.noisy_of_study("t", "v2") == ["1in4"] and run.protocols_of_study("t") == ("v2",)

    resampled = run_of(
        tmp_path, ("t", "test_high_bmi"), images={"reference": "full", "resample": True}
    )
    assert resampled.image_path("t", "v2", "1in4") == Path("results/recon/sub-t/pet") / path.name


def test_halves_are_no_noisy_images_and_let_a_network_learn(tmp_path):
    for sample in ("half1", "half2", "1in4", "full"):
        put(tmp_path, "b", "v2", sample)
    put(tmp_path, "c", "v2", "1in4")
    put(tmp_path, "c", "v2", "full")
    run = run_of(tmp_path, ("b", "test_bladder"), ("c", "test_catheter"))
    assert run.noisy_of_study("b", "v2") == ["1in4"]
    assert run.online_studies() == ["b"]
    assert ("TGD-N2N", "b") in run.trainings() and ("TGD-N2N", "c") not in run.trainings()
    assert any("study c: no halves" in line for line in unmeasured(run))


def test_what_a_study_lacks_takes_away_what_needs_it_and_says_so(tmp_path):
    put(tmp_path, "t", "v2", "1in4")
    put(tmp_path, "t", "v2", "full")
    run = run_of(tmp_path, ("t", "test_high_bmi"), ("old", "train_v1v2"))
    assert shown(run) == ["training", "fig5"]
    reasons = absent(run)
    assert "study old came as images: the time" in reasons["timing"]
    assert reasons["fig3"] == "no study has the role test_lesion"
    assert "no test study has v1 images" in reasons["fig4"]
    assert unmeasured(run)[0].startswith("study t: no organ labels (column organs)")


def test_without_the_injected_dose_nothing_is_shown_in_suv(tmp_path):
    put(tmp_path, "t", "v2", "1in4")
    put(tmp_path, "t", "v2", "full", BodyWeight=None)
    run = run_of(tmp_path, ("t", "test_high_bmi"))
    assert "BodyWeight is missing" in absent(run)["fig5"]


def test_simulated_studies_lack_nothing(tmp_path):
    studies = [Study("a", "test_lesion", "analytic", 22.0, 1)]
    assert absent(RunFiles(Path("results"), load_config({}), studies)) == {}
