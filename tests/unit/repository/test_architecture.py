from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from parfocal.common.v1 import error_reason_pb2

ROOT = Path(__file__).parents[3]
# The runtime is what all stand on, and standalone is what puts all into one process.
SERVICES = sorted(
    path
    for path in (ROOT / "services").glob("*/parfocal_*")
    if path.parent.name not in ("common", "standalone")
)
# The one module of the client that may reach for services, when `up`, `demo` or `models` is typed.
LOCAL_COMMANDS = ROOT / "client/parfocal/cli"


def sources(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "_pb2" not in path.name)


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return names


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_service_imports_no_other_service(service: Path) -> None:
    others = {other.name for other in SERVICES} - {service.name} | {
        "parfocal_bench",
        "parfocal_demo",
    }

    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(service)
        for name in imports(path)
        if name.split(".")[0] in others
    }

    assert found == set()


def test_the_client_imports_no_service_but_where_a_local_command_is_typed() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in sources(ROOT / "client/parfocal")
        if any(name.startswith("parfocal_") for name in imports(path))
        and LOCAL_COMMANDS not in path.parents
    }

    assert found == set()


def test_the_demo_speaks_to_services_over_grpc_only() -> None:
    # The runtime reads artifacts by their paths, as any service does.
    allowed = {"parfocal_demo", "parfocal_runtime", "parfocal_standalone"}

    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(ROOT / "demo/parfocal_demo")
        for name in imports(path)
        if name.startswith("parfocal_") and name.split(".")[0] not in allowed
    }

    assert found == set()


@pytest.mark.parametrize(
    "package",
    [*SERVICES, ROOT / "services/common/parfocal_runtime", ROOT / "client/parfocal"],
    ids=lambda path: path.name,
)
def test_only_training_imports_torch(package: Path) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in sources(package)
        if "torch" in {name.split(".")[0] for name in imports(path)}
    }

    assert found == set() or package.name == "parfocal_training"


def test_nobody_pickles() -> None:
    pattern = re.compile(
        r"\bimport (c?pickle|dill|joblib)\b|torch\.(save|load)\(|allow_pickle=True"
    )

    found = {
        str(path.relative_to(ROOT))
        for folder in ("bench", "client", "demo", "services", "tools")
        for path in sources(ROOT / folder)
        if pattern.search(path.read_text())
    }

    assert found == set()


def test_every_reason_that_is_given_is_in_the_contract() -> None:
    known = set(error_reason_pb2.ErrorReason.keys())

    unknown = {
        f"{path.relative_to(ROOT)}: {reason}"
        for folder in ("bench", "client", "demo", "services")
        for path in sources(ROOT / folder)
        for reason in re.findall(r"\"(ERROR_REASON_[A-Z_]+)\"", path.read_text())
        if reason not in known
    }

    assert unknown == set()


def test_the_floors_are_those_of_the_stubs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = {
        name: floor for name, _, floor in (one.partition(">=") for one in project["dependencies"])
    }
    stub = (ROOT / "client/parfocal/labels/v1/labels_service_pb2_grpc.py").read_text()
    messages = (ROOT / "client/parfocal/labels/v1/label_pb2.py").read_text()

    grpc_floor = re.search(r"GRPC_GENERATED_VERSION = '([0-9.]+)'", stub)
    protobuf_floor = re.search(r"Protobuf Python Version: ([0-9.]+)", messages)

    assert grpc_floor is not None
    assert grpc_floor[1].startswith(floors["grpcio"])
    assert protobuf_floor is not None
    assert protobuf_floor[1] == floors["protobuf"]


def test_the_project_speaks_only_of_itself() -> None:
    pattern = re.compile(r"/work/|/farm/|/opt/wheels|/opt/pypi")
    texts = [
        path
        for suffix in ("py", "md", "toml", "yaml", "yml", "sh", "proto")
        for path in ROOT.rglob(f"*.{suffix}")
        if not path.relative_to(ROOT).parts[0].startswith((".venv", ".tools", ".git", "runs"))
        and path != Path(__file__)
    ]

    assert [str(path.relative_to(ROOT)) for path in texts if pattern.search(path.read_text())] == []
