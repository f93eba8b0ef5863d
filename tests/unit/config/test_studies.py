"""The table of studies: what ships is valid, what is wrong is named by file, row, column and
value.
"""

from __future__ import annotations

import dataclasses

import pytest

from tgdpet.config.loading import load_config
from tgdpet.config.sections import Config, ConfigError
from tgdpet.config.studies import (
    Lesion,
    Study,
    check_studies,
    input_files,
    parse_lesions,
    read_studies,
    source_options,
    with_role,
)

HEAD = "study\trole\tsource\tbmi\tseed\n"
FULL = HEAD.strip() + "\tpath\tlesions\n"
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
    ids=[
        "byte order mark",
        "windows line ends",
        "empty lines",
        "no last line end",
        "empty path",
        "other column order",
    ],
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
        (
            HEAD + "\na1\ttrain\tanalytic\t21\t1\n",
            ["row 3", "role", "'train'", "did you mean 'train_v1v2'"],
        ),
        (HEAD + "a1\tadapt\tanalitic\t21\t1\n", ["row 2", "source", "did you mean 'analytic'"]),
        (HEAD + "a1\tadapt\timages\t21\t1\n", ["row 2", "path", "file or folder to read"]),
        (
            FULL + "a1\tadapt\timages\t\t\tx\tliver:20:3\n",
            ["row 2", "lesions", "'liver:20:3'", "x:y:z:diameter in mm", "12:-40:210:20"],
        ),
        (
            FULL.replace("lesions", "organs") + "a1\tadapt\tanatomy\t21\t1\tx\to.nii.gz\n",
            ["row 2", "organs", "only with source 'images'"],
        ),
        (
            HEAD + "a1\tadapt\tpetsird\t21\t1\n",
            ["row 2", "path", "the file or folder to read", "nothing"],
        ),
        (
            FULL + "a1\tadapt\tanalytic\t21\t1\tsome/file\n",
            ["row 2", "path", "none with source 'analytic'", "some/file"],
        ),
        (FULL + "a1\tadapt\tanatomy\t21\t1\ta b\n", ["row 2", "path", "'a b' is not allowed"]),
        (FULL + "a1\tadapt\tanatomy\t21\t1\t$(id)\n", ["row 2", "path", "'$(id)' is not allowed"]),
        (
            FULL + "a1\tadapt\tpetsird\t21\t1\tx.petsird\tliver:20:3\n",
            ["row 2", "lesions", "'petsird'"],
        ),
        (
            FULL + "a1\tadapt\tanatomy\t21\t1\tx\tliver:20\n",
            ["row 2", "lesions", "'liver:20'", "liver:20:3"],
        ),
        (
            FULL + "a1\tadapt\tanatomy\t21\t1\tx\tliver:20:-1\n",
            ["row 2", "lesions", "'liver:20:-1'"],
        ),
        (
            FULL + "a1\tadapt\tanatomy\t21\t1\tx\tliver:2:1:4\n",
            ["row 2", "lesions", "'liver:2:1:4'"],
        ),
        (FULL + "a1\tadapt\tanatomy\t21\t1\tx\tli ver:2:1\n", ["row 2", "lesions", "'li ver:2:1'"]),
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


def test_lesions_and_paths_reach_the_command_line(tmp_path):
    rows = (
        "a1\tadapt\tanatomy\t21\t1\tdata/p1\tliver:20:3.5, spleen:12:2\n",
        "b1\tadapt\tanalytic\t21\t2\n",
    )
    one, two = read_studies(write(tmp_path, FULL + "".join(rows)))
    assert one.lesions == (Lesion("liver", 20.0, 3.5), Lesion("spleen", 12.0, 2.0))
    assert two.lesions == ()
    assert (
        source_options(one) == "--source anatomy --path data/p1 --lesions liver:20:3.5,spleen:12:2"
    )
    assert parse_lesions(source_options(one).split()[-1], "") == one.lesions
    assert source_options(two) == "" and input_files(two) == []


def test_what_a_study_is_read_from(tmp_path, raw_config):
    config = load_config(raw_config())
    folder, scan, background = (
        tmp_path / "p",
        tmp_path / "scan.petsird",
        tmp_path / "scan.background.npy",
    )
    patient = Study("p", "adapt", "anatomy", 21.0, 1, str(folder))
    imported = Study("s", "adapt", "petsird", 21.0, 2, str(scan))
    for study in (patient, imported):
        with pytest.raises(
            ConfigError, match=f"study {study.study}: column path: .*: no such file or folder"
        ):
            check_studies(config, [study])
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"expected .*p/labels\.nii\.gz"):
        check_studies(config, [patient])
    for path in (folder / "labels.nii.gz", folder / "ct.nii.gz", scan, background):
        path.touch()
    assert input_files(patient) == [str(folder / "labels.nii.gz"), str(folder / "ct.nii.gz")]
    assert input_files(imported) == [str(scan), str(background)]
    test = dataclasses.replace(imported, role="test_lesion")
    with pytest.raises(
        ConfigError, match=r"needs volumes of interest: expected .*scan\.organs\.nii\.gz"
    ):
        check_studies(config, [test])
    with pytest.raises(
        ConfigError, match="no study has role"
    ):  # the files are all there, or not asked for
        check_studies(config, [patient, imported])
    with pytest.raises(ConfigError, match="no study has role"):
        check_studies(config, [dataclasses.replace(patient, path="gone")], files=False)


def test_a_missing_table(tmp_path):
    with pytest.raises(ConfigError, match="no such table"):
        read_studies(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("name", "train", "adapt"), [("config", 6, 3), ("paper", 20, 7), ("smoke", 2, 1)]
)
def test_shipped_tables_serve_their_configurations(root, raw_config, name, train, adapt):
    config = load_config(raw_config(name))
    studies = read_studies(root / config.studies)
    check_studies(config, studies)
    assert len(with_role(studies, "train_v1v2")) >= train
    assert len(with_role(studies, "adapt")) >= adapt
    assert all(study.bmi < 23 for study in with_role(studies, "adapt"))


def test_paper_studies_are_low_or_high_bmi(root):
    bmi = [
        study.bmi
        for study in with_role(read_studies(root / "config/studies_paper.tsv"), "train_v1v2")
    ]
    assert len(bmi) == 20
    assert all(value < 23 or value > 28 for value in bmi)
    assert 0 < sum(value < 23 for value in bmi) < 20


@pytest.mark.parametrize(
    "role", ["train_v1v2", "adapt", "test_lesion", "test_high_bmi", "test_bladder", "test_catheter"]
)
def test_a_missing_role_is_named(root, raw_config, role):
    config = load_config(raw_config())
    studies = [study for study in read_studies(root / config.studies) if study.role != role]
    with pytest.raises(ConfigError, match=rf"studies.tsv: column role: no study has role '{role}'"):
        check_studies(config, studies)


def test_roles_that_no_network_uses_may_be_absent(root, raw_config):
    raw = raw_config()
    raw["networks"] = {"v1-net": raw["networks"]["v1-net"]}
    config: Config = dataclasses.replace(load_config(raw))
    studies = with_role(
        read_studies(root / config.studies), "train_v1v2", "test_lesion", "test_high_bmi"
    )
    check_studies(config, studies)
