"""The reference: a right run passes nineteen times in twenty, a wrong one does not, and what is
missing is named.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fabricate
from tgdpet.evaluation.reference import (
    compare,
    comparison_text,
    holm,
    passed,
    read_reference,
    standard_error,
)
from tgdpet.io.files import read_json, write_csv
from tgdpet.report import reference_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = fabricate.fabricate(tmp_path_factory.mktemp("made_up"), (40, 40, 16), (9, 9, 20))
    for name in ("findings", "fig5"):
        (root / "figures").mkdir(exist_ok=True)
        (root / "figures" / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
    return root


@pytest.fixture
def kept(made: Path, tmp_path: Path) -> Path:
    """A made-up reference."""
    reference_folder.write_reference(made, tmp_path / "reference", "snakemake")
    return tmp_path / "reference"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def change(path: Path, alter: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    write_csv(path, alter(pd.read_csv(path)))


def sample(
    generator: np.random.Generator, rows: int, seeds: int, spread: float = 1.0
) -> pd.DataFrame:
    """What a study of normal values finds: means of `seeds` values, with their standard errors."""
    values = generator.normal(0, spread, (rows, seeds))
    se = values.std(axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(rows, 0.1 * spread)
    n = float(seeds) if seeds > 1 else 10.0
    names = [f"row {i}" for i in range(rows)]
    head = {"quantity": names, "value": values.mean(axis=1), "n": n, "seeds": seeds, "se": se}
    return pd.DataFrame({**head, "judged": True})


@pytest.mark.parametrize(("new", "old"), [(5, 5), (8, 5), (1, 5), (5, 1)])
def test_a_right_run_passes_in_95_of_100_cases(new: int, old: int) -> None:
    """All rows together; a single seed's own interval, of noise only, is far too narrow and must
    not count.
    """
    generator = np.random.default_rng(4)
    times = [
        passed(compare(sample(generator, 12, new), sample(generator, 12, old))) for _ in range(400)
    ]
    assert np.mean(times) > 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / 400)


def test_the_test_is_not_blind() -> None:
    """With known errors it fails a right run about as often as it says, and finds a row that is
    off.
    """
    generator = np.random.default_rng(5)

    def exact() -> pd.DataFrame:
        return sample(generator, 12, 200).assign(se=1 / np.sqrt(200), n=1e6)

    assert 0.02 < np.mean([not passed(compare(exact(), exact())) for _ in range(400)]) < 0.085
    new = exact()
    new.loc[3, "value"] += 0.6  # 6 standard errors of the difference
    rows = compare(new, exact())
    assert list(rows.quantity[rows.verdict == "differs"]) == ["row 3"] and not passed(rows)
    assert abs(rows.difference[3]) > rows.allowed[3]


def test_holm_steps_down() -> None:
    limits, rejected = holm(np.array([0.04, 0.001, 0.02, 0.3]))
    assert rejected.tolist() == [False, True, False, False]  # 0.02 > 0.05 / 3 stops it
    assert limits == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    assert holm(np.array([0.01, 0.012, 0.02, 0.04]))[1].all()


def test_standard_errors_come_from_students_interval() -> None:
    half_widths = np.array([2.776, 1.96, 1.0])
    got = standard_error(half_widths, np.array([5.0, 1e9, 1.0]), 0.95)
    assert got[:2] == pytest.approx([1, 1], rel=1e-3) and np.isnan(got[2])


def test_a_run_agrees_with_itself_and_time_is_not_judged(made: Path, kept: Path) -> None:
    new, old = read_reference(made), read_reference(kept)
    rows = compare(new, old)
    assert passed(rows) and (rows.verdict == "OK").any() and (rows.verdict == "no interval").any()
    assert set(rows.verdict[rows.quantity.str.startswith("7: ")]) == {"machine's"}
    assert "one seed in both" in comparison_text(rows, new, old)


def test_what_differs_or_is_missing_is_named(kept: Path, copy: Path) -> None:
    def worse(table: pd.DataFrame) -> pd.DataFrame:
        chosen = (table.network == "TGD-net") & (table.measure == "liver_cov")
        table.loc[chosen, ["value", "low", "high"]] += 30
        return table[~((table.network == "FT-net") & (table.measure == "gain"))]

    change(copy / "metrics" / "estimates.csv", worse)
    new, old = read_reference(copy), read_reference(kept)
    rows = compare(new, old).set_index("quantity")
    assert (
        rows.verdict["TGD-net: liver_cov"] == "differs"
        and rows.verdict["FT-net: gain"] == "missing"
    )
    assert set(rows.verdict) == {"OK", "no interval", "machine's", "differs", "missing"}
    assert "FT-net: gain" in comparison_text(rows.reset_index(), new, old)
    assert "not in the reference" in comparison_text(compare(old, new), old, new)


def test_a_reference_says_how_it_was_made(made: Path, kept: Path) -> None:
    told = read_json(kept / "provenance.json")["provenance"]
    assert (told["command"], told["seeds"], told["device"], told["commit"]) == (
        "snakemake",
        [2021],
        ["cpu"],
        ["abc"],
    )
    names = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert {
        "metrics/findings.csv",
        "metrics/estimates.csv",
        "metrics/gain.csv",
        "figures/fig5.png",
    } < names
    assert set(told["files"]) | {"config.yaml", "provenance.json", "README.md"} == names
    (kept / "figures" / "old.png").write_bytes(b"")
    reference_folder.write_reference(made, kept, "again")
    assert (
        not (kept / "figures" / "old.png").exists()
        and "| command | again |" in (kept / "README.md").read_text()
    )


def test_large_figures_that_the_paper_lacks_are_left_out(copy: Path, tmp_path: Path) -> None:
    for name in ("difference", "mip", "training", "nps"):
        (copy / "figures" / f"{name}.png").write_bytes(b"\x89PNG")

    written = reference_folder.write_reference(copy, tmp_path / "kept", "x")
    figures = {path.stem for path in written if path.suffix == ".png"}
    assert figures == {"findings", "fig5", "nps"}


def test_no_path_of_the_machine_is_kept(copy: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((copy / "config.yaml").read_text())
    settings |= {"results": str(copy), "studies": str(Path(settings["studies"]).resolve())}
    (copy / "config.yaml").write_text(yaml.safe_dump(settings))

    reference_folder.write_reference(copy, tmp_path / "kept", "x")
    kept = yaml.safe_load((tmp_path / "kept/config.yaml").read_text())
    assert (kept["results"], kept["studies"]) == ("results", "studies.tsv")


def test_networks_of_the_first_seed_and_their_cards_are_kept(copy: Path, tmp_path: Path) -> None:
    names = ["models/v1-net", "models/v2-net", "adapted/TGD-net", "adapted/FT-net"]
    files = [f"{name}{ending}" for name in names for ending in (".safetensors", ".md")]
    for file in files:
        (copy / file).write_bytes(file.encode())

    written = reference_folder.write_reference(copy, tmp_path / "kept", "x")

    kept = sorted(name.name for name in written if name.parent == Path("models"))
    assert kept == [
        "TGD-net.md",
        "TGD-net.safetensors",
        "v1-net.md",
        "v1-net.safetensors",
        "v2-net.md",
        "v2-net.safetensors",
    ]
    for file in files[:6]:
        assert (tmp_path / "kept/models" / Path(file).name).read_bytes() == file.encode()


def test_what_is_too_large_or_unfinished_leaves_the_reference_as_it_was(
    made: Path, kept: Path, copy: Path
) -> None:
    before = (kept / "provenance.json").read_bytes()
    (copy / "figures" / "fig5.png").write_bytes(bytes(6_000_000))
    with pytest.raises(
        ValueError, match=r"6\.\d MB to keep, at most 5 are allowed; largest: figures/fig5\.png"
    ):
        reference_folder.write_reference(copy, kept, "x")
    (copy / "metrics" / "findings.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"findings\.csv: no such file"):
        reference_folder.write_reference(copy, kept, "x")
    with pytest.raises(ValueError, match=r"neither config\.yaml nor seed-\*/config\.yaml"):
        reference_folder.write_reference(copy / "metrics", kept, "x")
    assert (kept / "provenance.json").read_bytes() == before


def test_another_configuration_is_refused(kept: Path, copy: Path) -> None:
    raw = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**raw, "seed": 5, "device": "cuda"}))
    reference_folder.check_same(copy, kept)  # another seed on another device is a repetition
    (copy / "config.yaml").write_text(yaml.safe_dump({**raw, "train": {"epochs": 3}}))
    with pytest.raises(
        ValueError, match=r"not the reference's configuration .*train\.epochs: 3 here, \d+ there"
    ):
        reference_folder.check_same(copy, kept)
    (copy / "config.yaml").write_text(yaml.safe_dump(raw))
    studies = pd.read_csv(kept / "studies.tsv", sep="\t")
    write_csv(kept / "studies.tsv", studies[:-1])
    with pytest.raises(ValueError, match="7 studies; the reference has 6"):
        reference_folder.check_same(copy, kept)
    write_csv(kept / "studies.tsv", studies.assign(bmi=studies.bmi + 1))
    with pytest.raises(ValueError, match=r"study train01 differs from .*studies\.tsv"):
        reference_folder.check_same(copy, kept)


@pytest.mark.parametrize(
    ("name", "alter", "words"),
    [
        ("findings", lambda t: t.drop(columns="low"), "column 'low' is missing"),
        ("findings", lambda t: pd.concat([t, t[:1]]), "repeats another one's"),
        (
            "estimates",
            lambda t: t.assign(measure="weight"),
            "row 2: .*got 'weight'",
        ),
        ("estimates", lambda t: t.assign(value=np.nan), "no value"),
    ],
)
def test_damaged_tables_are_named(
    copy: Path, name: str, alter: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    change(copy / "metrics" / f"{name}.csv", alter)
    with pytest.raises(ValueError, match=rf"{name}\.csv: .*{words}"):
        read_reference(copy)


def test_the_script_fails_when_something_differs_or_nothing_was_compared(
    copy: Path, kept: Path
) -> None:
    def call() -> subprocess.CompletedProcess[str]:
        words = ["scripts/11_check_reference.py", "--results", str(copy), "--reference", str(kept)]
        return subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )

    same = call()
    assert same.returncode == 0 and " OK" in same.stdout, same.stderr
    change(copy / "metrics" / "estimates.csv", lambda t: t[t.measure != "gain"])
    other = call()
    assert other.returncode == 1 and "missing" in other.stdout
    shutil.rmtree(kept)
    none = call()
    assert (
        none.returncode == 1
        and none.stderr.startswith("error: ")
        and "provenance.json" in none.stderr
    )


def test_nothing_compared_is_no_pass(made: Path) -> None:
    bare = read_reference(made).assign(se=np.nan)
    rows = compare(bare, bare)
    assert not passed(rows) and "nothing could be compared" in comparison_text(rows, bare, bare)


def test_make_clean_keeps_the_reference(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "scripts",
        "tests",
        "benchmarks",
        "docs",
        "results/reference/metrics",
        "results/models",
        ".venv",
    ):
        (tmp_path / name).mkdir(parents=True)
    for name in ("results/report.html", "results/reference/metrics/findings.csv"):
        (tmp_path / name).write_text("kept?")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "results").rglob("*"))
    assert left == [
        "results/reference",
        "results/reference/metrics",
        "results/reference/metrics/findings.csv",
    ]
    assert not (tmp_path / ".venv").exists()


def test_git_keeps_the_reference_and_no_other_results() -> None:
    def ignored(path: str) -> bool:
        return (
            subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode
            == 0
        )

    assert ignored("results/report.html") and ignored("results/metrics/findings.csv")
    assert not ignored("results/reference/metrics/findings.csv")


def test_a_wider_intervals_confidence_gives_the_same_standard_error() -> None:
    n = np.array([5.0])
    of_95 = standard_error(np.array([2.776]), n, 0.95)
    of_99 = standard_error(np.array([4.604]), n, np.array([0.99]))
    np.testing.assert_allclose(of_95, of_99, rtol=1e-3)
