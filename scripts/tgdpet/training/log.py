"""What can be seen of a training run.

A CSV log always, TensorBoard if asked for, progress on the screen.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.sections import Training
from ..io.files import write_text
from ..runtime.progress import Progress
from .run import TrainingRun, TrainingState

LOG_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "validation_loss",
    "validation_psnr",
    "learning_rate",
    "pixels_per_s",
    "seconds_left",
)
OLD_LOSS = "old_loss"  # a column more, where the old task is watched
SCALARS = (*LOG_COLUMNS[2:], OLD_LOSS)  # what TensorBoard shows over the steps
LOG_ROWS = 60  # about
LEAST_STEPS = 20  # from one row to the next: validating costs about one step


def write_log(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the log's rows as CSV."""
    buffer = io.StringIO()
    watched = any(OLD_LOSS in row for row in rows)
    columns = (*LOG_COLUMNS, OLD_LOSS) if watched else LOG_COLUMNS
    table = csv.DictWriter(buffer, columns, lineterminator="\n")
    table.writeheader()

    for row in rows:
        table.writerow({key: _cell(value) for key, value in row.items()})

    write_text(path, buffer.getvalue())


def _cell(value: float) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


class TrainingLog:
    """The log of a run of `steps` steps: progress, CSV and TensorBoard, by the first process.

    Use as a context manager. A row is due about `LOG_ROWS` times in a run, and after its last step.
    """

    def __init__(
        self, run: TrainingRun, state: TrainingState, steps: int, settings: Training
    ) -> None:
        self._run = run
        self._state = state
        self._steps = steps
        self._settings = settings
        self._every = max(LEAST_STEPS, steps // LOG_ROWS)

        first = run.world.first
        self._bar = Progress(steps - state.step, f"train {run.name}", "steps", show=first)
        self._board = TensorBoard(run.tensorboard if first else None, state.step)

    def __enter__(self) -> TrainingLog:
        self._bar.__enter__()
        self._board.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._board.__exit__(*error)
        self._bar.__exit__(*error)

    def row_due(self, step: int) -> bool:
        """Whether a row follows when `step` steps are done."""
        return step % self._every == 0 or step == self._steps

    def progress(self, steps_read: int) -> None:
        """Show the mean loss since the last row."""
        mean_loss = self._state.total / self._state.count
        self._bar.update(steps_read, loss=mean_loss)

    def add_row(
        self,
        epoch: int,
        rate: float,
        validation_loss: float,
        psnr_db: float,
        old_loss: float = math.nan,
    ) -> None:
        """Add a row for the steps since the last one, and write the log."""
        state = self._state
        pixels = state.step * self._settings.batch * self._settings.patch**2
        seconds_a_step = state.seconds / state.step
        seconds_left = seconds_a_step * (self._steps - state.step)
        row = {
            "step": state.step,
            "epoch": epoch,
            "loss": state.total / state.count,
            "validation_loss": validation_loss,
            "validation_psnr": psnr_db,
            "learning_rate": rate,
            "pixels_per_s": round(pixels / max(state.seconds, 1e-9)),
            "seconds_left": round(seconds_left, 1),
        }
        if not math.isnan(old_loss):
            row[OLD_LOSS] = old_loss

        state.rows.append(row)
        state.total = 0.0
        state.count = 0

        self.write()
        self._board.add(row)

    def write(self) -> None:
        """Write the CSV log."""
        if self._run.world.first:
            write_log(self._run.log, self._state.rows)


class TensorBoard:
    """The log's rows as TensorBoard events in `folder`; nothing without a folder.

    A run that resumes at `step` takes back what an earlier process wrote beyond it. Raises
    ValueError where the package is missing.
    """

    def __init__(self, folder: Path | None, step: int = 0) -> None:
        self._writer: Any = None
        if folder is None:
            return

        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                "tensorboard: true needs the package tensorboard: pip install tensorboard"
            ) from error

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """One row of the log."""
        if self._writer is None:
            return

        step = row["step"]
        for key in SCALARS:
            value = row.get(key, math.nan)
            if not math.isnan(value):  # where nothing is held out or watched
                self._writer.add_scalar(key, value, step, walltime=time.time())

        self._writer.flush()
