"""The repository's own pages: their blocks of code, their commands in the text, their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", ".github/*.md", "docs/**/*.md", "*/README.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)

FENCE = re.compile(r"^( *)(`{3,})(\S*)[^\n]*\n(.*?)^\1\2 *$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n+\Z")
COMMENT = re.compile(r"<!--.*?-->", re.S)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[(?:[^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it starts, its language, its text, and why it is not run."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    """The text of a page, named from the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str | None = None) -> Iterator[Block]:
    """The fenced blocks of a page; a comment `<!-- not run: why -->` before one marks it."""
    text = read(page) if text is None else text

    for match in FENCE.finditer(text):
        before, indent = text[: match.start()], match[1]
        marker = NOT_RUN.search(before)
        body = re.sub(f"^{indent}", "", match[4], flags=re.M)
        yield Block(page, before.count("\n") + 1, match[3], body, marker[1] if marker else None)


def prose(page: str) -> str:
    """A page without its blocks and comments."""
    return COMMENT.sub("", FENCE.sub("", read(page)))


def inline_code(page: str) -> list[str]:
    """What stands between single backticks."""
    return INLINE.findall(prose(page))


def links(page: str) -> list[str]:
    """The targets of a page's links and images that lead to a file or a heading."""
    text = INLINE.sub("", prose(page))
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.M)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}
