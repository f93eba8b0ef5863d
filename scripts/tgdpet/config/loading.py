"""Configuration files read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checks import check_whole
from .schema import from_mapping
from .sections import Config
from .yaml_files import read_yaml


def load_config(raw: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check `raw` (parsed YAML) and return it as dataclasses; `source` is named in errors.

    Raises ConfigError naming the source, the dotted key, the value and what is allowed.
    """
    config = from_mapping(Config, raw, "", source)

    check_whole(config, source)
    return config


def read_config(path: str | Path) -> Config:
    """Read and check one YAML file (the resolved one that the workflow writes, say)."""
    raw = read_yaml(path)

    return load_config(raw or {}, str(path))


def load_section(section: type, raw: Mapping[str, Any], source: str) -> Any:
    """Check `raw` as one section (a dataclass of `config.sections`) and return that dataclass."""
    return from_mapping(section, raw, "", source)
