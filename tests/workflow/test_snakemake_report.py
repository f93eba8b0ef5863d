"""`snakemake --report`: one file that opens offline, in the pipeline's order, the findings
first.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tgdpet.figures import CATEGORIES, SHOWN, TOGETHER, numbered

pytestmark = pytest.mark.xdist_group(
    "smoke"
)  # one process, or each would make a smoke run of its own

ROOT = Path(__file__).parents[2]


def content(page: str, name: str) -> Any:
    """The page's global variable of this name; its functions have others of the same name."""
    (text,) = re.findall(rf"^ *var {name} = ([\[{{].*[\]}}]);$", page, re.M)
    return json.loads(text)


@pytest.mark.slow
def test_the_report_opens_offline_with_the_findings_first(smoke, snakemake, tmp_path):
    target = tmp_path / "report.html"
    words = (
        "--configfile",
        "config/smoke.yaml",
        "--config",
        f"results={smoke}",
        "--report",
        target,
    )
    done = snakemake(*words)
    assert done.returncode == 0, done.stdout[-3000:]
    page = target.read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=.https?:", page)
    categories, results = content(page, "categories"), content(page, "results")
    assert sorted(categories) == [f"{n} {name}" for n, name in enumerate(CATEGORIES, 1)]
    assert all(list(inner) == ["seed 2021"] for inner in categories.values())
    shown = {Path(path).stem: result for path, result in results.items()}
    assert set(shown) == set(SHOWN) - {"gain_paths"}  # adapt.log_old is off
    for name, result in shown.items():
        category, title = numbered(name)
        assert result["labels"] == {"shown": title} and result["data_uri"].startswith("data:")
        assert any(name in path for path in categories[category]["seed 2021"])
        words = " ".join((ROOT / f"workflow/report/{name}.rst").read_text().split()).strip("*")[:30]
        assert words.split("**")[0] in result["caption"], name
    first = min(results.values(), key=lambda result: result["labels"]["shown"])
    assert first["name"] == "findings_table.html" and first["mime_type"] == "text/html"


def test_a_study_reports_all_seeds_before_each_one(snakemake, tmp_path):
    seeds = tmp_path / "seeds.yaml"
    seeds.write_text(yaml.safe_dump({"seeds": [5, 6], "results": str(tmp_path / "study")}))
    done = snakemake("-n", "-p", "--configfile", "config/smoke.yaml", str(seeds))
    assert done.returncode == 0, done.stdout
    (line,) = [
        line for line in done.stdout.splitlines() if "10_report.py" in line and " --seeds " in line
    ]
    assert f"--seeds {tmp_path}/study/seed-5 {tmp_path}/study/seed-6 " in line
    assert f"--out {tmp_path}/study/report.html" in line
    for figure in TOGETHER:
        assert f"10_figures.py {figure} --config {tmp_path}/study/seed-5/config.yaml" in done.stdout
