from __future__ import annotations

import re
from pathlib import Path

from parfocal_runtime.config import COMMON_PREFIX, ServerConfig, from_env, variable_names

README = Path(__file__).resolve().parents[3] / "services/common/README.md"
ROW = re.compile(r"^\| `(PARFOCAL_\w+)` \| (?:`(.*?)`)? ?\|", re.MULTILINE)


def test_the_readme_lists_every_shared_setting_in_order() -> None:
    listed = [name for name, _ in ROW.findall(README.read_text())]

    assert listed == variable_names(ServerConfig, COMMON_PREFIX)


def test_the_defaults_of_the_readme_are_the_defaults() -> None:
    listed = dict(ROW.findall(README.read_text()))

    assert from_env(ServerConfig, listed, COMMON_PREFIX) == ServerConfig()
