"""Results do not depend on plotting: evaluation loads no plotting library and no figure."""

import subprocess
import sys
from pathlib import Path

from tgdpet import evaluation

FOLDER = Path(evaluation.__file__).parent
PLOTTING = ("matplotlib", "seaborn", "tgdpet.figures", "tgdpet.report")


def test_evaluation_loads_no_plotting() -> None:
    modules = [f"tgdpet.evaluation.{path.stem}" for path in FOLDER.glob("*.py")]
    lines = [
        "import sys",
        *(f"import {module}" for module in modules),
        f"print([name for name in {PLOTTING} if name in sys.modules])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=FOLDER.parents[1],
        check=True,
    )
    assert len(modules) > 10
    assert done.stdout.strip() == "[]"
