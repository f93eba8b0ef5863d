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

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+-]*$")


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names file, key, value and what is
    allowed.
    """


def limits(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    length: int | None = None,
    least: int = 1,
    help: str = "",
) -> Any:
    """A dataclass field with its limits (`low <= x <= high`, `x > above`, `least` values of a list)
    and its help.
    """
    meta: dict[str, Any] = {"low": low, "high": high, "above": above, "choices": choices}
    meta |= {"length": length, "least": least, "help": help}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=meta)
    return field(default=default, metadata=meta)


def build(cls: type, raw: Any, key: str, source: str) -> Any:
    """An instance of the dataclass `cls` from the mapping `raw`, found at `key` of the file
    `source`.

    Raises ConfigError naming the source, the dotted key, the value and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{source}: {key or 'top level'}: expected a mapping, got {_show(raw)}")
    hints = typing.get_type_hints(cls)
    names = {f.name: f for f in dataclasses.fields(cls)}
    for name in raw:
        if name not in names:
            raise ConfigError(
                f"{source}: unknown key {_dot(key, name)!r} (value {_show(raw[name])}); {nearest(name, names)}"
            )
    values = {n: _value(hints[n], raw[n], _dot(key, n), names[n].metadata, source) for n in raw}
    return cls(**values)


def _value(hint: Any, raw: Any, key: str, meta: Mapping[str, Any], source: str) -> Any:
    hint, optional = strip_optional(hint)
    if raw is None and optional:
        return None
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), raw, key, source)
    if origin is dict:
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{source}: {key}: expected a mapping, got {_show(raw)}")
        inner = typing.get_args(hint)[1]
        for name in raw:
            if not NAME.fullmatch(str(name)):
                raise ConfigError(
                    f"{source}: {_dot(key, name)!r}: a name has letters, digits, '+' and '-' only"
                )
        return {str(n): _value(inner, v, _dot(key, n), {}, source) for n, v in raw.items()}
    if origin is list:
        if not isinstance(raw, list):
            raise ConfigError(f"{source}: {key}: expected a list, got {_show(raw)}")
        length = meta.get("length")
        if length is not None and len(raw) != length:
            raise ConfigError(f"{source}: {key}: expected {length} values, got {len(raw)}: {raw}")
        if not raw and meta.get("least", 1):
            raise ConfigError(f"{source}: {key}: expected at least one value, got an empty list")
        return [
            _scalar(typing.get_args(hint)[0], v, f"{key}[{i}]", meta, source)
            for i, v in enumerate(raw)
        ]
    return _scalar(hint, raw, key, meta, source)


def _scalar(hint: type, raw: Any, key: str, meta: Mapping[str, Any], source: str) -> Any:
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        raw = float(raw)
    if not isinstance(raw, hint) or (isinstance(raw, bool) and hint is not bool):
        wanted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[
            hint
        ]
        hint_text = " (write 1.0e-3, not 1e-3)" if hint is float and isinstance(raw, str) else ""
        raise ConfigError(f"{source}: {key}: expected {wanted}, got {_show(raw)}{hint_text}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ConfigError(f"{source}: {key}: {raw} is not allowed; expected a finite number")
    bad = (
        (meta.get("choices") and raw not in meta["choices"])
        or (meta.get("low") is not None and not raw >= meta["low"])
        or (meta.get("high") is not None and not raw <= meta["high"])
        or (meta.get("above") is not None and not raw > meta["above"])
    )
    if bad:
        raise ConfigError(
            f"{source}: {key}: {_show(raw)} is not allowed; allowed is {_range_text(meta)}"
        )
    return raw


def object_schema(cls: type) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the dataclass `cls`."""
    hints = typing.get_type_hints(cls)
    properties = {
        f.name: _property_schema(hints[f.name], f.metadata) for f in dataclasses.fields(cls)
    }
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": properties,
        "additionalProperties": False,
    }


def _property_schema(hint: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    hint, optional = strip_optional(hint)
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return object_schema(typing.cast(type, hint))
    if origin is dict:
        inner = _property_schema(typing.get_args(hint)[1], {})
        return {
            "type": "object",
            "propertyNames": {"pattern": NAME.pattern},
            "additionalProperties": inner,
        }
    if origin is list:
        out: dict[str, Any] = {
            "type": "array",
            "items": _scalar_schema(typing.get_args(hint)[0], meta, False),
            "minItems": meta.get("length") or meta.get("least", 1),
        }
        if meta.get("length"):
            out["maxItems"] = meta["length"]
    else:
        out = _scalar_schema(hint, meta, optional)
    return {**out, "description": meta["help"]} if meta.get("help") else out


def _scalar_schema(hint: type, meta: Mapping[str, Any], optional: bool) -> dict[str, Any]:
    name = {int: "integer", float: "number", str: "string", bool: "boolean"}[hint]
    out: dict[str, Any] = {"type": [name, "null"] if optional else name}
    for ours, theirs in (("low", "minimum"), ("high", "maximum"), ("above", "exclusiveMinimum")):
        if meta.get(ours) is not None:
            out[theirs] = meta[ours]
    if meta.get("choices"):
        out["enum"] = list(meta["choices"])
    return out


def strip_optional(hint: Any) -> tuple[Any, bool]:
    """The type inside `X | None`, and whether None was allowed."""
    if isinstance(hint, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner[0], True
    return hint, False


def _range_text(meta: Mapping[str, Any]) -> str:
    if meta.get("choices"):
        return ", ".join(map(str, meta["choices"]))
    parts = [
        f"{sign} {meta[k]:g}"
        for k, sign in (("above", ">"), ("low", ">="), ("high", "<="))
        if meta.get(k) is not None
    ]
    return " and ".join(parts)


def nearest(name: Any, names: typing.Iterable[str]) -> str:
    """The closing words of an error about an unknown name: which one may be meant, or which there
    are.
    """
    names = list(names)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(names)}"


def _dot(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
