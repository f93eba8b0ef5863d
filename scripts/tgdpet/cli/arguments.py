"""The command line of the numbered scripts: options from the configuration's dataclasses, errors in
one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
import sys
import typing
from collections.abc import Callable, Container
from typing import Any

from .. import __version__
from ..config.loading import load_section
from ..config.sections import strip_optional
from ..io import recorder


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows defaults in its help."""
    out = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    out.add_argument("--version", action="version", version=f"tgdpet {__version__}")
    return out


def add_options(
    out: argparse.ArgumentParser, section: type, title: str | None = None, skip: Container[str] = ()
) -> None:
    """One `--kebab-case` option for each scalar or list field of a configuration dataclass, but
    those in `skip`.
    """
    group = out.add_argument_group(
        title or (section.__doc__ or section.__name__).strip().rstrip(".")
    )
    defaults, hints = section(), typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        if field.name in skip:
            continue
        hint, _ = strip_optional(hints[field.name])
        text = (field.metadata.get("help") or field.name).replace("%", "%%")
        if hint is bool:
            group.add_argument(
                _flag(field.name), action=argparse.BooleanOptionalAction, default=getattr(defaults, field.name),
                help=text,
            )  # fmt: skip
            continue
        many = typing.get_origin(hint) is list
        kind = typing.get_args(hint)[0] if many else hint
        group.add_argument(
            _flag(field.name),
            type=kind,
            nargs="+" if many else None,
            default=getattr(defaults, field.name),
            metavar="{" + ",".join(choices) + "}"
            if (choices := field.metadata.get("choices"))
            else kind.__name__,
            help=text,
        )


def from_options(args: argparse.Namespace, section: type, skip: Container[str] = ()) -> Any:
    """The configuration dataclass that the parsed options describe, checked against its limits."""
    values = {
        f.name: getattr(args, f.name) for f in dataclasses.fields(section) if f.name not in skip
    }
    return load_section(section, {k: v for k, v in values.items() if v is not None}, "command line")


def to_options(section: Any, skip: Container[str] = ()) -> str:
    """The command-line text that gives `section` back through `from_options`."""
    words: list[str] = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if value is None or field.name in skip:
            continue
        if isinstance(value, bool):
            words.append(_flag(field.name if value else f"no_{field.name}"))
        else:
            many = isinstance(value, list)
            words += [_flag(field.name), *(word(v) for v in (value if many else [value]))]
    return " ".join(words)


def as_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The parsed options as JSON values, for a sidecar."""
    return {
        key: [str(v) for v in value] if isinstance(value, list) else str(value)
        for key, value in vars(args).items()
    }


def run(main: Callable[[], None]) -> None:
    """Run a script; what is wrong with its input is one line on the screen and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed
    try:
        with recorder.recorded(sys.argv[1:]):
            main()
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _lacks_memory(error)):
            raise
        words = " ".join(str(error).split()) or "no more could be had"
        print(
            f"error: out of memory: {words}; run fewer jobs at once, or ask for more (mem_mb)",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _lacks_memory(error: RuntimeError) -> bool:
    """Whether torch says that memory of the machine or the GPU is out; both are RuntimeErrors."""
    return any(
        words in str(error)
        for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def word(value: Any) -> str:
    """A value as one word of a command line, floats as short as they can be exactly."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return shlex.quote(str(value))
