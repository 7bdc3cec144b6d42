from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from parfocal_runtime.config import variable_names

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


def with_component(folder: Path, component: str) -> list[dict[str, Any]]:
    """Return the example with a component, through an overlay in `folder`."""
    resource = os.path.relpath(ROOT / "k8s/overlays/example", folder)
    named = os.path.relpath(ROOT / "k8s/components" / component, folder)
    overlay = {"resources": [resource], "components": [named]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return rendered(folder)


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


def known_settings(service: str) -> set[str]:
    """Return the variables that a service reads."""
    config = import_module(f"parfocal_{service}.config")
    (cls,) = (
        value
        for name, value in vars(config).items()
        if name.endswith("Config") and name != "ServerConfig"
    )
    return {
        name
        for prefix in ("PARFOCAL", f"PARFOCAL_{service.upper()}")
        for name in variable_names(cls, prefix)
    }


def test_every_pod_variable_is_a_setting(example: list[dict[str, Any]]) -> None:
    for service in SERVICES:
        pod = dict(pods(example))[f"parfocal-{service}"]
        settings = {one["name"] for one in pod["containers"][0]["env"]}
        (shared,) = (
            one["data"] for name, one in of_kind(example, "ConfigMap").items() if "settings" in name
        )

        assert settings | set(shared) <= known_settings(service), service


def test_with_the_component_each_inference_pod_demands_a_gpu(
    example: list[dict[str, Any]], tmp_path: Path
) -> None:
    before, after = dict(pods(example)), dict(pods(with_component(tmp_path, "gpu")))

    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"parfocal-inference"}
    (container,) = after["parfocal-inference"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    settings = {one["name"]: one["value"] for one in container["env"]}
    assert settings["PARFOCAL_INFERENCE_PROVIDERS"].startswith("CUDAExecutionProvider,")
    assert set(settings) <= known_settings("inference")
    assert {one["name"] for one in before["parfocal-inference"]["containers"][0]["env"]} < set(
        settings
    )
    assert container["startupProbe"]["grpc"] == {"port": 50051}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_its_service_as_nobody(service: str) -> None:
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()

    assert "\nUSER 65532:65532\n" in dockerfile
    assert f'ENTRYPOINT ["python", "-m", "parfocal_{service}"]' in dockerfile
    assert f'".[{service}]"' in dockerfile
