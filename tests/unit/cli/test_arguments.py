"""Options are made from the configuration's dataclasses and give them back; errors are one line and
exit code 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tgdpet.cli import arguments
from tgdpet.config import sections
from tgdpet.config.schema import limits
from tgdpet.config.sections import (
    ConfigError,
    Grid,
    NetworkEntry,
    ReconProtocol,
    Sampling,
    ScannerChoice,
    Simulation,
    Training,
)

SECTIONS = [
    Grid([104, 103, 56], [4.0, 4.07283, 2.0371512345]),
    ScannerChoice(preset="clinical", rings=40, tof_fwhm_ps=214.3),
    ScannerChoice(),
    Simulation(scan_s=1234567.5, dose_mbq_per_kg=3.7, lesion_contrast=1 / 3),
    Sampling(levels_s=[30.0, 45.5], realisations=3),
    ReconProtocol([14.0, 10.0, 10.0], 6, 4, [11.5, 9.2, 0.0]),
    Training(learning_rate=1e-4, l2=1.23456789e-5),
    NetworkEntry(method="tgd", base="v1-net", data="adapt", fraction=0.3),
    NetworkEntry(method="tgd", base="v1-net", data="adapt", accumulate=True),
]


@pytest.fixture
def restore_sigterm():  # type: ignore[no-untyped-def]
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def parse(section: type, text: str) -> argparse.Namespace:
    parser = arguments.parser("a script")
    arguments.add_options(parser, section)
    return parser.parse_args(shlex.split(text))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: type(s).__name__)
def test_options_give_the_section_back_exactly(section: object) -> None:
    text = arguments.to_options(section)
    assert arguments.from_options(parse(type(section), text), type(section)) == section


@pytest.mark.parametrize(
    "section", [Grid, ScannerChoice, Simulation, Sampling, ReconProtocol, Training]
)
def test_no_options_mean_the_defaults(section: type) -> None:
    assert arguments.from_options(parse(section, ""), section) == section()


@dataclass(frozen=True)
class Switches:
    """Switches that are on, and off, where nothing is said."""

    warm_up: bool = limits(True, help="on unless switched off")
    plot: bool = limits(False, help="off unless switched on")


def test_switches_are_switched_on_and_off() -> None:
    for warm_up, plot in itertools.product((True, False), repeat=2):
        section = Switches(warm_up, plot)
        text = arguments.to_options(section)
        assert text == f"--{'' if warm_up else 'no-'}warm-up --{'' if plot else 'no-'}plot"
        assert arguments.from_options(parse(Switches, text), Switches) == section
    assert arguments.from_options(parse(Switches, ""), Switches) == Switches(True, False)


def test_short_numbers_stay_short() -> None:
    assert arguments.to_options(ReconProtocol([8.0] * 3, 3, 4)) == (
        "--psf-fwhm-mm 8 8 8 --iterations 3 --subsets 4 --post-fwhm-mm 0 0 0"
    )


def test_one_number_stands_for_all_axes() -> None:
    args = parse(ReconProtocol, "--post-fwhm-mm 11.5")
    assert arguments.from_options(args, ReconProtocol).post_fwhm_mm == [11.5, 11.5, 11.5]

    with pytest.raises(ConfigError, match="post_fwhm_mm.*3 values, got 2"):
        arguments.from_options(parse(ReconProtocol, "--post-fwhm-mm 11.5 9.2"), ReconProtocol)


def test_options_are_checked_like_the_configuration() -> None:
    with pytest.raises(ConfigError, match="scan_s.*-3"):
        arguments.from_options(parse(Simulation, "--scan-s -3"), Simulation)
    with pytest.raises(ConfigError, match="shape.*3 values"):
        arguments.from_options(parse(Grid, "--shape 10 10"), Grid)


def test_keys_can_be_left_out_of_the_options() -> None:
    entry, skip = (
        NetworkEntry(method="finetune", base="x", data="adapt", blocks=8),
        ("base", "data"),
    )
    assert "--base" not in arguments.to_options(
        entry, skip=skip
    ) and "--blocks 8" in arguments.to_options(entry, skip=skip)
    parser = arguments.parser("a script")
    arguments.add_options(parser, NetworkEntry, skip=skip)
    args = parser.parse_args(shlex.split(arguments.to_options(entry, skip=skip)))
    assert "base" not in vars(args)
    assert arguments.from_options(args, NetworkEntry, skip=skip) == NetworkEntry(
        method="finetune", blocks=8
    )


def test_words_with_spaces_survive_a_shell() -> None:
    assert shlex.split(arguments.to_options(NetworkEntry(base="a b")))[-1:] != ["b"]
    assert "a b" in shlex.split(arguments.to_options(NetworkEntry(base="a b")))


def test_help_names_every_option_and_default() -> None:
    parser = arguments.parser("a script")
    for section in (Simulation, Grid):
        arguments.add_options(parser, section)
    text = " ".join(parser.format_help().split())
    assert "--scatter-fraction" in text and "(default: 0.3)" in text
    assert "FWHM" in text


def test_settings_fit_into_a_sidecar() -> None:
    settings = arguments.as_settings(parse(ReconProtocol, "--iterations 5"))
    assert json.loads(json.dumps(settings))["iterations"] == "5"
    assert settings["psf_fwhm_mm"] == ["8.0", "8.0", "8.0"]


@pytest.mark.parametrize(
    "error", [ValueError("a.json: bad"), OSError("a.json: bad"), ConfigError("a.json: bad")]
)
@pytest.mark.usefixtures("restore_sigterm")
def test_wrong_input_is_one_line_and_exit_code_1(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        arguments.run(main)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "error: a.json: bad\n"


@pytest.mark.usefixtures("restore_sigterm")
def test_bugs_keep_their_traceback() -> None:
    def main() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        arguments.run(main)


@pytest.mark.usefixtures("restore_sigterm")
def test_a_stopped_script_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def terminate() -> None:
        signal.raise_signal(signal.SIGTERM)

    def hang_up() -> None:
        signal.raise_signal(signal.SIGHUP)

    for main, code in ((interrupt, 130), (terminate, 143), (hang_up, 129)):
        with pytest.raises(SystemExit) as exit_:
            arguments.run(main)
        assert exit_.value.code == code


def test_every_section_of_the_configuration_can_be_an_option_group() -> None:
    for section in (sections.Network, sections.Score, sections.Resources):
        assert (
            arguments.from_options(parse(section, arguments.to_options(section())), section)
            == section()
        )


@pytest.mark.usefixtures("restore_sigterm")
def test_an_error_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ValueError("a.nii: truncated\n - could the file be damaged?")

    with pytest.raises(SystemExit):
        arguments.run(main)
    assert capsys.readouterr().err == "error: a.nii: truncated - could the file be damaged?\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "no more could be had"),
        (MemoryError("Unable to allocate 8 GiB"), "Unable to allocate 8 GiB"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "DefaultCPUAllocator: can't allocate",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to\n allocate 2 GiB"),
            "CUDA out of memory. Tried to allocate 2 GiB",
        ),
    ],
)
def test_out_of_memory_is_one_line(capsys, error, told) -> None:  # type: ignore[no-untyped-def]
    def main() -> None:
        raise error

    with pytest.raises(SystemExit):
        arguments.run(main)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: out of memory: {told}") and "fewer jobs at once" in line


def test_other_errors_of_torch_keep_their_trace() -> None:
    def main() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        arguments.run(main)


def test_an_adaptation_with_a_key_of_another_method_is_one_line(root) -> None:  # type: ignore[no-untyped-def]
    words = shlex.split("--dataset x --name n --base b --out o --method tgd --blocks 8")
    done = subprocess.run(
        [sys.executable, root / "scripts/07_adapt.py", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "blocks: 8 is not allowed for method 'tgd'; it belongs to finetune: remove it"
    assert (done.returncode, done.stderr) == (1, f"error: command line: {expected}\n")


@pytest.mark.usefixtures("restore_sigterm")
def test_a_hang_up_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    arguments.run(lambda: signal.raise_signal(signal.SIGHUP))


@pytest.mark.usefixtures("restore_sigterm")
def test_an_error_is_printable_and_not_long(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ValueError("a\x1b[2J\nb" + "x" * 10**6)

    with pytest.raises(SystemExit):
        arguments.run(main)
    error = capsys.readouterr().err
    assert error.startswith("error: a\\x1b[2J bxxx") and error.count("\n") == 1
    assert len(error) < 2100


@pytest.mark.parametrize("number", ["2_1", "\u0662", "1:30", "0x10", "21 000"])
def test_numbers_are_read_as_people_do(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--realisations", number], ["--levels-s", "30", number]):
        with pytest.raises(SystemExit):
            parse(Sampling, shlex.join(options))
        assert f"value: {number!r}" in capsys.readouterr().err
