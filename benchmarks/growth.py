"""How processor time and memory of every stage grow with the number of studies and of events.

Run by hand: python benchmarks/growth.py --out docs/figures [--factors 1 2 4 8] [--cores 2]

Runs the workflow on a coarse grid: from list mode to the table of measures with so many times the
studies of each role, and the list mode and images of one study with so many times the events.
Every job's processor seconds (user and system, its children's too) and peak memory are those that
the system counts for its process, starts and imports included; nothing is subtracted. Writes
growth.csv, row by row, and growth.png, and prints the tables. What a growth.csv that is there holds
is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

# In place of `python` in the rules: notes what each job took.
TIMED_PYTHON = """#!{python} -IS
import json, resource, subprocess, sys

code = subprocess.run([{python!r}, *sys.argv[1:]]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
row = dict(
    script=sys.argv[1],
    processor_s=used.ru_utime + used.ru_stime,
    peak_mb=used.ru_maxrss / 1024,
)
with open({times!r}, "a") as file:
    file.write(json.dumps(row) + "\\n")
sys.exit(code)
"""
# Over config/config.yaml; trainings that take several times as long as their start.
CONFIG: dict[str, Any] = {
    "results": "results",
    "studies": "studies.tsv",
    "grid": {"shape": [40, 40, 16], "voxel_mm": [10.0, 10.0, 16.0]},
    "scanner": {
        "preset": "demo",
        "crystals_per_ring": 160,
        "rings": 18,
        "ring_pitch_mm": 16.0,
        "max_ring_difference": 17,
        "efficiency": 0.02,
    },
    "simulation": {"scan_s": 600, "lesion_diameter_mm": 40.0},
    "sampling": {"levels_s": [60, 180], "realisations": 3, "test_s": 60},
    "protocols": {
        "v1": {"psf_fwhm_mm": [18.0, 14.0, 14.0], "iterations": 2, "subsets": 2},
        "v2": {"psf_fwhm_mm": [10.0, 10.0, 10.0], "iterations": 2, "subsets": 2},
    },
    "network": {"width": 0.125},
    "train": {"epochs": 60, "batch": 8, "patch": 24, "validation_fraction": 0},
    "adapt": {"epochs": 60, "batch": 8, "patch": 24, "validation_fraction": 0},
    "networks": {
        "v1-net": {"method": "train", "data": "v1"},
        "TGD-net": {"method": "tgd", "base": "v1-net", "data": "adapt", "phi": 0.3},
    },
    "score": {"network": "v1-net", "drop_phi": [0.3]},
    "device": "cpu",
}
ROLES = {"train": "train_v1v2", "adapt": "adapt", "lesion": "test_lesion", "high": "test_high_bmi"}
# Of the study whose events grow: detected are as many as the square of it.
EVENTS_EFFICIENCY = 0.04


# What grows, and what is made.
TARGETS = {
    "events": "results/recon/sub-adapt1/pet/sub-adapt1_trc-FDG_rec-v2_desc-600s_pet.nii.gz",
    "studies": "results/metrics/metrics.csv",
}
STAGES = {
    "01_simulate": "simulate",
    "02_subsample": "subsample",
    "03_corrections": "corrections",
    "03_reconstruct": "reconstruct",
    "04_dataset": "dataset",
    "05_train": "train",
    "06_score": "score",
    "07_adapt": "adapt",
    "08_denoise": "denoise",
    "09_evaluate": "evaluate",
    "09_collect": "collect",
}
COLUMNS = ["grown", "factor", "stage", "jobs", "processor_s", "peak_mb"]


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder with this workflow, a `python` that notes times, and room for results."""
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        place = Path(name)
        for folder in ("workflow", "scripts", "Snakefile"):
            (place / folder).symlink_to(ROOT / folder)
        (place / "config").mkdir()

        timed = place / "bin/python"
        timed.parent.mkdir()
        words = {"python": sys.executable, "times": str(place / "times.jsonl")}
        timed.write_text(TIMED_PYTHON.format(**words))
        timed.chmod(0o755)

        yield place


def prepare(place: Path, grown: str, factor: int) -> None:
    """Write configuration and studies of one run."""
    config = copy.deepcopy(CONFIG)
    n_each = factor if grown == "studies" else 1
    if grown == "events":
        config["scanner"]["efficiency"] = EVENTS_EFFICIENCY * factor**0.5

    rows = ["study\trole\tsource\tbmi\tseed"]
    for name, role in ROLES.items():
        for number in range(1, n_each + 1):
            rows.append(f"{name}{number}\t{role}\tanalytic\t22\t{100 * len(rows) + number}")

    (place / "config/config.yaml").write_text(yaml.safe_dump(config))
    (place / "studies.tsv").write_text("\n".join(rows) + "\n")


def run(place: Path, target: str, cores: int) -> pd.DataFrame:
    """Make `target` in an empty results folder: stage, processor_s, peak_mb of each job, and of
    Snakemake itself.
    """
    times = place / "times.jsonl"
    times.unlink(missing_ok=True)
    for folder in ("results", ".snakemake"):
        shutil.rmtree(place / folder, ignore_errors=True)

    # The workflow puts its own interpreter first in PATH; each job's shell, the timed one.
    path_first = place / "path.sh"
    path_first.write_text(f"export PATH='{place / 'bin'}':$PATH\n")

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", target, "--cores", str(cores), "--quiet", "all"],
        cwd=place,
        env={**os.environ, "BASH_ENV": str(path_first), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{target}: the run failed:\n{done.stderr[-3000:]}")

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [json.loads(line) for line in times.read_text().splitlines()]
    table = pd.DataFrame(rows)
    table["stage"] = table.pop("script").map(lambda script: STAGES.get(Path(script).stem))

    # The jobs are Snakemake's children: what is left of them all is its own.
    whole_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    own = {"stage": "snakemake", "processor_s": whole_s - table.processor_s.sum()}

    return pd.concat([table.dropna(subset="stage"), pd.DataFrame([own])])


def measure(factors: list[int], cores: int, path: Path) -> pd.DataFrame:
    """One row a stage, factor and what is grown: its jobs, their processor seconds together, and
    the largest peak memory of one. Runs what the table at `path` lacks, and keeps it there.
    """
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    missing = [
        (factor, grown)
        for grown in TARGETS
        for factor in factors
        if not ((table.factor == factor) & (table.grown == grown)).any()
    ]
    if not missing:
        return table

    with workplace() as place:
        prepare(place, "events", 1)
        run(place, TARGETS["events"], cores)  # compiles the kernels

        for factor, grown in missing:
            prepare(place, grown, factor)
            jobs = run(place, TARGETS[grown], cores)

            rows = []
            for stage, own in jobs.groupby("stage", sort=False):
                size = (len(own), own.processor_s.sum(), own.peak_mb.max())
                rows.append((grown, factor, stage, *size))
            more = pd.DataFrame(rows, columns=COLUMNS)
            table = pd.concat([table, more], ignore_index=True) if len(table) else more

            table.to_csv(path, index=False, float_format="%.5g")
            print(f"{grown} x {factor}: {jobs.processor_s.sum():.0f} s", file=sys.stderr)

    return table


def exponent(own: pd.DataFrame, column: str, last: int | None = None) -> float:
    """b of column ~ factor^b by least squares of the logarithms, of all factors or the `last`."""
    chosen = own.sort_values("factor").tail(last or len(own))
    logs = np.log(chosen[["factor", column]].to_numpy(float))

    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def line(own: pd.DataFrame) -> str:
    """Processor time as a start and so much a factor, and the largest distance from this line."""
    each_s, start_s = np.polyfit(own.factor, own.processor_s, 1)
    fitted = start_s + each_s * own.factor
    off = float((own.processor_s / fitted - 1).abs().max())

    return f"{start_s:.1f} + {each_s:.2f} n, {100 * off:.0f} %"


def markdown(table: pd.DataFrame) -> list[str]:
    """The tables of RESULTS.md."""
    lines = []
    for grown, part in table.groupby("grown", sort=False):
        factors = sorted(part.factor.unique())
        head = " | ".join(f"{f} x" for f in factors)
        lines += ["", f"| {grown} | jobs | processor s, {head} | exponent | of the last two "]
        lines[-1] += f"| line | peak MB, {head} | exponent |"
        lines.append("|" + "---|" * (2 * len(factors) + 6))

        for stage, own in part.groupby("stage", sort=False):
            own = own.sort_values("factor")
            seconds = " | ".join(f"{value:.1f}" for value in own.processor_s)
            grows = f"{exponent(own, 'processor_s'):.2f} | {exponent(own, 'processor_s', 2):.2f}"

            known = bool(own.peak_mb.notna().all())
            peaks = " | ".join(f"{value:.0f}" if known else "" for value in own.peak_mb)
            memory = f"{exponent(own, 'peak_mb'):.2f}" if known else ""

            jobs = f"{own.jobs.iloc[0]} to {own.jobs.iloc[-1]}"
            time = f"{seconds} | {grows} | {line(own)}"
            lines.append(f"| {stage} | {jobs} | {time} | {peaks} | {memory} |")

    return lines


def draw(table: pd.DataFrame, path: Path) -> None:
    """Processor time and peak memory against the factor, one line a stage; dashed: linear."""
    from matplotlib import pyplot as plt

    from tgdpet.figures.style import GREY, PALETTE, styled

    parts = list(table.groupby("grown", sort=False))
    size = (6.9, 0.4 + 2.4 * len(parts))
    with styled():
        figure, axes = plt.subplots(
            len(parts), 2, figsize=size, sharex=True, squeeze=False, layout="constrained"
        )
        for row, (grown, part) in zip(axes, parts, strict=True):
            for number, (stage, own) in enumerate(part.groupby("stage", sort=False)):
                style = {"color": PALETTE[number % 7], "ls": "-" if number < 7 else ":"}
                row[0].plot(own.factor, own.processor_s, marker="o", ms=3, label=stage, **style)
                row[1].plot(own.factor, own.peak_mb, marker="o", ms=3, **style)

            factors = np.sort(part.factor.unique())
            least_s = part.processor_s.min()
            row[0].plot(factors, least_s * factors, "--", color=GREY, label="linear")
            row[0].set(xscale="log", yscale="log", ylabel=f"processor time, s\n({grown})")
            row[1].set(xscale="log", ylim=(0, None), ylabel="peak memory of a job, MB")
            row[0].legend(ncol=2, fontsize=5)

        for ax in axes[-1]:
            ax.set_xlabel("times as many")
            ax.set_xticks(factors, labels=[str(factor) for factor in factors])
            ax.minorticks_off()
        figure.savefig(path, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of growth.csv and .png")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--cores", type=int, default=2, help="of Snakemake")
    args = parser.parse_args()

    table = measure(args.factors, args.cores, args.out / "growth.csv")
    draw(table, args.out / "growth.png")
    print("\n".join(markdown(table)))


if __name__ == "__main__":
    main()
