from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from parfocal_embedding.app import build
from parfocal_embedding.config import PREFIX, EmbeddingConfig
from parfocal_runtime.config import ConfigError, ServerConfig

README = Path(__file__).parents[3] / "services" / "embedding" / "README.md"


def test_the_readme_lists_every_setting_of_the_service() -> None:
    rows = re.findall(r"^\| `(PARFOCAL_\w+)` \| `?([^|`]+)`? \|", README.read_text(), re.MULTILINE)

    own = [each for each in fields(EmbeddingConfig) if each not in fields(ServerConfig)]
    defaults = {
        f"{PREFIX}_{each.name.upper()}": ",".join(each.default)
        if isinstance(each.default, tuple)
        else str(each.default)
        for each in own
    }
    assert {name: default.strip() for name, default in rows} == defaults


def test_a_service_that_demands_what_is_not_there_does_not_start(tmp_path: Path) -> None:
    config = EmbeddingConfig(store_uri=tmp_path.as_uri(), providers=("CUDAExecutionProvider",))

    with pytest.raises(ConfigError, match="PARFOCAL_EMBEDDING_PROVIDERS: CUDAExecutionProvider"):
        build(config)
