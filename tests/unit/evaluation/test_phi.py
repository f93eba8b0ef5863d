"""The sweep over phi: which networks it takes, what is measured, and that the recommended phi obeys
the rule.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import fabricate
from tgdpet.config import sweep
from tgdpet.config.checks import check_entry
from tgdpet.config.loading import load_config
from tgdpet.config.schema import NAME
from tgdpet.config.sections import Sweep
from tgdpet.config.sweep import MEASURED, PLAIN
from tgdpet.evaluation import phi
from tgdpet.figures import FIGURES, drawn
from tgdpet.io.files import write_csv
from tgdpet.networks import drop_kernels
from tgdpet.runtime.seeds import derive
from tgdpet.tgd import TGD, score_kernels
from tgdpet.training import judge, validation
from tgdpet.training.validation import task_loss
from tgdpet.workflow import costs, job_sizes
from training_cases import CPU, SETTINGS, network, parts, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


def swept(raw, *values, name="TGD-net"):
    return replace(load_config(raw), sweep=Sweep(name, list(values)))


def table(forgetting, gain, values=None):
    """A table MEASURED whose networks forget and gain so many %; the base comes first, plain
    fine-tuning last.
    """
    values = values or [round(0.1 * (i + 1), 1) for i in range(len(gain) - 1)]
    old, new = (0.02 * (1 + np.array([0, *x]) / 100) for x in (forgetting, [-g for g in gain]))
    rows = pd.DataFrame({"phi": [0.0, *values, PLAIN], "old_loss": old, "new_loss": new})
    fixed = {
        "network": "n",
        "kernels_below": 5,
        "kernels_total": 50,
        "parameters_below": 7,
        "parameters_total": 100,
    }
    fixed |= {"old_held_out": True, "new_held_out": True, "relative_change": 0.1}
    return rows.assign(**fixed)[MEASURED]


def best(choice):
    return choice[choice.recommended == "yes"].phi.tolist()


def test_without_phi_there_is_no_sweep(raw_config):
    config = load_config(raw_config())
    assert sweep.networks(config) == {} and sweep.entries(config) == config.networks
    assert not {"phi", "gain_paths"} & set(drawn(config))
    assert set(drawn(swept(raw_config(), 0.3))) == set(FIGURES) - {"gain_paths"}

    watching = load_config({**raw_config(), "adapt": {"log_old": True}})
    assert "gain_paths" in drawn(watching)


def test_a_sweep_takes_phi_in_place_of_a_fraction_of_the_living(raw_config):
    raw = raw_config()
    raw["networks"]["TGD-net"] |= {"fraction": 0.35, "fraction_of": "alive"}
    made = sweep.entries(swept(raw, 0.3))
    entry = made[sweep.networks(swept(raw, 0.3))[0.3]]
    assert (entry.phi, entry.fraction) == (0.3, None)
    for name, each in made.items():
        check_entry(f"{name}: ", each)


def test_each_phi_has_a_network_made_like_the_named_one(raw_config):
    config = swept(raw_config(), 0.6, 0.25)
    assert sweep.networks(config) == {
        0.25: "TGD-net@0.25",
        0.6: "TGD-net@0.6",
        PLAIN: "TGD-net@all",
    }
    made, entry = sweep.entries(config), config.networks["TGD-net"]
    assert made["TGD-net@0.6"] == replace(entry, phi=0.6, fraction=None, fraction_of="all")
    plain = made["TGD-net@all"]
    assert (plain.method, plain.blocks, plain.base, plain.data) == (
        "finetune",
        8,
        entry.base,
        entry.data,
    )
    assert (plain.penalty, plain.replay, plain.batchnorm) == ("none", 0, "eval")
    assert not any(
        NAME.fullmatch(name) for name in made if name not in config.networks
    )  # none can be configured so
    of_share = replace(entry, fraction=0.2, batchnorm="per_channel")
    config = replace(config, networks={**config.networks, "TGD-net": of_share})
    assert sweep.entries(config)["TGD-net@0.6"].fraction is None
    assert sweep.entries(config)["TGD-net@all"].batchnorm == "eval"


def test_a_network_that_is_there_is_not_trained_again(raw_config):
    raw = raw_config("baselines")
    raw["networks"]["TGD-net"] |= {"phi": 0.3, "fraction": None, "fraction_of": "all"}
    config = swept(raw, 0.3, 0.4)
    assert sweep.networks(config) == {0.3: "TGD-net", 0.4: "TGD-net@0.4", PLAIN: "FT-all"}
    assert list(sweep.entries(config)) == [*config.networks, "TGD-net@0.4"]


def test_the_bill_counts_the_sweep(root, raw_config):
    from tgdpet.config.studies import read_studies

    plain, more = swept(raw_config()), swept(raw_config(), 0.2, 0.3, 0.4)
    studies = read_studies(root / plain.studies)
    rows = [{row.stage: row for row in costs.estimate(c, studies)} for c in (plain, more)]
    added = {
        stage: rows[1][stage].jobs - row.jobs
        for stage, row in rows[0].items()
        if rows[1][stage].jobs != row.jobs
    }
    assert added == {"score": 1, "adapt": 4, "evaluate": 1, "figures": 1}
    one = job_sizes.training_s(plain, studies, "TGD-net", 1, 0)
    assert rows[1]["adapt"].core_h - rows[0]["adapt"].core_h == pytest.approx(4 * one / 3600)


@pytest.mark.parametrize(
    ("forgetting", "gain", "wanted"),
    [
        (
            [0.1, 0.9, 0.99, 1.01, 2.0],
            [1, 2, 4, 8, 9],
            0.3,
        ),  # half is allowed; the most gain of those
        ([0.1, 0.2, 0.3, 0.4, 2.0], [1, 5, 4, 3, 9], 0.2),
        (
            [0.3, 0.2, 0.4, 0.5, 0.1],
            [1, 2, 3, 4, 5],
            PLAIN,
        ),  # none stays within: the one that forgets least
        ([1.3, 1.2, 1.4, 1.5, 2.0], [1, 2, 3, 4, 5], 0.2),
        ([0.1, -0.2, 0.1, 0.2, -1.0], [1, 2, 3, 4, 5], PLAIN),  # plain fine-tuning forgets nothing
        ([-0.1, -0.1, 0.1, 0.2, 0.0], [1, 3, 4, 5, 2], 0.2),
        (
            [0.1, 0.1, 0.1, 0.1, 2.0],
            [-1, -2, -3, -3, 5],
            0.1,
        ),  # the base itself is no phi to recommend
    ],
)
def test_the_recommended_phi_obeys_the_rule(forgetting, gain, wanted):
    choice = phi.choose([table(forgetting, gain)], 1)
    assert best(choice) == [wanted]
    np.testing.assert_allclose(choice.forgetting, [0, *forgetting], atol=1e-9)
    np.testing.assert_allclose(choice.gain, [0, *gain], atol=1e-9)
    assert choice.gain_low.isna().all() and set(choice.seeds) == {1}
    np.testing.assert_allclose(choice.allowed, max(0.0, forgetting[-1]) / 2, atol=1e-9)
    assert choice.best_of_seeds.tolist() == [int(value == wanted) for value in choice.phi]


def test_several_seeds_are_judged_by_their_means_with_intervals():
    gains = [[1, 5, 6, 9], [1, 5, 2, 9], [1, 6, 2, 9]]
    tables = [table([0.1, 0.2, 0.3, 2.0], gain) for gain in gains]
    choice = phi.choose(tables, 1).set_index("phi")
    assert choice.gain[0.2] == pytest.approx(np.mean([5, 5, 6])) and best(choice.reset_index()) == [
        0.2
    ]
    assert choice.best_of_seeds.tolist() == [0, 0, 2, 1, 0]
    assert choice.gain_low[0.3] < choice.gain[0.3] < choice.gain_high[0.3]
    assert choice.kernels[0.2] == pytest.approx(10) and choice.change[0.2] == pytest.approx(10)
    mixed = [tables[0], tables[1].assign(new_held_out=False)]
    assert set(phi.choose(mixed, 1).held_out) == {"no"} and set(choice.held_out) == {"yes"}
    with pytest.raises(
        ValueError, match=r"sweep: phi \[0.0, 0.5, 0.6, 0.7, inf\] differs from \[0.0, 0.1, 0.2"
    ):
        phi.choose([tables[0], table([1, 2, 3, 4], [1, 2, 3, 4], [0.5, 0.6, 0.7])], 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="new_loss"), "column 'new_loss' is missing"),
        (lambda t: t.assign(old_loss=np.nan), "column 'old_loss', row 2: no value"),
        (lambda t: t[t.phi != 0], "column 'phi': expected 0, one or more above it, and inf"),
        (lambda t: t[t.phi != PLAIN], "column 'phi': expected 0"),
        (lambda t: t[t.phi.isin([0, PLAIN])], "column 'phi': expected 0"),
        (lambda t: pd.concat([t, t]), "column 'phi': .* each once"),
    ],
)
def test_a_damaged_table_is_refused_with_its_name(tmp_path, change, words):
    whole = table([0.1, 0.2, 2.0], [1, 2, 3])
    write_csv(tmp_path / "sweep.csv", whole.iloc[::-1])
    pd.testing.assert_frame_equal(phi.read_sweep(tmp_path / "sweep.csv"), whole)
    write_csv(tmp_path / "sweep.csv", change(whole))
    with pytest.raises(ValueError, match=rf"sweep\.csv: {words}"):
        phi.read_sweep(tmp_path / "sweep.csv")


def test_measured_are_held_out_losses_and_what_tgd_would_retrain(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "JUDGED_PATCHES", 32)
    indices = {
        "old": write_index(tmp_path / "old"),
        "new": write_index(tmp_path / "new", seed=10, gamma_shape=3),
    }
    old, new = (judge.judge(index, SETTINGS, 1000.0, 7, CPU) for index in indices.values())
    models = [network(seed) for seed in range(3)]
    scores = {n: s.numpy() for n, s in score_kernels(models[0], torch.zeros(1, 3, 16, 16)).items()}
    image = np.random.default_rng(1).gamma(2, 300, (16, 16, 6)).astype(np.float32)
    drops, _ = drop_kernels.experiment(models[0], scores, image, image, [0.4], 1000.0, CPU)
    found = dict(
        zip((0.0, 0.4, PLAIN), zip(("base", "TGD", "all"), models, strict=True), strict=True)
    )
    rows = judge.measured(found, drops, old, new, SETTINGS).set_index("phi")
    for value, (_, model) in found.items():
        for what, index in indices.items():
            held_out = parts(index, seed=derive(7, "held out"))[1]
            assert rows[f"{what}_loss"][value] == task_loss(model, held_out, SETTINGS)
    masks = {n: torch.from_numpy(s < 0.4) for n, s in scores.items()}
    with TGD(models[0], masks, example_input=torch.zeros(1, 3, 16, 16)) as tgd:
        counts = tgd.counts()
    assert rows.kernels_below[0.4] == counts["kernels_retrained"] > 0 == rows.kernels_below[0.0]
    assert rows.parameters_below[0.4] == counts["parameters_retrained"]
    assert rows.kernels_below[PLAIN] == rows.kernels_total[PLAIN] == counts["kernels_total"]
    assert rows.relative_change[0.4] == drops[1]["relative_change"] > 0 and np.isnan(
        rows.relative_change[PLAIN]
    )
    assert rows.old_held_out.all() and rows.new_held_out.all()


def test_without_studies_held_out_the_training_patches_judge(tmp_path):
    index = write_index(tmp_path / "old")
    assert judge.judge(index, SETTINGS, 1000.0, 7, CPU)[0].table.study.unique() == ["b"]
    rows = pd.read_csv(index, sep="\t")
    rows[rows.split == "train"].to_csv(index, sep="\t", index=False)
    data, held_out = judge.judge(index, SETTINGS, 1000.0, 7, CPU)
    assert data.table.study.unique() == ["a"] and held_out is False


def test_the_recommendation_is_in_words():
    seeds = [fabricate.sweep(luck) for luck in (-0.2, 0.0, 0.2)]
    choice = phi.choose(seeds, 1)
    wanted = choice[choice.recommended == "yes"].iloc[0]
    text = phi.recommendation(choice)
    assert text.startswith(
        f"Recommended: φ = {wanted.phi:g}. It retrains {wanted.kernels:.0f} % of the kernels, gains"
    )
    assert (
        f"forgets {wanted.forgetting:.1f} %" in text
        and f"{wanted.best_of_seeds} of 3 seeds" in text
    )
    assert "training patches" not in text and "forgets least" not in text
    least = phi.choose([table([1.3, 1.2, 2.0], [1, 2, 3]).assign(new_held_out=False)], 1)
    text = phi.recommendation(least)
    assert (
        "this one forgets least" in text and "no study is held out" in text and "seeds" not in text
    )
    nothing = phi.choose([table([0.1, 0.2, -1.0], [1, 2, 3])], 1)
    assert "Recommended: plain fine-tuning." in phi.recommendation(nothing)


def test_a_choice_without_one_recommendation_is_refused(tmp_path):
    choice = phi.choose([fabricate.sweep()], 1)
    for change, words in (
        (
            choice.assign(recommended="no"),
            "column 'recommended': expected yes once, got it 0 times",
        ),
        (choice.drop(columns="gain_low"), "column 'gain_low' is missing"),
        (choice.assign(gain=np.nan), "column 'gain', row 2: no value"),
    ):
        write_csv(tmp_path / "phi.csv", change)
        with pytest.raises(ValueError, match=rf"phi\.csv: {words}"):
            phi.read_choice(tmp_path / "phi.csv")


def test_the_scripts_refuse_what_does_not_belong_together(root, tmp_path):
    words = [
        "--base",
        "b",
        "--scores",
        "s",
        "--phi",
        "0.3",
        "inf",
        "--networks",
        "n",
        "--old",
        "o",
        "--new",
        "w",
    ]
    words += ["--image", "i", "--reference", "r", "--out", tmp_path / "out.csv"]
    command = [sys.executable, root / "scripts/07_sweep.py", *words]
    failed = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith(
        "error: --networks: expected 2, one for each --phi, got 1"
    )
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        write_csv(folder / "kse" / "sweep.csv", fabricate.sweep())
        (folder / "config.yaml").write_text("seed: 3\n")
    command = [
        sys.executable,
        root / "scripts/09_phi.py",
        "--results",
        *folders,
        "--out",
        tmp_path / "phi.csv",
    ]
    failed = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert (
        failed.returncode == 1 and f"{folders[1]}: seed 3 is that of {folders[0]}" in failed.stderr
    )
    (folders[1] / "config.yaml").write_text("seed: 4\n")
    subprocess.run(command, cwd=root, check=True)
    assert set(phi.read_choice(tmp_path / "phi.csv").seeds) == {2}
