"""Planes, projections, differences, profiles and spectra in figures, against what is known of
made-up images.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import fabricate
from tgdpet.config.loading import read_config
from tgdpet.config.sections import NetworkEntry
from tgdpet.config.studies import read_studies
from tgdpet.constants import ORGANS
from tgdpet.evaluation.measures import middle
from tgdpet.evaluation.results import INPUT, KEPT, Results
from tgdpet.figures import common, difference, fig4, fig6, mip, noise_gain, nps, profiles
from tgdpet.figures.montage import Panel, Row, differences, montage
from tgdpet.figures.style import bar, projection, show, styled

EVERYWHERE = (slice(None), slice(None), slice(None))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))
    return Results(
        root, read_config(root / "config.yaml"), read_studies(root.parent / "studies.tsv")
    )


def test_projections_show_the_head_up_and_right_or_front_on_the_left() -> None:
    volume = np.zeros((5, 4, 3))
    volume[4, 3, 2] = 7  # RAS: right, in front, near the head
    coronal, sagittal = projection(volume, 1, EVERYWHERE), projection(volume, 0, EVERYWHERE)
    assert coronal.shape == (3, 5) and sagittal.shape == (3, 4)
    assert coronal[2, 0] == sagittal[2, 0] == 7 and coronal.sum() == sagittal.sum() == 7


def test_the_scale_shows_the_lesion_unsaturated() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:2] = ORGANS["liver"]
    volume = np.where(labels == ORGANS["liver"], 2.0, 0.5)
    assert common.display_limit(volume, labels) == 4.5  # 2.2 times the liver, up to 0.5

    labels[3, 3, 3] = ORGANS["lesion"]
    volume[3, 3, 3] = 6.1
    assert common.display_limit(volume, labels) == 6.5


@pytest.mark.parametrize(("voxels", "interpolation"), [(False, "bicubic"), (True, "nearest")])
def test_voxels_are_interpolated_unless_they_are_to_be_seen(voxels, interpolation) -> None:
    with styled(voxels):
        image = show(plt.figure().subplots(), np.eye(3), (1.0, 1.0), 1.0)
        assert image.get_interpolation() == interpolation
        plt.close()


def test_rows_of_one_scale_share_a_bar_and_differences_have_their_own() -> None:
    plane = np.arange(12.0).reshape(3, 4)
    row = Row("a", [Panel("x\nmore", plane), Panel("y", plane + 1)], (2.0, 2.0), 5.0)
    below = differences(row, plane, "error", leave_out=(0,))
    with styled():
        figure, table = montage([row, replace(row, name="b"), below])
        labels = [ax.get_ylabel() for ax in figure.axes[6:]]
        plt.close(figure)
    assert below.panels[0].plane is None and below.limit == 1.0
    assert labels == ["SUV", "ΔSUV"]
    assert (
        list(table.panel.unique()) == ["x", "y"]
        and (table[table.row_name == "error"].suv == 1).all()
    )
    assert (
        table[(table.row_name == "a") & (table.panel == "x")].suv.tolist() == plane.ravel().tolist()
    )


def test_fig6_shows_the_papers_networks_and_points_at_the_artefact(results: Results) -> None:
    entries = {
        **results.config.networks,
        "N2N-FT": NetworkEntry(method="finetune", base="v2-net", data="n2n"),
    }
    more = Results(results.root, replace(results.config, networks=entries), results.studies)
    row, error = fig6.online_rows(more, "test_bladder", "bladder", "bladder_error")
    names = [p.title.split("\n")[0] for p in row.panels]
    assert names == ["input, 120 s", "v2-net", "TGD-net", "TGD-N2N", "TGD2-N2N", "600 s"]
    assert error.panels[-1].plane is None and error.limit > 0
    (tip, _, direction), window = (
        row.panels[0].arrows[0],
        fig6.view_of_organ(more, "test_bladder", "bladder").window,
    )
    bladder = fabricate.labels((40, 40, 16), 23, False) == fabricate.ORGANS["bladder"]
    centre = common.on_plane(middle(bladder), window, results.voxel_mm("bladder"))
    # The made-up artefact lies towards high x, which is on the left of the picture.
    assert tip[0] < centre[0] and direction[0] < 0 < direction[1]


def test_differences_are_what_networks_take_out_and_get_wrong(results: Results) -> None:
    with styled():
        figure, table = difference.draw(results)
        plt.close(figure)
    assert list(table.panel.unique()) == ["v2-net", "v1-net", "FT-net", "TGD-net"]
    assert list(table.row_name.unique()) == [
        f"{bmi} BMI {words}"
        for bmi, mean in (("low", "mean "), ("high", ""))
        for words in ("\N{MINUS SIGN} input", f"{mean}\N{MINUS SIGN} 600 s")
    ]
    view = difference.view_of_role(results, "test_lesion")
    taken = table[
        (table.row_name == "low BMI \N{MINUS SIGN} input") & (table.panel == "v1-net")
    ].suv
    ours, noisy = (
        results.suv("lesion", "v2", "real01", n)[view.window[0], view.y, view.window[2]]
        for n in ("v1-net", INPUT)
    )
    assert sorted(taken) == pytest.approx(sorted((ours - noisy).ravel()), abs=1e-4)
    wrong = table[
        (table.row_name == "low BMI mean \N{MINUS SIGN} 600 s") & (table.panel == "v2-net")
    ].suv
    assert wrong.std() < taken.std()


def test_spectra_show_the_coarse_texture_and_how_much_each_network_smooths(
    results: Results,
) -> None:
    with styled():
        figure, table = nps.draw(results)
        plt.close(figure)
    at = table.drop_duplicates(["protocol", "network"]).set_index(["protocol", "network"])
    assert at.index.tolist() == [
        ("v1", INPUT),
        *(("v2", n) for n in (INPUT, "v1-net", "v2-net", "FT-net", "TGD-net")),
    ]
    frequency, sd = at.mean_frequency_per_mm, at.noise_sd_bqml
    assert frequency["v1", INPUT] < frequency["v2", INPUT]
    assert frequency["v2", "v1-net"] < frequency["v2", "v2-net"] < frequency["v2", INPUT]
    assert sd["v2", "v1-net"] < sd["v2", "v2-net"] < sd["v2", INPUT]


def test_the_gain_of_noise_is_that_of_each_network_by_frequency(results: Results) -> None:
    with styled():
        figure, table = noise_gain.draw(results)
        plt.close(figure)
    ratio = table[table.quantity == noise_gain.POWER_RATIO]
    slow = ratio[ratio.axial == "slow"].value.to_numpy()
    assert slow[-1] < slow[0]  # v1's noise is the coarser one

    gains = table[table.quantity == noise_gain.GAIN]
    by_network = gains.groupby("network").value.mean()
    assert by_network["v1-net"] < by_network["v2-net"] < 1


def test_studies_without_realisations_are_named(results: Results) -> None:
    with pytest.raises(FileNotFoundError, match=r"no realisations.*v2 of study 'highbmi'"):
        results.ensemble("highbmi", "v2", EVERYWHERE)


def test_only_the_last_few_images_are_held(results: Results) -> None:
    for i in range(1, 5):
        for protocol in ("v1", "v2"):
            results.image("lesion", protocol, f"real{i:02d}")
    assert len(results._images) == KEPT


def test_runs_without_online_learning_or_with_other_networks_are_drawn_too(
    results: Results,
) -> None:
    entries = {"plain": results.config.networks["v1-net"]}
    studies = [s for s in results.studies if s.role not in ("test_bladder", "test_catheter")]
    few = Results(results.root, replace(results.config, networks=entries), studies)
    for study in ("lesion", "highbmi"):
        link = results.root / "denoised" / "plain" / f"sub-{study}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(results.root / "denoised" / "v1-net" / f"sub-{study}")
    with styled():
        for module in (mip, difference, nps, profiles):
            figure, table = module.draw(few)
            plt.close(figure)
            assert len(table) and pd.notna(table.iloc[0, 0]), module
    assert "bladder" not in profiles.draw(few)[1].study.unique()


def test_projections_leave_out_the_ends_that_few_lines_cross(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Results, "labels", lambda *_: np.ones((40, 32, 56), np.int16))
    assert mip._window(results, ["lesion"]) == (slice(0, 40), slice(0, 40), slice(7, 49))


def test_fig4_numbers_its_panels_as_the_paper_does(results: Results) -> None:
    with styled():
        figure, _ = fig4.draw(results)
        letters = [t.get_text() for ax in figure.axes for t in ax.texts if len(t.get_text()) == 1]
        plt.close(figure)
    assert [x for x in letters if x.islower()] == list("abcdef")


@pytest.mark.parametrize(
    ("values", "ends"),
    [([-0.09, 5.09], "neither"), ([0, 6], "max"), ([-1, 5], "min"), ([-1, 6], "both")],
)
def test_a_scale_bar_has_a_tip_where_images_go_beyond_it(values: list[float], ends: str) -> None:
    figure, axes = plt.subplots(1, 2)
    image = axes[0].imshow([[1.0, 2.0]], vmin=0, vmax=5)
    axes[1].imshow([values], vmin=0, vmax=5)
    bar(figure, image, list(axes), "SUV")

    assert image.colorbar.extend == ends
    plt.close(figure)
