"""What networks are compared on: patches held out, or of training where there are none."""

from __future__ import annotations

from tgdpet.runtime.seeds import derive
from tgdpet.training.tasks import Task, held_out_seed
from training_cases import parts, write_index


def test_networks_are_judged_on_held_out_patches(tmp_path):
    task = Task(*parts(write_index(tmp_path)))

    assert task.has_held_out
    assert task.judged is task.held_out


def test_without_held_out_patches_those_of_training_judge(tmp_path):
    train, held_out = parts(write_index(tmp_path))
    held_out.table = held_out.table[:0]

    for task in (Task(train), Task(train, held_out)):
        assert not task.has_held_out
        assert task.judged is train


def test_held_out_patches_depend_on_the_runs_seed_alone():
    assert held_out_seed(7) == derive(7, "held out") != held_out_seed(8)
