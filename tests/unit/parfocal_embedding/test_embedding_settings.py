from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from parfocal_embedding.config import PREFIX, EmbeddingConfig
from parfocal_runtime.config import ServerConfig

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
