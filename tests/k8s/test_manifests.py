from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
OVERLAYS = sorted((ROOT / "k8s/overlays").iterdir())


def rendered(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        assert os.environ.get("CI") != "true", "kubectl is missing, and in CI nothing is skipped"
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def example() -> list[dict[str, Any]]:
    return rendered(ROOT / "k8s/overlays/example")


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, deployment in of_kind(manifests, "Deployment").items():
        yield name, deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_renders_every_service(overlay: Path) -> None:
    manifests = rendered(overlay)

    wanted = {f"parfocal-{service}" for service in SERVICES}
    assert set(of_kind(manifests, "Deployment")) == wanted
    assert set(of_kind(manifests, "Service")) == wanted
    assert set(of_kind(manifests, "ServiceAccount")) == wanted


def test_every_pod_says_when_it_is_ready_and_what_it_needs(example: list[dict[str, Any]]) -> None:
    for name, pod in pods(example):
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}

        assert container["readinessProbe"]["grpc"]["port"] == ports["grpc"], name
        assert "livenessProbe" in container, name
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}, name
        assert ports["metrics"] == 9090, name


def test_no_pod_has_rights(example: list[dict[str, Any]]) -> None:
    for name, pod in pods(example):
        (container,) = pod["containers"]
        rights = container["securityContext"]

        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["readOnlyRootFilesystem"] is True, name
        assert rights["capabilities"] == {"drop": ["ALL"]}, name


def test_a_pod_leaves_within_its_grace_period(example: list[dict[str, Any]]) -> None:
    for name, pod in pods(example):
        (container,) = pod["containers"]
        settings = {one["name"]: one.get("value") for one in container["env"]}

        assert float(settings["PARFOCAL_GRACE_SECONDS"]) < pod["terminationGracePeriodSeconds"], (
            name
        )


def test_every_pod_variable_is_a_setting(example: list[dict[str, Any]]) -> None:
    from importlib import import_module

    from parfocal_runtime.config import variable_names

    for service in SERVICES:
        config = import_module(f"parfocal_{service}.config")
        (cls,) = (
            value
            for name, value in vars(config).items()
            if name.endswith("Config") and name != "ServerConfig"
        )
        known = {
            name
            for prefix in ("PARFOCAL", f"PARFOCAL_{service.upper()}")
            for name in variable_names(cls, prefix)
        }
        pod = dict(pods(example))[f"parfocal-{service}"]
        settings = {one["name"] for one in pod["containers"][0]["env"]}
        (shared,) = (
            one["data"] for name, one in of_kind(example, "ConfigMap").items() if "settings" in name
        )

        assert settings | set(shared) <= known, service


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_its_service_as_nobody(service: str) -> None:
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()

    assert "\nUSER 65532:65532\n" in dockerfile
    assert f'ENTRYPOINT ["python", "-m", "parfocal_{service}"]' in dockerfile
    assert f'".[{service}]"' in dockerfile
