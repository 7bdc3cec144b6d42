from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from parfocal_runtime.config import ConfigError, ServerConfig, from_env
from parfocal_training.app import build
from parfocal_training.config import PREFIX, TrainingConfig

README = Path(__file__).parents[3] / "services" / "training" / "README.md"


def test_the_readme_lists_the_settings_and_their_defaults() -> None:
    rows = re.findall(r"^\| `(PARFOCAL_\w+)` \| `?([^|`]+)`? \|", README.read_text(), re.MULTILINE)
    shared = {field.name for field in dataclasses.fields(ServerConfig)}

    own = [field for field in dataclasses.fields(TrainingConfig) if field.name not in shared]

    expected = [(f"{PREFIX}_{field.name.upper()}", str(field.default)) for field in own]
    assert [(name, default.strip()) for name, default in rows] == expected


@pytest.mark.parametrize(
    ("name", "value"), [("THREADS", "-1"), ("WORKERS", "0"), ("CHECKPOINT_SECONDS", "nan")]
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{PREFIX}_{name}"):
        from_env(TrainingConfig, {f"{PREFIX}_{name}": value}, PREFIX)


def test_a_service_without_a_store_does_not_start() -> None:
    with pytest.raises(ConfigError, match="PARFOCAL_STORE_URI"):
        build(TrainingConfig())
