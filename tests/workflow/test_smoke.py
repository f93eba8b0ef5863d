"""A whole small run: not only that files are there, but that their numbers make sense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tgdpet.figures import FIGURES as ALL_FIGURES
from tgdpet.figures import TABLES
from tgdpet.io import provenance
from tgdpet.io.nifti import read_image

FIGURES = [name for name in ALL_FIGURES if name != "gain_paths"]  # adapt.log_old is off

pytestmark = pytest.mark.xdist_group(
    "smoke"
)  # one process, or each would make a smoke run of its own


def test_one_process_makes_the_smoke_run(request):
    """The versions of pytest and pytest-xdist understand each other."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process (no --dist loadgroup)")
    assert request.node.nodeid.endswith("@smoke")


@pytest.fixture(scope="module")
def metrics(smoke: Path) -> pd.DataFrame:
    return pd.read_csv(smoke / "metrics/metrics.csv")


def mean(table: pd.DataFrame, **where: str) -> float:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table), where
    return float(table["value"].mean())


def test_everything_a_user_gets_is_there(smoke):
    for name in FIGURES:
        for kind in ("png", "pdf", "csv"):
            assert (smoke / f"figures/{name}.{kind}").stat().st_size > 0
    for name in (
        "metrics/findings.csv",
        "metrics/estimates.csv",
        *(f"tables/{t}.html" for t in TABLES),
    ):
        assert (smoke / name).stat().st_size > 0
    page = (smoke / "report.html").read_text()
    assert page.count("data:image/png") >= len(FIGURES)
    assert "not for diagnosis" in page.lower()


def test_snakemake_asks_what_to_start_only_when_a_job_ends(smoke_run):
    said = smoke_run[1]
    jobs, rounds = (
        said.count("\nFinished jobid: "),
        said.count("\nResources before job selection: "),
    )
    assert jobs > 80
    assert rounds <= 1.1 * jobs


@pytest.mark.parametrize("network", ["v1-net", "v2-net", "FT-net", "TGD-net"])
def test_denoising_lowers_noise_and_error(metrics, network):
    for measure in ("liver_cov", "rmse"):
        own = "v1" if network == "v1-net" else "v2"
        before = mean(metrics, study="lesion", network="input", protocol=own, measure=measure)
        after = mean(metrics, study="lesion", network=network, protocol=own, measure=measure)
        assert after < before, (network, measure)


def test_lesion_bias_is_measured_against_the_long_scan(metrics):
    bias = metrics[metrics["measure"] == "lesion_bias"]
    assert set(bias["network"]) >= {"input", "v1-net", "v2-net", "FT-net", "TGD-net"}
    assert bias["value"].abs().max() < 80


@pytest.mark.parametrize(
    "name", ["TGD-net", "TGD-N2N/bladder", "TGD2-N2N/bladder", "TGD-N2N/catheter"]
)
def test_useful_kernels_did_not_move(smoke, name):
    card = json.loads((smoke / f"adapted/{name}.json").read_text())
    assert card["useful_unchanged"] is True
    assert 0 < card["kernels_retrained"] < card["kernels_total"]


def test_a_larger_phi_retrains_more_and_the_choice_is_named(smoke):
    table = pd.read_csv(smoke / "kse/sweep.csv")
    assert list(table.network) == ["v1-net", "TGD-net@0.3", "TGD-net@0.6", "TGD-net@all"]
    for name, below in zip(table.network[1:], table.kernels_below[1:], strict=True):
        assert (
            json.loads((smoke / f"adapted/{name}.json").read_text())["kernels_retrained"] == below
        )
    assert (
        (table.kernels_below.diff()[1:] > 0).all()
        and (table.old_loss > 0).all()
        and (table.new_loss > 0).all()
    )
    choice = pd.read_csv(smoke / "metrics/phi.csv")
    assert (choice.recommended == "yes").sum() == 1 and set(choice.held_out) == {
        "no"
    }  # one study a task: none to spare
    page = (smoke / "report.html").read_text()
    assert "Recommended: " in page and "no study is held out" in page
    assert (
        "TGD-net@"
        not in (smoke / "metrics/metrics.csv").read_text()
        + (smoke / "metrics/findings.csv").read_text()
    )


def test_realisations_and_halves_are_partitions(smoke):
    for study in ("lesion", "bladder", "catheter"):
        total = json.loads((smoke / f"listmode/{study}/listmode.json").read_text())["events"]
        counts = {
            s["name"]: s["events"]
            for s in json.loads((smoke / f"listmode/{study}/samples.json").read_text())["samples"]
        }
        assert counts["600s"] == total
        if study == "lesion":
            assert sum(n for name, n in counts.items() if name.startswith("real")) == total
        else:
            assert counts["half1"] + counts["half2"] == counts["120s"]


def test_images_are_quantitative(smoke):
    truth = read_image(smoke / "listmode/lesion/truth.nii.gz")
    folder = smoke / "recon/sub-lesion/pet"
    image = read_image(folder / "sub-lesion_trc-FDG_rec-v2_desc-600s_pet.nii.gz")
    low, high = image.sidecar["ValidSlices"]
    inner = np.s_[8:-8, 8:-8, low + 1 : high]
    assert image.data[inner].mean() == pytest.approx(truth.data[inner].mean(), rel=0.05)


def test_the_chain_behind_a_figure_reaches_the_simulated_scans(smoke):
    lines = list(provenance.tree(smoke / "figures/fig6.png"))
    network = "adapted/TGD-N2N/bladder.safetensors"
    for part in (
        "denoised/TGD-N2N/",
        network,
        "dataset/n2n-bladder/index.tsv",
        "recon/sub-bladder/pet/",
    ):
        assert any(part in line and "on " in line for line in lines), part
    assert any("listmode/bladder/" in line for line in lines)
    bare = {line.split("  [")[0].split("─ ")[-1] for line in lines if "no sidecar" in line}
    assert bare <= {f"{smoke}/config.yaml", "config/studies_smoke.tsv"}, bare
    assert not any("CHANGED SINCE" in line for line in lines)


def test_list_mode_is_cleared_away_and_a_second_run_does_nothing(smoke, snakemake):
    assert not list(smoke.rglob("events.npy"))
    assert not list(smoke.rglob(".tmp-*"))
    assert not list((smoke / "checkpoints").rglob("*.safetensors"))
    done = snakemake("--configfile", "config/smoke.yaml", "--config", f"results={smoke}")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout, done.stdout[-2000:]


def test_figures_alone_are_drawn_from_what_is_there(smoke, snakemake):
    """Even where the whole workflow would train again, as another seed was set."""
    (smoke / "figures/fig5.png").unlink()
    words = ("--configfile", "config/smoke.yaml", "--config", f"results={smoke}", "seed=7")
    assert "rule train:" in snakemake("-n", *words).stdout
    done = snakemake("figures", *words)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (smoke / "figures/fig5.png").exists()
    assert done.stdout.count("rule figure:") == len(FIGURES)
    assert "rule train:" not in done.stdout
