"""Checked mappings: frozen dataclasses with limits, built from parsed YAML or turned into a JSON
schema.

Nothing here knows what the settings mean; `tgdpet.config.sections` does.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from ..io.damage import one_line, shown

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+-]{0,99}$")
PLAIN_NUMBER = re.compile(
    r"[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE
)
PLAIN_WHOLE = re.compile(r"[-+]?[0-9]{1,30}", re.ASCII)
# The scalar types of a field, in errors and in a JSON schema.
LARGEST = 2**63  # below which whole numbers are
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
JSON_SCALARS = tuple(JSON_TYPES)


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names file, key, value and what is
    allowed, in one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def limits(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    length: int | None = None,
    least: int = 1,
    one_for_all: bool = False,
    help: str = "",
) -> Any:
    """A dataclass field with its limits (`low <= x <= high`, `x > above`, `least` values of a list)
    and its help. With `one_for_all`, a single value stands for all `length` values of a list.
    """
    meta = {
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "length": length,
        "least": least,
        "one_for_all": one_for_all,
        "help": help,
    }

    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=meta)

    return field(default=default, metadata=meta)


def plain_float(text: str) -> float:
    """The number that a text writes out; ValueError for what Python alone reads as one: 2_1, ٣."""
    if not PLAIN_NUMBER.fullmatch(text.strip()):
        raise ValueError(f"expected a number, got {shown(text)}")

    return float(text)


def plain_int(text: str) -> int:
    """The whole number that a text writes out; ValueError as `plain_float`."""
    if not PLAIN_WHOLE.fullmatch(text.strip()):
        raise ValueError(f"expected a whole number, got {shown(text)}")

    return int(text)


def from_mapping(cls: type, raw: Any, key: str, source: str) -> Any:
    """An instance of the dataclass `cls` from the mapping `raw`, found at `key` of the file
    `source`.

    Raises ConfigError naming the source, the dotted key, the value and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{source}: {key or 'top level'}: expected a mapping, got {shown(raw)}")

    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}

    for name in raw:
        if name not in fields:
            unknown = f"unknown key {shown(_dot(key, name))} (value {shown(raw[name])})"
            raise ConfigError(f"{source}: {unknown}; {nearest(name, fields)}")

    values = {}
    for name, value in raw.items():
        values[name] = _value(hints[name], value, _dot(key, name), fields[name].metadata, source)

    return cls(**values)


def _value(hint: Any, raw: Any, key: str, meta: Mapping[str, Any], source: str) -> Any:
    """`raw` checked as a value of the type `hint` with the limits `meta`."""
    hint, optional = strip_optional(hint)
    if raw is None and optional:
        return None

    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), raw, key, source)

    if typing.get_origin(hint) is dict:
        return _named(typing.get_args(hint)[1], raw, key, source)

    if typing.get_origin(hint) is list:
        return _list(typing.get_args(hint)[0], raw, key, meta, source)

    return _scalar(hint, raw, key, meta, source)


def _named(hint: Any, raw: Any, key: str, source: str) -> dict[str, Any]:
    """A mapping of names, which the user chooses, to values of the type `hint`; null takes away
    what a file that is laid under this one has of that name.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{source}: {key}: expected a mapping, got {shown(raw)}")

    for name in raw:
        if not NAME.fullmatch(str(name)):
            allowed = "a name has letters, digits, '+' and '-' only, at most 100"
            raise ConfigError(f"{source}: {shown(_dot(key, name))}: {allowed}")

    named = {str(name): value for name, value in raw.items() if value is not None}
    return {name: _value(hint, v, _dot(key, name), {}, source) for name, v in named.items()}


def _list(hint: type, raw: Any, key: str, meta: Mapping[str, Any], source: str) -> list[Any]:
    length = meta.get("length")

    if length and meta.get("one_for_all") and isinstance(raw, JSON_SCALARS):
        return [_scalar(hint, raw, key, meta, source)] * length

    if not isinstance(raw, list):
        raise ConfigError(f"{source}: {key}: expected a list, got {shown(raw)}")

    if length is not None and len(raw) != length:
        raise ConfigError(
            f"{source}: {key}: expected {length} values, got {len(raw)}: {shown(raw)}"
        )

    if not raw and meta.get("least", 1):
        raise ConfigError(f"{source}: {key}: expected at least one value, got an empty list")

    return [_scalar(hint, value, f"{key}[{i}]", meta, source) for i, value in enumerate(raw)]


def _scalar(hint: type, raw: Any, key: str, meta: Mapping[str, Any], source: str) -> Any:
    # YAML reads 600 as a whole number, and true as a bool, which Python takes for a number.
    is_bool = isinstance(raw, bool)
    if hint is float and isinstance(raw, int) and not is_bool and abs(raw) < LARGEST:
        raw = float(raw)

    if not isinstance(raw, hint) or (is_bool and hint is not bool):
        expected = f"expected {KINDS[hint]}, got {shown(raw)}"
        advice = " (write 1.0e-3, not 1e-3)" if hint is float and isinstance(raw, str) else ""
        raise ConfigError(f"{source}: {key}: {expected}{advice}")

    if isinstance(raw, int) and abs(raw) >= LARGEST:
        raise ConfigError(f"{source}: {key}: {shown(raw)} is not allowed; it is too large")

    if isinstance(raw, float) and not math.isfinite(raw):
        raise ConfigError(f"{source}: {key}: {raw} is not allowed; expected a finite number")

    if not _within(raw, meta):
        allowed = _range_text(meta)
        raise ConfigError(f"{source}: {key}: {shown(raw)} is not allowed; allowed is {allowed}")

    return raw


def _within(value: Any, meta: Mapping[str, Any]) -> bool:
    """Whether a scalar keeps the limits of `limits`."""
    if meta.get("choices") and value not in meta["choices"]:
        return False

    if meta.get("low") is not None and value < meta["low"]:
        return False

    if meta.get("high") is not None and value > meta["high"]:
        return False

    return meta.get("above") is None or bool(value > meta["above"])


def object_schema(cls: type) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the dataclass `cls`."""
    hints = typing.get_type_hints(cls)

    properties = {}
    for member in dataclasses.fields(cls):
        properties[member.name] = _property_schema(hints[member.name], member.metadata)

    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": properties,
        "additionalProperties": False,
    }


def _property_schema(hint: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    hint, optional = strip_optional(hint)

    if dataclasses.is_dataclass(hint):
        return object_schema(typing.cast(type, hint))

    if typing.get_origin(hint) is dict:
        named = _property_schema(typing.get_args(hint)[1], {})
        return {
            "type": "object",
            "propertyNames": {"pattern": NAME.pattern},
            "additionalProperties": {**named, "type": [named["type"], "null"]},
        }

    if typing.get_origin(hint) is list:
        schema = _list_schema(typing.get_args(hint)[0], meta)
    else:
        schema = _scalar_schema(hint, meta, optional)

    return {**schema, "description": meta["help"]} if meta.get("help") else schema


def _list_schema(hint: type, meta: Mapping[str, Any]) -> dict[str, Any]:
    length = meta.get("length")

    schema: dict[str, Any] = {
        "type": "array",
        "items": _scalar_schema(hint, meta, False),
        "minItems": length or meta.get("least", 1),
    }
    if length:
        schema["maxItems"] = length

    # JSON schema applies limits of numbers to numbers and those of lists to lists
    if meta.get("one_for_all"):
        one = _scalar_schema(hint, meta, False)
        return {**one, **schema, "type": ["array", one["type"]]}

    return schema


def _scalar_schema(hint: type, meta: Mapping[str, Any], optional: bool) -> dict[str, Any]:
    name = JSON_TYPES[hint]
    schema: dict[str, Any] = {"type": [name, "null"] if optional else name}

    limits_in_json = (("low", "minimum"), ("high", "maximum"), ("above", "exclusiveMinimum"))
    for limit, keyword in limits_in_json:
        if meta.get(limit) is not None:
            schema[keyword] = meta[limit]

    if meta.get("choices"):
        schema["enum"] = list(meta["choices"])

    return schema


def strip_optional(hint: Any) -> tuple[Any, bool]:
    """The type inside `X | None`, and whether None was allowed."""
    if not isinstance(hint, types.UnionType):
        return hint, False

    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0], True


def _range_text(meta: Mapping[str, Any]) -> str:
    """The allowed values of `limits` as text: `> 0 and <= 20`, or the choices."""
    if meta.get("choices"):
        return ", ".join(map(str, meta["choices"]))

    parts = []
    for limit, sign in (("above", ">"), ("low", ">="), ("high", "<=")):
        if meta.get(limit) is not None:
            parts.append(f"{sign} {meta[limit]:g}")

    return " and ".join(parts)


def nearest(name: Any, names: typing.Iterable[str]) -> str:
    """The end of an error about an unknown name: which one may be meant, or which there are."""
    names = list(names)
    close = difflib.get_close_matches(str(name)[:100], names, n=1)

    return f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(names)}"


def _dot(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)
