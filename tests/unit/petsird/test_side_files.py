"""What lies beside a PETSIRD file: dose and times, attenuation on any grid, labels, a background an
event.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

petsird = pytest.importorskip("petsird")

from petsird_files import BACKGROUND, GIVEN, GRID, block, header, write
from tgdpet.io import nifti
from tgdpet.io.files import write_json
from tgdpet.listmode.study_folder import image_sidecar
from tgdpet.petsird.read import import_study

EVENTS = [(12, 0, 2), (13, 1, 2), (23, 2, 1)]
SHIFT_MM = 7.0  # of the ring scanner's middle from the file's origin


def make(folder, exam=None, given=GIVEN):
    """A file with three events and this exam information and X.json."""
    path = write(
        folder / "x.petsird",
        petsird.Header(scanner=header().scanner, exam=exam),
        [block(0, 1000, *EVENTS)],
    )
    (folder / "x.json").unlink()
    if given is not None:
        write_json(folder / "x.json", given)
    return path


def imported(path, attenuation=False):
    return import_study(path, path.parent / "i", "s", GRID, attenuation)


def exam(dose=180.0, weight=80.0, code="C-111A1", start="2024-05-01T11:00:00"):
    """Exam information: injection at ten o'clock."""
    drug = petsird.DICOMRadiopharmaceuticalInformation(
        radionuclide_total_dose=dose,
        radiopharmaceutical_start_date_time=petsird.DateTime.parse("2024-05-01T10:00:00"),
    )
    drug.radionuclide_code_sequence.code_value = code
    patient = petsird.DICOMPatientInformation(patients_weight=weight, patients_size=2.0)
    return petsird.ExamInformation(
        patient=patient,
        radiopharmaceuticals=[drug],
        start_of_acquisition=start and petsird.DateTime.parse(start),
    )


GALLIUM = {**GIVEN, "half_life_s": 4062.6}


def test_tracer_and_nuclide_come_from_the_side_file(tmp_path):
    given = {**GALLIUM, "tracer": "PSMA11", "nuclide": "Ga68"}
    meta = imported(make(tmp_path, None, given))
    assert (meta["tracer"], meta["nuclide"]) == ("PSMA11", "Ga68")

    beside = image_sidecar(meta, 60.0, {})
    assert beside["TracerName"] == "PSMA11" and beside["TracerRadionuclide"] == "Ga68"
    assert beside["TracerHalfLife"] == 4062.6


def test_a_tracer_that_nothing_says_is_unknown_and_the_half_life_tells_the_nuclide(tmp_path):
    meta = imported(make(tmp_path, None, GALLIUM))
    assert (meta["tracer"], meta["nuclide"]) == ("unknown", "Ga68")
    meta = imported(make(tmp_path, None, {**GIVEN, "half_life_s": 5000.0}))
    assert (meta["tracer"], meta["nuclide"]) == ("unknown", "unknown")


def test_a_nuclide_gives_the_half_life_that_nothing_else_says(tmp_path):
    given = {key: value for key, value in GIVEN.items() if key != "half_life_s"}
    meta = imported(make(tmp_path, exam(code="C-131A3"), given))
    assert (meta["nuclide"], meta["half_life_s"]) == ("Ga68", 4062.6)


@pytest.mark.parametrize(
    ("from_exam", "given", "words"),
    [
        (None, {**GALLIUM, "nuclide": "F18"}, "x.json: nuclide F18 has a half-life of 6586.2 s"),
        (None, {**GALLIUM, "tracer": "FDG"}, "x.json: tracer FDG is labelled with F18, got Ga68"),
        (exam(), GALLIUM, "nuclide F18 has a half-life of 6586.2 s, got 4062.6 s"),
        (exam(), {**GIVEN, "nuclide": "C11"}, "nuclide: expected one, got C11 by .*, F18 by the e"),
        (None, {**GIVEN, "tracer": "an FDG"}, "x.json: tracer: expected letters and digits"),
    ],
)
def test_what_contradicts_the_half_life_is_refused(tmp_path, from_exam, given, words):
    with pytest.raises(ValueError, match=words):
        imported(make(tmp_path, from_exam, given))
    assert not (tmp_path / "i/listmode.json").exists()


def test_the_tables_tracer_has_to_agree(tmp_path):
    path = make(tmp_path, None, {**GIVEN, "tracer": "FDG"})

    def with_table(tracer):
        return import_study(path, tmp_path / "i", "s", GRID, False, tracer=tracer)

    assert with_table("FDG")["tracer"] == "FDG"
    with pytest.raises(ValueError, match=r"tracer: expected one, got FET by the table .*FDG by"):
        with_table("FET")


def test_dose_and_times_come_from_the_exam(tmp_path):
    meta = imported(make(tmp_path, exam(), None))
    assert [meta[k] for k in GIVEN] == [180, 80, 3600, 6586.2]
    assert meta["bmi"] == 20


def test_the_json_goes_before_the_exam(tmp_path):
    meta = imported(make(tmp_path, exam(), {"injected_mbq": 99.5}))
    assert [meta[k] for k in GIVEN] == [99.5, 80, 3600, 6586.2]


@pytest.mark.parametrize(
    ("given", "key", "place"),
    [
        (exam(dose=0), "injected_mbq", "radionuclide_total_dose"),
        (exam(weight=0), "weight_kg", "patients_weight"),
        (exam(code=""), "half_life_s", "radionuclide_code_sequence"),
        (exam(start=None), "scan_start_s", "start_of_acquisition"),
        (None, "injected_mbq", "radionuclide_total_dose"),
    ],
)
def test_what_neither_says_is_refused_naming_both(tmp_path, given, key, place):
    with pytest.raises(
        ValueError, match=rf"{key} is missing: .*x\.json lacks it.*x\.petsird .{place}"
    ):
        imported(make(tmp_path, given, None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_kg": 0}, r"x\.json: weight_kg: expected a finite number > 0, got 0"),
        ({"weight_kg": "70"}, "weight_kg: expected a finite number > 0, got '70'"),
        ({"weight": 70}, "unknown key 'weight'.*weight_kg"),
        ({"scan_start_s": -5}, "scan_start_s: expected a finite number > -1e-09, got -5"),
        ({"background": {"randoms_per_s": 1}}, "'background.scatter_bq' is missing"),
        (
            {"background": {**BACKGROUND, "scatter_sigma_mm": [1, 2]}},
            r"background\.scatter_sigma_mm: expected a list of 3 values, got \[1, 2\]",
        ),
        (
            {"background": {**BACKGROUND, "scatter_sigma_mm": [1, 2, 0]}},
            r"scatter_sigma_mm\[2\]: expected a finite number > 0, got 0",
        ),
        (
            {"background": {**BACKGROUND, "randoms_per_s": -1}},
            r"background\.randoms_per_s: expected a finite number >= 0, got -1",
        ),
    ],
)
def test_wrong_values_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        imported(make(tmp_path, None, {**GIVEN, **change}))


def test_json_that_is_no_object_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.json: expected an object, got "):
        imported(make(tmp_path, None, []))


def test_background_is_given_in_gantry_mm(tmp_path):
    meta = imported(make(tmp_path, None, {**GIVEN, "background": BACKGROUND}))
    assert meta["background"] == {**BACKGROUND, "scatter_centre_mm": [1, 2, 3 - SHIFT_MM]}


def test_attenuation_is_resampled_from_any_orientation(tmp_path):
    path = make(tmp_path)
    # rising along gantry x, y and z, stored along (z, -x, y) with other voxels and an offset
    affine = np.array([[0, -7.0, 0, 90], [0, 0, 6.0, -100], [5.0, 0, 0, -40], [0, 0, 0, 1]])
    index = np.stack([*np.indices((24, 30, 40)), np.ones((24, 30, 40))])
    x, y, z, _ = np.einsum("ij,jabc->iabc", affine, index)
    nifti.write_plain(tmp_path / "x.mu.nii.gz", 0.1 + 0.0003 * x + 0.0002 * y + 0.0001 * z, affine)
    nifti.write_labels(tmp_path / "x.organs.nii.gz", np.where(x > 10, 3, 1), affine)
    imported(path, attenuation=True)
    mu, grid_affine = nifti.read_plain(tmp_path / "i/mu.nii.gz")
    gx, gy, gz = (
        (np.arange(n) - (n - 1) / 2) * v for n, v in zip(GRID.shape, GRID.voxel_mm, strict=True)
    )
    plane = gx[:, None, None] * 0.0003 + gy[None, :, None] * 0.0002 + (gz + SHIFT_MM) * 0.0001
    np.testing.assert_allclose(mu, 0.1 + plane, atol=1e-6)
    np.testing.assert_allclose(
        grid_affine, nifti.grid_affine(tuple(GRID.shape), tuple(GRID.voxel_mm))
    )
    labels = nifti.read_labels(tmp_path / "i/organs.nii.gz")[0]
    np.testing.assert_array_equal(labels[2:], 3 * np.ones((4, 6, 4)) - 2 * (gx[2:, None, None] < 5))


def test_outside_the_attenuation_map_there_is_none(tmp_path):
    path = make(tmp_path)
    nifti.write_plain(
        tmp_path / "x.mu.nii.gz", np.full((2, 2, 4), 0.1), np.diag([10.0, 10.0, 10.0, 1.0])
    )
    imported(path, attenuation=True)
    mu = nifti.read_plain(tmp_path / "i/mu.nii.gz")[0]
    assert mu[3, 3, 2] == pytest.approx(0.1)
    assert not mu[:2].any()


def test_missing_attenuation_is_refused_unless_asked_for(tmp_path):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=r"x\.mu\.nii\.gz: no attenuation map .1/cm"):
        imported(path, attenuation=True)
    meta = imported(path)
    assert (meta["attenuation"], meta["organs"]) == (False, False)
    assert not nifti.read_labels(tmp_path / "i/organs.nii.gz")[0].any()
    assert not nifti.read_plain(tmp_path / "i/mu.nii.gz")[0].any()


@pytest.mark.parametrize("value", [1000.0, -0.1, np.nan])
def test_attenuation_in_other_units_is_refused(tmp_path, value):
    path = make(tmp_path)
    nifti.write_plain(tmp_path / "x.mu.nii.gz", np.full((2, 2, 2), value), np.eye(4))
    with pytest.raises(ValueError, match=r"x\.mu\.nii\.gz: expected 0 to 1.0 1/cm, got"):
        imported(path, attenuation=True)


def test_background_of_each_event_is_taken_along(tmp_path):
    path = make(tmp_path)
    np.save(tmp_path / "x.background.npy", np.array([0.1, 0.2, 0.3]))
    imported(path)
    taken = np.load(tmp_path / "i/background.npy")
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken, [0.1, 0.2, 0.3], rtol=1e-6)
    (tmp_path / "x.background.npy").unlink()
    imported(path)
    assert not (tmp_path / "i/background.npy").exists(), "that of an earlier import"


@pytest.mark.parametrize("values", [[0.1, 0.2], [0.1, 0.2, -1.0], [0.1, 0.2, np.nan], [1, 2, 3]])
def test_background_that_fits_no_event_is_refused(tmp_path, values):
    path = make(tmp_path)
    np.save(tmp_path / "x.background.npy", np.array(values))
    with pytest.raises(
        ValueError, match=r"x\.background\.npy: expected 3 numbers of at least 0, one an event"
    ):
        imported(path)


def test_background_with_events_left_out_is_refused(tmp_path):
    head = header()
    head.scanner.detection_efficiencies = petsird.DetectionEfficiencies(
        calibration_factor=1.0, detection_bin_efficiencies=[[0.0] + [1.0] * 23]
    )
    path = write(tmp_path / "x.petsird", head, [block(0, 1000, *EVENTS)])
    np.save(tmp_path / "x.background.npy", np.ones(3))
    with pytest.raises(
        ValueError, match="1 events of .* lie on pairs without efficiency; remove them from both"
    ):
        imported(path)


def test_progress_adds_up_to_the_whole_file(tmp_path):
    path, shares = make(tmp_path), []
    import_study(path, tmp_path / "i", "s", GRID, False, on_progress=shares.append)
    assert 0 < sum(shares) <= 1
    assert json.dumps(imported(path))
