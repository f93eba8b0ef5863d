"""What can be seen of a training run: a CSV log always, TensorBoard if asked for, progress on the
screen.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.files import write_text

LOG = (
    "step", "epoch", "loss", "validation_loss", "validation_psnr", "learning_rate", "pixels_per_s", "seconds_left",
)  # fmt: skip


def write_log(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the log's rows as CSV."""
    text = io.StringIO()
    table = csv.DictWriter(text, LOG, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: f"{v:.8g}" if isinstance(v, float) else v for k, v in row.items()})
    write_text(path, text.getvalue())


class TensorBoard:
    """The log's rows as TensorBoard events in `folder`; nothing without a folder.

    A run that goes on at `step` takes back what an earlier process wrote beyond it. Raises
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
        for key in LOG[2:]:
            if row[key] == row[key]:  # no NaN where nothing is held out
                self._writer.add_scalar(key, row[key], row["step"], walltime=time.time())
        self._writer.flush()
