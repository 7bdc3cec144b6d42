from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from parfocal_inference.app import build
from parfocal_inference.config import PREFIX, InferenceConfig
from parfocal_runtime.config import ConfigError, ServerConfig, from_env

README = Path(__file__).parents[3] / "services" / "inference" / "README.md"


def test_the_readme_names_every_setting_with_its_default() -> None:
    shared = {field.name for field in dataclasses.fields(ServerConfig)}
    rows = re.findall(r"^\| `(PARFOCAL_\w+)` \| `?([^|`]+)`? \|", README.read_text(), re.MULTILINE)

    assert {name: default.strip() for name, default in rows} == {
        f"{PREFIX}_{field.name.upper()}": ",".join(field.default)
        if isinstance(field.default, tuple)
        else str(field.default)
        for field in dataclasses.fields(InferenceConfig)
        if field.name not in shared
    }


def test_settings_are_read_from_the_environment() -> None:
    config = from_env(
        InferenceConfig,
        {f"{PREFIX}_PROVIDERS": "CUDAExecutionProvider,CPUExecutionProvider"},
        PREFIX,
    )

    assert config.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")


def test_no_blocks_at_a_time_are_refused_by_the_variable_s_name() -> None:
    with pytest.raises(ConfigError, match="PARFOCAL_INFERENCE_PARALLEL_BLOCKS"):
        from_env(InferenceConfig, {f"{PREFIX}_PARALLEL_BLOCKS": "0"}, PREFIX)


def test_a_service_that_demands_what_is_not_there_does_not_start(tmp_path: Path) -> None:
    config = InferenceConfig(store_uri=tmp_path.as_uri(), providers=("CUDAExecutionProvider",))

    with pytest.raises(ConfigError, match="PARFOCAL_INFERENCE_PROVIDERS: CUDAExecutionProvider"):
        build(config)
