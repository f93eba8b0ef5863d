"""The table of studies: what ships is valid, what is wrong is named by file, row, column and value."""

from __future__ import annotations

import dataclasses

import pytest

from tgdpet.config import Config, ConfigError, load
from tgdpet.studies import Study, check_roles, read_studies, with_role

HEAD = "study\trole\tsource\tbmi\tseed\n"
GOOD = HEAD + "a1\ttrain_v1v2\tanalytic\t21\t1\nb2\tadapt\tanalytic\t20.5\t2\n"


def write(tmp_path, text):
    path = tmp_path / "table.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_good_table(tmp_path):
    assert read_studies(write(tmp_path, GOOD)) == [
        Study("a1", "train_v1v2", "analytic", 21.0, 1),
        Study("b2", "adapt", "analytic", 20.5, 2),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        GOOD.rstrip("\n"),
        GOOD.replace("seed\n", "seed\tpath\n"),
        "seed\tbmi\tsource\trole\tstudy\n1\t21\tanalytic\ttrain_v1v2\ta1\n2\t20.5\tanalytic\tadapt\tb2\n",
    ],
    ids=["byte order mark", "windows line ends", "empty lines", "no last line end", "empty path", "other column order"],
)
def test_harmless_differences(tmp_path, text):
    assert read_studies(write(tmp_path, text)) == read_studies(write(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        (HEAD, ["no study"]),
        (GOOD.replace("\t", ","), ["row 1", "tabs"]),
        (GOOD.replace("\tseed", "").replace("\t1\n", "\n"), ["row 1", "'seed'", "missing"]),
        (GOOD.replace("seed\n", "seed\tpaht\n"), ["row 1", "'paht'", "did you mean 'path'"]),
        (HEAD + "a1\ttrain_v1v2\tanalytic\t21\n", ["row 2", "5 cells", "4"]),
        (HEAD + "\na1\ttrain\tanalytic\t21\t1\n", ["row 3", "role", "'train'", "did you mean 'train_v1v2'"]),
        (HEAD + "a1\tadapt\tanalitic\t21\t1\n", ["row 2", "source", "did you mean 'analytic'"]),
        (HEAD + "a1\tadapt\tpetsird\t21\t1\n", ["row 2", "source", "'petsird'", "not yet read by this version"]),
        (HEAD + "a_1\tadapt\tanalytic\t21\t1\n", ["row 2", "study", "'a_1'", "letters and digits"]),
        (HEAD + "\tadapt\tanalytic\t21\t1\n", ["row 2", "study", "''"]),
        (HEAD + "a1\tadapt\tanalytic\t9\t1\n", ["row 2", "bmi", "'9'", "10 to 80"]),
        (HEAD + "a1\tadapt\tanalytic\tnan\t1\n", ["row 2", "bmi", "'nan'"]),
        (HEAD + "a1\tadapt\tanalytic\tinf\t1\n", ["row 2", "bmi", "'inf'"]),
        (HEAD + "a1\tadapt\tanalytic\tslim\t1\n", ["row 2", "bmi", "'slim'"]),
        (HEAD + "a1\tadapt\tanalytic\t21\t-1\n", ["row 2", "seed", "'-1'"]),
        (HEAD + "a1\tadapt\tanalytic\t21\t1.5\n", ["row 2", "seed", "'1.5'"]),
        (HEAD + "a1\tadapt\tanalytic\t21\t" + "9" * 5000 + "\n", ["row 2", "seed", "whole number"]),
        (GOOD + "a1\tadapt\tanalytic\t21\t3\n", ["row 4", "study", "'a1'", "row 2"]),
        (GOOD + "A1\tadapt\tanalytic\t21\t3\n", ["row 4", "study", "'A1'", "row 2"]),
        (GOOD + "c1\tadapt\tanalytic\t21\t1\n", ["row 4", "seed", "row 2", "a1", "anatomy twice"]),
        (b"\xff\xfe\x00", ["not a text file"]),
    ],
    ids=lambda value: None if isinstance(value, (str, bytes)) else " ".join(value),
)
def test_an_error_names_file_row_column_and_value(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_studies(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_table(tmp_path):
    with pytest.raises(ConfigError, match="no such table"):
        read_studies(tmp_path / "none.tsv")


@pytest.mark.parametrize(("name", "train", "adapt"), [("config", 6, 3), ("paper", 20, 7), ("smoke", 2, 1)])
def test_shipped_tables_serve_their_configurations(root, raw_config, name, train, adapt):
    config = load(raw_config(name))
    studies = read_studies(root / config.studies)
    check_roles(config, studies)
    assert len(with_role(studies, "train_v1v2")) >= train
    assert len(with_role(studies, "adapt")) >= adapt
    assert all(study.bmi < 23 for study in with_role(studies, "adapt"))


def test_paper_studies_are_low_or_high_bmi(root):
    bmi = [study.bmi for study in with_role(read_studies(root / "config/studies_paper.tsv"), "train_v1v2")]
    assert len(bmi) == 20
    assert all(value < 23 or value > 28 for value in bmi)
    assert 0 < sum(value < 23 for value in bmi) < 20


@pytest.mark.parametrize(
    "role", ["train_v1v2", "adapt", "test_lesion", "test_high_bmi", "test_bladder", "test_catheter"]
)
def test_a_missing_role_is_named(root, raw_config, role):
    config = load(raw_config())
    studies = [study for study in read_studies(root / config.studies) if study.role != role]
    with pytest.raises(ConfigError, match=rf"studies.tsv: column role: no study has role '{role}'"):
        check_roles(config, studies)


def test_roles_that_no_network_uses_may_be_absent(root, raw_config):
    raw = raw_config()
    raw["networks"] = {"v1-net": raw["networks"]["v1-net"]}
    config: Config = dataclasses.replace(load(raw))
    studies = with_role(read_studies(root / config.studies), "train_v1v2", "test_lesion", "test_high_bmi")
    check_roles(config, studies)
