from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
SERVING = ["embedding", "inference", "labels", "loop", "suggestion"]

# Which extra brings what a part of the sources imports.
PARTS = {
    "client/parfocal": "",
    "client/parfocal/cli": "cli",
    "client/parfocal/_exchange": "images",
    "client/parfocal/_images": "images",
    "bench/parfocal_bench": "demo",
    "demo/parfocal_demo": "demo",
    "services/common/parfocal_runtime": "runtime",
    "services/common/parfocal_runtime/models": "models",
    "services/common/parfocal_runtime/models/openvino_runs.py": "openvino",
    "services/common/parfocal_runtime/database.py": "database",
    "services/common/parfocal_runtime/listening.py": "database",
    "services/common/parfocal_runtime/transactions.py": "database",
    "services/standalone/parfocal_standalone": "standalone",
    **{f"services/{name}/parfocal_{name}": name for name in [*SERVING, "training"]},
}
# What stands in an extra without an import: a library of ours loads it by name.
LOADED_BY_NAME = {
    "aiosqlite": "SQLAlchemy's driver",
    "onnxscript": "torch.onnx",
}


def requirements(extra: str) -> list[Requirement]:
    """Return what is asked for without an extra, and with it, extras of our own followed."""
    found = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
    for requirement in map(Requirement, EXTRAS.get(extra, ())):
        if requirement.name == "parfocal":
            found += [each for inner in sorted(requirement.extras) for each in requirements(inner)]
        else:
            found.append(requirement)
    return found


def names(extra: str) -> set[str]:
    return {canonicalize_name(each.name) for each in requirements(extra)}


def installed_with(extra: str) -> set[str]:
    """Return every distribution that pip would bring, by what those installed here ask for."""
    found: set[tuple[str, str]] = set()
    left = [(each, "") for each in requirements(extra)]
    while left:
        requirement, _ = left.pop()
        for inner in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), inner)
            if key in found:
                continue
            found.add(key)
            for text in metadata.requires(requirement.name) or ():
                child = Requirement(text)
                if child.marker is None or child.marker.evaluate({"extra": inner}):
                    left.append((child, inner))
    return {name for name, _ in found}


@cache
def providers() -> dict[str, set[str]]:
    """Return the distributions that bring each top-level module."""
    return {
        module: {canonicalize_name(name) for name in distributions}
        for module, distributions in metadata.packages_distributions().items()
    }


def modules_of(part: str) -> list[Path]:
    path = ROOT / part
    if path.is_file():
        return [path]
    nested = [ROOT / other for other in PARTS if other.startswith(f"{part}/")]
    return [
        module
        for module in sorted(path.rglob("*.py"))
        if not any(module == other or other in module.parents for other in nested)
    ]


def imported_by(part: str) -> set[str]:
    """Return the top-level modules of others that a part imports, anywhere in its functions."""
    found: set[str] = set()
    for path in modules_of(part):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    ours = {name for name in found if name.startswith("parfocal")}
    return found - ours - set(sys.stdlib_module_names)


def packages() -> dict[str, str]:
    """Return the folder that holds each package of ours."""
    folders = [
        ROOT / "bench",
        ROOT / "client",
        ROOT / "demo",
        *sorted((ROOT / "services").iterdir()),
    ]
    return {
        path.name: str(folder.relative_to(ROOT))
        for folder in folders
        for path in folder.glob("parfocal*")
        if (path / "__init__.py").exists()
    }


def test_the_client_alone_is_thin() -> None:
    assert names("") == {"googleapis-common-protos", "grpcio", "numpy", "protobuf"}
    assert installed_with("") == names("") | {"typing-extensions"}


def test_the_wheel_holds_every_package_and_nothing_else() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert sorted(wheel) == sorted(f"{folder}/{name}" for name, folder in packages().items())


@pytest.mark.parametrize(
    "listed",
    [
        PYPROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"],
        PYPROJECT["tool"]["mypy"]["mypy_path"],
        PYPROJECT["tool"]["pytest"]["ini_options"]["pythonpath"],
    ],
    ids=["hatch", "mypy", "pytest"],
)
def test_every_tool_finds_every_package(listed: list[str]) -> None:
    ours = {folder for folder in listed if not folder.startswith("tests/")}

    assert ours == set(packages().values())


def test_lines_of_every_package_are_counted() -> None:
    counted = PYPROJECT["tool"]["slipcover"]["source"]

    assert {folder.split("/")[0] for folder in packages().values()} == set(counted)


def test_every_package_says_that_it_is_typed() -> None:
    untyped = [
        name
        for name, folder in packages().items()
        if not (ROOT / folder / name / "py.typed").exists()
    ]

    assert untyped == []


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_imports_is_named_by_its_extra(part: str) -> None:
    asked = names(PARTS[part])
    if part.startswith("services/common/"):
        asked |= names("runtime")

    missing = {name for name in imported_by(part) if not providers()[name] & asked}

    assert missing == set()


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"all", "dev"}))
def test_what_an_extra_names_is_imported(extra: str) -> None:
    own = {canonicalize_name(Requirement(text).name) for text in EXTRAS[extra]} - {"parfocal"}
    imported = {
        distribution
        for part, name in PARTS.items()
        if name == extra
        for module in imported_by(part)
        for distribution in providers()[module]
    }

    assert own - imported - set(LOADED_BY_NAME) == set()


@pytest.mark.parametrize("extra", ["", "cli", "images", *SERVING])
def test_nothing_but_training_brings_torch(extra: str) -> None:
    assert not {"torch", "torchvision"} & installed_with(extra)


def test_all_brings_every_extra() -> None:
    every = set().union(*(names(extra) for extra in EXTRAS if extra != "dev"))

    assert names("all") == every


@pytest.mark.parametrize("service", [*SERVING, "training"])
def test_a_service_loads_with_what_its_extra_brings(service: str) -> None:
    # Torch is for the processes that train: the one that serves does without.
    brought = installed_with(service) - {"torch"}
    absent = sorted(name for name, bringing in providers().items() if not bringing & brought)
    code = f"""
import json, sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

absent = set(json.loads(sys.stdin.read()))
sys.meta_path.insert(0, Absent)
import parfocal_{service}.__main__
"""

    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([name for name in absent if not name.startswith("parfocal")]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", [*SERVING, "training"])
def test_an_image_is_built_from_what_may_leave_the_checkout(service: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()

    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in sources.split()
    }

    assert lines[0] == "*"
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
