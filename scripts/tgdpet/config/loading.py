"""Configuration files read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checks import check_whole
from .schema import ConfigError, from_mapping
from .sections import Config


def load_config(raw: Mapping[str, Any], source: str = "configuration") -> Config:
    """Check `raw` (parsed YAML) and return it as dataclasses; `source` is named in errors.

    Raises ConfigError naming the source, the dotted key, the value and what is allowed.
    """
    config = from_mapping(Config, raw, "", source)

    check_whole(config, source)
    return config


def read_config(path: str | Path) -> Config:
    """Read and check one YAML file (the resolved one that the workflow writes, say)."""
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from error

    return load_config(raw or {}, str(path))


def load_section(section: type, raw: Mapping[str, Any], source: str) -> Any:
    """Check `raw` as one section (a dataclass of `config.sections`) and return that dataclass."""
    return from_mapping(section, raw, "", source)
