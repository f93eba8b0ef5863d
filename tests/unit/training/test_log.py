"""TensorBoard shows what the log holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tgdpet.training import log as training_log
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun
from training_cases import SETTINGS, network, parts, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def index(tmp_path):
    return write_index(tmp_path)


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_the_log(index, tmp_path):
    run = TrainingRun("net", tmp_path / "log.csv", tensorboard=tmp_path / "board")
    fit(network(), *parts(index), SETTINGS, run)
    log, shown = pd.read_csv(tmp_path / "log.csv"), events(tmp_path / "board")
    assert set(shown) == set(training_log.SCALARS) - {training_log.OLD_LOSS}
    for tag, pairs in shown.items():
        assert [s for s, _ in pairs] == list(log["step"])
        np.testing.assert_allclose([v for _, v in pairs], log[tag], rtol=1e-6)


def test_a_resumed_tensorboard_has_no_step_twice(tmp_path):
    row = dict.fromkeys(training_log.LOG_COLUMNS, 1.0)
    with training_log.TensorBoard(tmp_path) as board:
        for step in (10, 20, 30):
            board.add({**row, "step": step})
    with training_log.TensorBoard(
        tmp_path, step=20
    ) as board:  # killed after 30, the checkpoint is of 20
        for step in (30, 40):
            board.add({**row, "step": step, "validation_loss": float("nan")})
    shown = events(tmp_path)
    assert [s for s, _ in shown["loss"]] == [10, 20, 30, 40]
    assert [s for s, _ in shown["validation_loss"]] == [10, 20]


def test_without_the_package_tensorboard_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="needs the package tensorboard: pip install"):
        training_log.TensorBoard(tmp_path)
