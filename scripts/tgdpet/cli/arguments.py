"""The command line of the numbered scripts: options from the configuration's dataclasses, errors in
one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
import sys
import time
import typing
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.loading import load_section
from ..config.schema import plain_float, plain_int, strip_optional
from ..io import files, recorder
from ..io.damage import one_line

# How torch says that memory of the machine or of the GPU is out: all are RuntimeErrors.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows defaults in its help."""
    shown = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    shown.add_argument("--version", action="version", version=f"tgdpet {__version__}")
    read_plain_numbers(shown)

    return shown


def read_plain_numbers(parser: argparse.ArgumentParser) -> None:
    """Have a parser's numbers read as people do: Python takes 2_1 for 21."""
    parser.register("type", int, plain_int)
    parser.register("type", float, plain_float)


def add_options(
    parser: argparse.ArgumentParser,
    section: type,
    title: str | None = None,
    skip: Container[str] = (),
) -> None:
    """One `--kebab-case` option for each scalar or list field of a configuration dataclass, but
    those in `skip`.
    """
    summary = (section.__doc__ or section.__name__).strip().rstrip(".")
    group = parser.add_argument_group(title or summary)
    defaults = section()
    hints = typing.get_type_hints(section)

    for field in dataclasses.fields(section):
        if field.name not in skip:
            _add_option(group, field, hints[field.name], getattr(defaults, field.name))


def _add_option(
    group: argparse._ArgumentGroup, field: dataclasses.Field[Any], hint: Any, default: Any
) -> None:
    """The option of one field; `hint` is its type, None being what an absent option means."""
    hint, _ = strip_optional(hint)
    flag = _flag(field.name)
    meaning = (field.metadata.get("help") or field.name).replace("%", "%%")

    if hint is bool:
        group.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            default=default,
            help=meaning,
        )
        return

    is_list = typing.get_origin(hint) is list
    kind = typing.get_args(hint)[0] if is_list else hint

    choices = field.metadata.get("choices")
    shown = "{" + ",".join(choices) + "}" if choices else kind.__name__

    group.add_argument(
        flag,
        type=kind,
        nargs="+" if is_list else None,
        default=default,
        metavar=shown,
        help=meaning,
    )


def from_options(args: argparse.Namespace, section: type, skip: Container[str] = ()) -> Any:
    """The configuration dataclass that the parsed options describe, checked against its limits."""
    values = {}
    for field in dataclasses.fields(section):
        if field.name in skip:
            continue

        value = getattr(args, field.name)
        if value is None:
            continue

        stands_for_all = field.metadata.get("one_for_all") and len(value) == 1
        values[field.name] = value[0] if stands_for_all else value

    return load_section(section, values, "command line")


def to_options(section: Any, skip: Container[str] = ()) -> str:
    """The options, as typed in a shell, that give `section` back through `from_options`."""
    options: list[str] = []
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if value is None or field.name in skip:
            continue

        if isinstance(value, bool):
            options.append(_flag(field.name if value else f"no_{field.name}"))
            continue

        values = value if isinstance(value, list) else [value]
        options.append(_flag(field.name))
        options += [word(v) for v in values]

    return " ".join(options)


def as_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The parsed options as JSON values, for a sidecar."""
    settings: dict[str, Any] = {}
    for name, value in vars(args).items():
        if isinstance(value, list):
            settings[name] = [str(element) for element in value]
        else:
            settings[name] = str(value)

    return settings


def run(main: Callable[[], Iterable[Path] | None]) -> None:
    """Run a script; what is wrong with its input is one line on the screen and exit code 1.

    `main` returns the files that it read, as far as the command line does not name them; outputs
    without a sidecar of their own get a record of these inputs (`io.recorder`).
    """
    # As exceptions, so that temporary files are removed: a job is stopped, a terminal is closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does
            signal.signal(number, lambda received, _: sys.exit(128 + received))

    try:
        _run_recorded(main)

    except (ValueError, OSError) as error:
        print(f"error: {_in_one_line(error)}", file=sys.stderr)
        sys.exit(1)

    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _lacks_memory(error)):
            raise

        reason = _in_one_line(error) or "no more could be had"
        advice = "run fewer jobs at once, or ask for more (mem_mb)"
        print(f"error: out of memory: {reason}; {advice}", file=sys.stderr)
        sys.exit(1)

    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run_recorded(main: Callable[[], Iterable[Path] | None]) -> None:
    started = time.time()
    n_before = len(files.written)

    inputs = main()

    # Working files are gone by now.
    outputs = [path for path in files.written[n_before:] if path.exists()]
    recorder.write_records(outputs, inputs or (), sys.argv[1:], started)


def _in_one_line(error: BaseException) -> str:
    return one_line(str(error))


def _lacks_memory(error: RuntimeError) -> bool:
    return any(phrase in str(error) for phrase in OUT_OF_MEMORY)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def word(value: Any) -> str:
    """A value as one word of a command line, floats as short as they can be exactly."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)

    return shlex.quote(str(value))
