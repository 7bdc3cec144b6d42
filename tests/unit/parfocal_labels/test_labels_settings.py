from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from parfocal_labels.config import PREFIX, LabelsConfig
from parfocal_runtime.config import ConfigError, ServerConfig, from_env

README = Path(__file__).parents[3] / "services" / "labels" / "README.md"
OWN = [each for each in fields(LabelsConfig) if each not in fields(ServerConfig)]


def test_the_readme_lists_every_setting_of_the_service() -> None:
    rows = re.findall(r"^\| `(PARFOCAL_\w+)` \| `?([^|`]+)`? \|", README.read_text(), re.MULTILINE)

    own = {f"{PREFIX}_{each.name.upper()}": str(each.default) for each in OWN}
    assert {name: default.strip() for name, default in rows} == own


def test_the_readme_lists_every_column_of_a_snapshot() -> None:
    from parfocal_labels.snapshots import SCHEMA

    text = README.read_text()

    assert [name for name in SCHEMA.names if f"`{name}`" not in text] == []


def test_settings_are_read_from_the_environment() -> None:
    config = from_env(LabelsConfig, {"PARFOCAL_LABELS_DATABASE": "sqlite:///x"}, PREFIX)

    assert config.database == "sqlite:///x"


def test_a_bad_setting_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="PARFOCAL_LABELS_POLL_SECONDS"):
        from_env(LabelsConfig, {"PARFOCAL_LABELS_POLL_SECONDS": "soon"}, PREFIX)
