"""A simulated study on disk: complete, consistent with itself, refused when damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tgdpet.config.roles import Sample
from tgdpet.config.sections import Grid, ReconProtocol, ScannerChoice, Simulation
from tgdpet.config.studies import Study
from tgdpet.constants import ORGANS
from tgdpet.io import nifti
from tgdpet.io.files import read_checked_json, read_json, write_checked_json
from tgdpet.listmode import study_folder
from tgdpet.listmode.events import write_events
from tgdpet.listmode.study_folder import Acquisition
from tgdpet.simulation import study as acquisition

GRID = Grid([30, 24, 16], [14.0, 14.0, 10.0])
PARTS = (
    GRID,
    ScannerChoice(crystals_per_ring=120, rings=10, ring_pitch_mm=16.0, efficiency=0.05),
    Simulation(scan_s=60.0),
)


def simulate(folder: Path, threads: int = 1, study_seed: int = 7) -> dict[str, object]:
    shares: list[float] = []
    study = Study("a", "test_lesion", "analytic", 23.0, study_seed)
    meta = acquisition.simulate_study(folder, study, 1, PARTS, threads, on_progress=shares.append)

    assert sum(shares) == pytest.approx(1)

    write_checked_json(folder / "listmode.json", {**meta, "provenance": {}})

    return meta


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    simulate(folder)
    return folder


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "study"))


def test_a_study_holds_what_later_stages_need(made: Path) -> None:
    names = {p.name for p in made.iterdir()}
    assert names == {
        "events.npy",
        "scanner.json",
        "listmode.json",
        "mu.nii.gz",
        "truth.nii.gz",
        "truth.json",
        "organs.nii.gz",
    }

    read = study_folder.read_study(made)
    assert isinstance(read, Acquisition) and read.grid == GRID
    assert len(read.events) == read.meta["events"] > 10_000
    assert read.scanner.crystals_per_ring == 120
    assert read.mu_per_cm.shape == tuple(GRID.shape)


def test_all_images_share_one_centred_grid(made: Path) -> None:
    expected = nifti.grid_affine((30, 24, 16), (14.0, 14.0, 10.0))
    truth = nifti.read_image(made / "truth.nii.gz")
    mu, mu_affine = nifti.read_plain(made / "mu.nii.gz")
    organs, organs_affine = nifti.read_labels(made / "organs.nii.gz")

    for affine in (truth.affine, mu_affine, organs_affine):
        np.testing.assert_allclose(affine, expected, atol=1e-4)

    assert truth.data.shape == mu.shape == organs.shape
    assert (organs == ORGANS["lesion"]).any()
    assert not mu[(organs == 0) & (truth.data == 0)].max() > 0.1
    assert mu.max() == pytest.approx(0.11, rel=0.01)  # 1/cm


def test_the_truth_is_suv_times_dose_per_weight(made: Path) -> None:
    truth = nifti.read_image(made / "truth.nii.gz")
    organs, _ = nifti.read_labels(made / "organs.nii.gz")
    suv = truth.data / nifti.suv_factor(truth.sidecar)

    assert 1.5 < np.median(suv[organs == ORGANS["liver"]]) < 3
    assert truth.sidecar["InjectedRadioactivity"] == pytest.approx(
        3.7 * truth.sidecar["BodyWeight"]
    )
    assert truth.sidecar["FrameDuration"] == [60.0]


def test_events_do_not_depend_on_threads_but_on_the_studys_seed(made: Path, tmp_path: Path) -> None:
    one = np.load(made / "events.npy")
    simulate(tmp_path / "two", threads=2)
    assert np.array_equal(one, np.load(tmp_path / "two" / "events.npy"))
    simulate(tmp_path / "other", study_seed=8)
    assert not np.array_equal(one[:100], np.load(tmp_path / "other" / "events.npy")[:100])


def test_fewer_events_than_promised_are_refused(study: Path) -> None:
    events = np.load(study / "events.npy")
    write_events(study / "events.npy", [events[:-1]])

    with pytest.raises(
        ValueError, match=rf"events\.npy: expected {len(events)} events.*got {len(events) - 1}"
    ):
        study_folder.read_study(study)


def test_events_of_another_scanner_are_refused(study: Path) -> None:
    values = read_checked_json(study / "scanner.json")
    write_checked_json(study / "scanner.json", {**values, "rings": 4})
    with pytest.raises(ValueError, match=r"events\.npy: event \d+ = .* below 480"):
        study_folder.read_study(study)


@pytest.mark.parametrize("name", ["events.npy", "scanner.json", "listmode.json", "mu.nii.gz"])
def test_a_missing_or_damaged_file_is_named(study: Path, name: str) -> None:
    content = (study / name).read_bytes()
    (study / name).write_bytes(content[: len(content) // 2])

    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        study_folder.read_study(study)

    (study / name).unlink()

    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        study_folder.read_study(study)


def test_the_additive_term_belongs_to_the_events(study: Path) -> None:
    read = study_folder.read_study(study)

    with pytest.raises(FileNotFoundError, match=r"additive\.npy"):
        study_folder.read_additive(read)

    values = np.random.default_rng(0).random(len(read.events)).astype(np.float32)
    np.save(study / "additive.npy", values)
    assert np.array_equal(study_folder.read_additive(read), values)

    content = (study / "additive.npy").read_bytes()

    for length in (0, 5, 100, len(content) - 1):
        (study / "additive.npy").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"additive\.npy"):
            study_folder.read_additive(read)

    np.save(study / "additive.npy", values[:-1])

    with pytest.raises(
        ValueError, match=rf"additive\.npy: expected {len(values)} values.*{len(values) - 1}"
    ):
        study_folder.read_additive(read)


def test_an_images_sidecar_tells_how_it_was_made(made: Path) -> None:
    meta = study_folder.read_study(made).meta
    half = Sample("half1", 0.2, 0, 2)
    protocol = ReconProtocol([14.0, 10.0, 10.0], 6, 4)
    sidecar = study_folder.recon_sidecar(meta, half, "v1", protocol, (2, 13))
    sidecar = json.loads(json.dumps(sidecar))

    assert sidecar["FrameDuration"] == [pytest.approx(6.0)], "a tenth of the scan's counts"
    assert (sidecar["Study"], sidecar["Protocol"], sidecar["Sample"]) == ("a", "v1", "half1")
    assert sidecar["ValidSlices"] == [2, 13]
    assert sidecar["ReconMethodParameterValues"] == [6, 4, 14.0, 10.0, 10.0]
    assert sidecar["TracerName"] == "FDG" and sidecar["ScanStart"] == 3600
    assert nifti.suv_factor(sidecar) > 0


@pytest.mark.parametrize(
    ("post_fwhm_mm", "kind"), [([0.0, 0.0, 0.0], "none"), ([11.5, 9.2, 0.0], "Gaussian")]
)
def test_an_images_sidecar_tells_its_filter(
    made: Path, post_fwhm_mm: list[float], kind: str
) -> None:
    meta = study_folder.read_study(made).meta
    protocol = ReconProtocol(post_fwhm_mm=post_fwhm_mm)
    sidecar = study_folder.recon_sidecar(meta, Sample("60s", 1.0), "v1", protocol, (0, 1))

    assert sidecar["ReconFilterType"] == kind
    assert sidecar["ReconFilterSize"] == post_fwhm_mm


def test_an_images_sidecar_says_what_was_corrected(made: Path) -> None:
    meta = read_json(made / "listmode.json")

    def corrected(**change: object) -> list[str]:
        changed = {**meta, **change}
        whole = Sample("60s", 1.0)
        sidecar = study_folder.recon_sidecar(changed, whole, "v2", ReconProtocol(), (0, 1))

        return [
            sidecar["AttenuationCorrection"],
            sidecar["ScatterCorrectionMethod"],
            sidecar["RandomsCorrectionMethod"],
        ]

    assert corrected() == [
        "attenuation map",
        "Gaussian source",
        "rate and singles of the background model",
    ]
    assert corrected(attenuation=False)[0] == "none"

    nothing = {**meta["background"], "scatter_bq": 0.0, "randoms_per_s": 0.0}
    assert corrected(background=nothing)[1:] == ["none", "none"]
    assert corrected(background_given=True)[1:] == ["given for each event"] * 2


@pytest.mark.parametrize("name", ["../../x", "a/b", "/tmp/x", "", "x" * 300, "a\x1b[2J", 7])
def test_a_sample_whose_name_leaves_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    path = tmp_path / "samples.json"
    row = {"name": name, "share": 0.1, "part": 0, "parts": 1}
    write_checked_json(path, {"study": "a", "seed": 1, "samples": [row]})
    with pytest.raises(ValueError, match=r"samples\.json: samples\[0\]\.name: expected a name of"):
        study_folder.read_samples(path)

    write_checked_json(path, {"study": name, "seed": 1, "samples": []})
    with pytest.raises(ValueError, match=r"samples\.json: study: expected a name of"):
        study_folder.read_samples(path)


@pytest.mark.parametrize("name", ["events.npy", "scanner.json", "listmode.json", "mu.nii.gz"])
def test_a_changed_bit_of_a_study_is_found(study: Path, name: str) -> None:
    content = (study / name).read_bytes()
    rng = np.random.default_rng(0)
    wrong = 0

    for bit in rng.choice(8 * len(content), 20, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << int(bit) % 8
        (study / name).write_bytes(changed)
        try:
            study_folder.read_study(study)
        except ValueError as error:
            assert name in str(error)
            wrong += 1

    # a blank of the text, the time in gzip's header
    assert wrong >= 15


def test_the_record_of_an_image_covers_events_and_additive_term(study: Path) -> None:
    (study / "additive.npy").touch()
    names = {path.name for path in study_folder.reconstructed_from(study)}
    assert {"events.npy", "additive.npy", "listmode.json", "scanner.json", "mu.nii.gz"} <= names


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([Sample("a", 0.5, 2, 2)], r"samples\[0\]\.part: expected less than parts = 2, got 2"),
        ([Sample("a", 0.5), Sample("a", 1.0)], r"samples\[1\]\.name: expected each once, got 'a'"),
    ],
)
def test_samples_that_no_split_makes_are_refused(
    tmp_path: Path, samples: list[Sample], message: str
) -> None:
    path = tmp_path / "samples.json"
    study_folder.write_samples(path, "s", 1, samples, {"a": 0})
    with pytest.raises(ValueError, match=rf"samples\.json: {message}"):
        study_folder.read_samples(path)
