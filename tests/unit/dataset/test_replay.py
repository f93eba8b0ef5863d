"""Replay, joint training, masks by chance and by L1 norm, online learning without TGD."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tgdpet import tgd
from tgdpet.config.sections import NetworkEntry, Training
from tgdpet.dataset.patches import PatchData
from tgdpet.dataset.replay import Mixed
from tgdpet.networks import weights
from tgdpet.runtime.distributed import World
from tgdpet.training import jobs
from tgdpet.training.adapt import KernelScores, adapt_network
from tgdpet.training.baselines import choose_kernels
from tgdpet.training.job import Job
from tgdpet.training.run import TrainingRun
from tgdpet.training.tasks import Task, held_out_seed
from tgdpet.training.validation import fixed_batches, validate
from training_cases import CPU, SETTINGS, network, parts, same, state, stop_at, write_index

pytestmark = pytest.mark.usefixtures("one_thread")

REPLAY = NetworkEntry(method="finetune", data="adapt", base="x", blocks=8, replay=0.5)
TGD = NetworkEntry(method="tgd", data="adapt", base="x", phi=0.5)


@pytest.fixture
def new(tmp_path):
    return write_index(tmp_path / "new", seed=10, gamma_shape=3)


@pytest.fixture
def old(tmp_path):
    return write_index(tmp_path / "old", samples=("30s", "60s", "90s", "120s"))


def drawn(mixed, epochs=40):
    """How often each row was drawn in some epochs."""
    rows = torch.cat([mixed.epoch_order(e, len(mixed)) for e in range(epochs)])
    return torch.bincount(rows, minlength=len(mixed))


def test_joint_training_sees_every_slice_of_both_sets(new, old):
    mixed = Mixed(parts(new)[0], parts(old)[0], 1.0, 5)
    assert len(mixed) == 8 + 4 * 8
    assert (drawn(mixed) == 40).all()


@pytest.mark.parametrize(("share", "kept"), [(0.25, 8), (0.5, 16), (0.001, 1)])
def test_replay_draws_the_share_that_is_kept(new, old, share, kept):
    mixed = Mixed(parts(new)[0], parts(old)[0], share, 5)
    assert len(mixed.kept) == len(set(mixed.kept.tolist())) == kept
    assert int(drawn(mixed)[8:].sum()) == 40 * kept
    count = 17  # epochs that are not whole permutations
    rows = torch.cat([mixed.epoch_order(e, count) for e in range(200)])
    expected = kept / (8 + kept)
    spread = (expected * (1 - expected) / len(rows)) ** 0.5
    assert abs(float((rows >= 8).float().mean()) - expected) < 4 * spread


def test_a_mixed_batch_holds_what_its_rows_say(new, old):
    data, past = parts(new)[0], parts(old, seed=2)[0]
    mixed = Mixed(data, past, 0.5, 5)
    rows = torch.tensor([12, 0, 3, 20, 7])
    batch = mixed.batch(rows, 4)
    fresh = data.batch(torch.tensor([0, 3, 7]), 4)
    replayed = past.batch(mixed.kept[[12 - 8, 20 - 8]], 4)
    assert torch.equal(batch.noisy[[1, 2, 4]], fresh.noisy) and torch.equal(
        batch.target[[1, 2, 4]], fresh.target
    )
    assert torch.equal(batch.noisy[[0, 3]], replayed.noisy) and torch.equal(
        batch.target[[0, 3]], replayed.target
    )
    assert torch.equal(batch.rows, rows)
    text = mixed.describe(rows)
    assert text.startswith("a 60s z=0") and "; old: a " in text
    assert torch.equal(
        mixed.batch(torch.tensor([9]), 1).noisy, past.batch(mixed.kept[[1]], 1).noisy
    )
    assert mixed.describe(torch.tensor([9])).startswith("old: ")


def test_which_old_slices_are_kept_depends_on_the_seed_alone(new, old):
    def kept(seed):
        return Mixed(parts(new)[0], parts(old)[0], 0.25, seed).kept.tolist()

    assert kept(1) == kept(1) != kept(2)


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1, float("nan")])
def test_a_share_is_more_than_nothing_and_at_most_all(new, old, share):
    with pytest.raises(ValueError, match=r"replay: expected a share of the old slices in \(0, 1\]"):
        Mixed(parts(new)[0], parts(old)[0], share, 1)


def test_old_data_without_slices_are_refused(new, old):
    data, past = parts(new)[0], parts(old)[0]
    past.table = past.table[:0]
    with pytest.raises(ValueError, match="no training slices"):
        Mixed(data, past, 0.5, 1)


def test_a_stopped_run_with_replay_ends_in_the_same_bits(new, old, tmp_path):
    def go(name, stop=None):
        model, (data, held_out) = network(), parts(new)
        if stop is not None:
            stop_at(data, stop)
        run = TrainingRun("net", tmp_path / f"{name}.csv", tmp_path / f"{name}.safetensors", "same")
        new_task, past = Task(data, held_out), Task(*parts(old, seed=2))
        return model, adapt_network(model, REPLAY, new_task, SETTINGS, run, old=past, seed=3)

    whole, done = go("whole")
    with pytest.raises(SystemExit):
        go("cut", stop=11)
    resumed, after = go("cut")
    assert same(state(whole), state(resumed))
    assert done.numbers == after.numbers
    assert done.numbers["old_slices"] == 16 and done.numbers["new_slices"] == 8
    assert done.rows[-1]["step"] == 6 * 6  # 24 slices in batches of 4
    plain = network()
    without = replace(REPLAY, replay=0.0)
    run = TrainingRun("n", tmp_path / "p.csv")
    adapt_network(plain, without, Task(*parts(new)), SETTINGS, run)
    assert not same(state(whole), state(plain))


@pytest.fixture
def scored():
    components = tgd.score_components(network(), torch.zeros(1, 3, 16, 16))
    return tuple(
        {n: getattr(c, key).numpy() for n, c in components.items()} for key in ("kse", "sparsity")
    )


def test_random_masks_have_the_counts_of_kse_and_differ_by_seed(scored):
    kse = choose_kernels(*scored, TGD, 1)
    masks = [choose_kernels(*scored, replace(TGD, mask="random"), seed) for seed in (1, 1, 2)]
    for mask in masks:
        assert {n: int(m.sum()) for n, m in mask.items()} == {
            n: int(m.sum()) for n, m in kse.items()
        }
    first, again, other = ([m.tolist() for m in mask.values()] for mask in masks)
    assert first == again != other
    assert first != [m.tolist() for m in kse.values()]
    twins = choose_kernels(
        {n: np.arange(32) / 32 for n in "ab"}, None, replace(TGD, mask="random"), 1
    )
    assert not torch.equal(twins["a"], twins["b"])  # every module draws its own


def test_l1_masks_are_the_kernels_of_least_sparsity():
    rng = np.random.default_rng(0)
    scored = [{n: rng.random(k) for n, k in network().scored.items()} for _ in ("kse", "sparsity")]
    kse, l1 = choose_kernels(*scored, TGD, 1), choose_kernels(*scored, replace(TGD, mask="l1"), 1)
    for name, mask in l1.items():
        sparsity = torch.from_numpy(scored[1][name])
        assert int(mask.sum()) == int(kse[name].sum())
        if mask.any() and not mask.all():
            assert float(sparsity[mask].max()) <= float(sparsity[~mask].min())
    assert any(not torch.equal(kse[n], l1[n]) for n in kse)


def test_l1_masks_need_the_sparsity(scored):
    with pytest.raises(ValueError, match="mask: l1 needs the kernels' sparsity"):
        choose_kernels(scored[0], None, replace(TGD, mask="l1"), 1)


@pytest.mark.parametrize("mask", ["kse", "l1", "random"])
@pytest.mark.parametrize("accumulates", [False, True])
def test_kernels_of_the_first_blocks_stay_where_asked(new, scored, tmp_path, mask, accumulates):
    model = network()
    before = state(model)
    entry = replace(TGD, fraction=0.5, keep_blocks=3, mask=mask, accumulate=accumulates)
    every = {name: torch.ones(len(value), dtype=torch.bool) for name, value in scored[0].items()}
    scores = KernelScores(*scored, previous=every if accumulates else {})
    run = TrainingRun("t", tmp_path / "t.csv")

    done = adapt_network(model, entry, Task(*parts(new)), SETTINGS, run, scores=scores)

    moved = {name for name, value in state(model).items() if not torch.equal(value, before[name])}
    first = {name for name in before if name.split(".")[1] in ("0", "1", "2")}
    assert moved
    assert not moved & first
    assert done.numbers["keep_blocks"] == 3


def job(tmp_path, name, dataset, checkpoint=None):
    return Job(name, dataset, tmp_path / f"{name}.safetensors", 1, "cpu", 1, checkpoint)


def base(tmp_path):
    path = tmp_path / "base.safetensors"
    weights.save(path, network(), weights.Card("base", 0.0625, 1000.0))
    return path


def test_jobs_read_old_data_and_sparsity_and_say_so(new, old, tmp_path, scored):
    start, table = base(tmp_path), tmp_path / "kse.csv"
    jobs.score_table(network(), 5, 1.0).to_csv(table, index=False)
    settings = replace(SETTINGS, epochs=1)
    checkpoint = tmp_path / "checkpoints" / "EWC.safetensors"
    entry = replace(REPLAY, replay=0.5, penalty="ewc")
    jobs.adapt(job(tmp_path, "EWC", new, checkpoint), settings, entry, start, None, old)
    card = json.loads((tmp_path / "EWC.json").read_text())
    assert (
        card["penalty"] == "ewc" and card["old_slices"] == 16 and len(card["strengths_tried"]) == 4
    )
    assert any("old/index.tsv" in path for path in card["provenance"]["inputs"])
    assert not list(checkpoint.parent.iterdir())
    jobs.adapt(job(tmp_path, "L1", new), settings, replace(TGD, mask="l1"), start, table)
    kernels = choose_kernels(*scored, replace(TGD, mask="l1"), 0)
    assert weights.load(tmp_path / "L1.safetensors")[1].mask == {
        n: m.nonzero()[:, 0].tolist() for n, m in kernels.items()
    }
    assert json.loads((tmp_path / "L1.json").read_text())["mask"] == "l1"


def test_the_log_of_the_old_task_changes_nothing_else(new, old, tmp_path):
    start, table = base(tmp_path), tmp_path / "kse.csv"
    jobs.score_table(network(), 5, 1.0).to_csv(table, index=False)
    watching = replace(SETTINGS, epochs=8, log_old=True)
    blind = replace(watching, log_old=False)
    jobs.adapt(job(tmp_path, "n", new), blind, TGD, start, table)
    bits = (tmp_path / "n.safetensors").read_bytes()
    network_bits = weights.load(tmp_path / "n.safetensors")[0].state_dict()
    jobs.adapt(job(tmp_path, "n", new), watching, TGD, start, table, old)
    again = weights.load(tmp_path / "n.safetensors")[0].state_dict()
    assert all(torch.equal(network_bits[key], again[key]) for key in again)
    assert bits != (tmp_path / "n.safetensors").read_bytes()  # the card tells the settings

    log = pd.read_csv(tmp_path / "n_log.csv")
    numbers = json.loads((tmp_path / "n.json").read_text())
    held_out = parts(old, seed=held_out_seed(1))[1]
    model = weights.load(tmp_path / "n.safetensors")[0]
    batches = fixed_batches(held_out, watching)
    assert log["old_loss"].iloc[-1] == pytest.approx(validate(model, batches, "mse")[0], rel=1e-4)
    untrained, _ = weights.load(start)
    assert numbers["start_old_loss"] == pytest.approx(validate(untrained, batches, "mse")[0])

    with pytest.raises(ValueError, match="log_old: needs the old task's data"):
        jobs.adapt(job(tmp_path, "n", new), watching, TGD, start, table)

    rows = pd.read_csv(old, sep="\t")
    rows[rows["split"] == "train"].to_csv(old, sep="\t", index=False)
    with pytest.raises(ValueError, match="n: log_old: no study is held out"):
        jobs.adapt(job(tmp_path, "n", new), watching, TGD, start, table, old)


def test_a_fraction_of_the_living_opens_all_dead_kernels(new, tmp_path):
    model = network()
    first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight[0] = 0
    start = tmp_path / "base.safetensors"
    weights.save(start, model, weights.Card("base", 0.0625, 1000.0))
    table = tmp_path / "kse.csv"
    scores = jobs.score_table(model, 5, 1.0)
    scores.to_csv(table, index=False)
    entry = replace(TGD, fraction=0.25, fraction_of="alive")
    settings = replace(SETTINGS, epochs=1)
    jobs.adapt(job(tmp_path, "n", new), settings, entry, start, table)

    numbers = json.loads((tmp_path / "n.json").read_text())
    living = int(scores["alive"].sum())
    assert living < len(scores)
    assert numbers["kernels_retrained_alive"] == round(0.25 * living)
    assert numbers["kernels_retrained"] == len(scores) - living + round(0.25 * living)

    scores.drop(columns="alive").to_csv(table, index=False)
    with pytest.raises(ValueError, match="alive"):
        jobs.adapt(job(tmp_path, "n", new), settings, entry, start, table)


def test_accumulated_masks_keep_open_what_the_base_retrained(new, tmp_path):
    start, table = base(tmp_path), tmp_path / "kse.csv"
    jobs.score_table(network(), 5, 1.0).to_csv(table, index=False)
    settings = replace(SETTINGS, epochs=1)
    first, second = (replace(TGD, fraction=f, mask="random") for f in (0.5, 0.25))
    jobs.adapt(job(tmp_path, "one", new), settings, first, start, table)
    masks = {}
    for name, entry in [("plain", second), ("both", replace(second, accumulate=True))]:
        jobs.adapt(job(tmp_path, name, new), settings, entry, tmp_path / "one.safetensors", table)
    for name in ("one", "plain", "both"):
        masks[name] = {
            (n, c)
            for n, m in weights.load(tmp_path / f"{name}.safetensors")[1].mask.items()
            for c in m
        }
    # the random channels of a second round depend on its name, so only what "both" adds to "one" is
    # its own
    assert masks["one"] < masks["both"] and not masks["one"] <= masks["plain"]
    assert len(masks["both"]) <= len(masks["one"]) + len(masks["plain"])
    said = [
        json.loads((tmp_path / f"{name}.json").read_text())["accumulate"]
        for name in ("one", "plain", "both")
    ]
    assert said == [False, False, True]


def test_the_first_round_has_no_mask_to_accumulate(new, tmp_path, scored):
    settings, done = replace(SETTINGS, epochs=1), []
    for entry in (TGD, replace(TGD, accumulate=True)):
        run = TrainingRun("net", tmp_path / "log.csv")
        task, scores = Task(*parts(new)), KernelScores(scored[0])
        done.append(adapt_network(network(), entry, task, settings, run, scores=scores))
    assert done[0].mask == done[1].mask


def test_a_card_whose_mask_names_a_channel_too_many_is_refused():
    card = weights.Card(
        "net", 0.0625, 1000.0, mask={"blocks.0.conv": [0, 4], "blocks.7.conv": [99]}
    )
    with pytest.raises(
        ValueError, match=r"net: mask of blocks\.0\.conv: expected channels from 0 to 3"
    ):
        weights.masks(network(), card)


def test_held_out_patches_are_the_same_for_every_network_and_training_ones_are_not(new, tmp_path):
    def batches(name):
        task = jobs._read_task(job(tmp_path, name, new), new, "patches", SETTINGS, 1000.0, CPU)
        both = (task.train, task.held_out)
        return [data.batch(data.epoch_order(0, 4), 0).noisy for data in both]

    (train_a, held_a), (train_b, held_b) = batches("a"), batches("b")
    assert torch.equal(held_a, held_b) and not torch.equal(train_a, train_b)


def test_a_checkpoint_with_other_old_data_is_left_aside(new, old, tmp_path):
    def identity():
        return jobs._training_run(job(tmp_path, "n", new), [new], {}, World(), CPU, old).identity

    before = identity()
    assert before == identity()
    volumes = np.load(old.parent / "a.npy")
    np.save(old.parent / "a.npy", volumes * 2)
    assert identity() != before


def test_online_learning_from_scratch_sees_the_halves_only(tmp_path, monkeypatch):
    index = write_index(tmp_path / "n2n", samples=("half1", "half2"))
    volumes = np.load(index.parent / "a.npy")
    np.save(
        index.parent / "a.npy", np.concatenate([volumes[:2], np.full_like(volumes[:1], np.nan)])
    )
    text = index.read_text().splitlines()
    rows = [line.split("\t") for line in text[1:] if line.startswith("a\t")]
    for row in rows:
        row[5] = str(1 - int(row[4]))  # the other half
    index.write_text("\n".join([text[0], *("\t".join(row) for row in rows)]) + "\n")
    settings = Training(epochs=2, batch=4, patch=16)
    jobs.train(job(tmp_path, "N2N-scratch", index), settings, 0.0625)
    model, card = weights.load(tmp_path / "N2N-scratch.safetensors")
    assert card.parents == []
    data = PatchData(index, "train", scale=1.0, patch=16, air_fraction=0.0, seed=1, device=CPU)
    batch = data.batch(torch.arange(16), 0)
    assert bool(batch.noisy.isfinite().all() and batch.target.isfinite().all())
