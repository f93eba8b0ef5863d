"""Every block of code on a page is run or checked, or the page says that it is not and why."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

import markdown_pages
import shell_commands
from markdown_pages import PAGES, Block
from shell_commands import Wrong
from tgdpet.config.loading import load_config

LISTING = "text"  # a diagram, an equation, what a program prints
WITH_PYTHON = [page for page in PAGES if "```python" in markdown_pages.read(page)]
SHELL = ("bash", "sh", "console")
COMMANDS = ("make ", "snakemake ", "tgdpet ", "python scripts/", "python examples/",
            "python benchmarks/", "python -m tgdpet ")  # fmt: skip


@pytest.fixture
def somebodys_network() -> dict[str, Any]:
    """What README.md's example takes for given."""
    import torch

    from tgdpet.networks import DnCNN

    images = torch.rand(2, 3, 16, 16)
    return {
        "model": DnCNN(width=0.0625),
        "example_input": images[:1],
        "batches": [(images, images), (images, images)],
    }


def checked(block: Block, copied: dict[str, str]) -> None:
    """Raise Wrong if a shell block has a command that is refused, or one that nobody knows."""
    for words in shell_commands.lines(block.text):
        if not shell_commands.check(words, copied) and not block.not_run:
            raise Wrong(f"{words[0]}: nobody here can check this; mark it as not run, and say why")


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_blocks_run_in_order(page, somebodys_network, one_thread, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "page", **somebodys_network}

    for block in markdown_pages.blocks(page):
        if block.language != "python":
            continue

        code = compile("\n" * block.line + block.text, page, "exec")
        if not block.not_run:
            exec(code, space)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_blocks_would_be_accepted(page):
    copied: dict[str, str] = {}

    for block in markdown_pages.blocks(page):
        if block.language in SHELL:
            try:
                checked(block, copied)
            except Wrong as wrong:
                pytest.fail(f"{block}: {wrong}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_would_be_accepted(page):
    for code in markdown_pages.inline_code(page):
        if not code.startswith(COMMANDS):
            continue

        try:
            shell_commands.options_exist(shlex.split(code))
        except Wrong as wrong:
            pytest.fail(f"{page}: `{code}`: {wrong}")


@pytest.mark.parametrize("page", PAGES)
def test_yaml_blocks_are_configurations(page, raw_config):
    for block in markdown_pages.blocks(page):
        if block.language != "yaml" or block.not_run:
            continue

        given = yaml.safe_load(block.text)
        load_config({**raw_config(), **given, "score": {"network": "v1-net"}}, str(block))


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_of_a_kind_that_nobody_checks(page):
    for block in markdown_pages.blocks(page):
        known = block.language in (LISTING, "python", "yaml", *SHELL)
        assert known or block.not_run, f"{block}: say what it is, or mark it as not run"

        if block.language == LISTING:
            assert not block.text.startswith(COMMANDS), f"{block}: a command, so a block of bash"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_made_by_indentation_alone(page):
    lines = markdown_pages.prose(page).splitlines()
    held = False  # within a list or a note, whose text is indented

    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith(" "):
            held = line.startswith(("- ", "* ", "!!!", "???", ":::")) or line[0].isdigit()
        code = line.startswith("    ") and not before.strip() and not held
        assert not code, f"{page}: {line.strip()!r} is a block of code without a fence"


@pytest.mark.parametrize(
    "text",
    [
        "ls results\n",
        "make everything\n",
        "make demo CORE=1\n",
        "snakemake --configfile config/nothing.yaml\n",
        "snakemake --workflow-profile profiles/mine\n",
        "snakemake figure_seven\n",
        "snakemake --corse 2\n",
        "python scripts/05_training.py\n",
        "python scripts/05_train.py --widht 1\n",
        "python examples/tgd_on_your_network.py --stepz 3\n",
        "tgdpet denoise in.nii.gz out.nii.gz\n",
    ],
)
def test_wrong_commands_are_found(text):
    (block,) = markdown_pages.blocks("page", f"```bash\n{text}```\n")
    with pytest.raises(Wrong):
        checked(block, {})


def test_a_marker_excuses_only_what_nobody_can_check():
    page = "<!-- not run: needs SLURM -->\n```bash\nsqueue --me\n{}```\n"

    (block,) = markdown_pages.blocks("page", page.format(""))
    checked(block, {})

    (block,) = markdown_pages.blocks("page", page.format("make everything\n"))
    with pytest.raises(Wrong):
        checked(block, {})
