from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from parfocal_runtime.access import METHOD_ROLES, PUBLIC_METHODS, require_access
from parfocal_runtime.auth import Principal, Role
from parfocal_runtime.errors import PermissionDenied, Unauthenticated

ROOT = Path(__file__).resolve().parents[3]
STUBS = [*(ROOT / "client").rglob("*_pb2.py"), *(ROOT / "services/inference").rglob("*_pb2.py")]


def methods() -> Iterator[str]:
    """Full names of all methods of all services that have stubs."""
    for path in STUBS:
        root = ROOT / "client" if path.is_relative_to(ROOT / "client") else path.parents[3]
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


ALL_METHODS = sorted(methods())


def test_the_stubs_are_found() -> None:
    services = {method.rpartition("/")[0] for method in ALL_METHODS}

    assert len(services) >= 7
    assert "/inference.GRPCInferenceService" in services


@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_has_a_rule(method: str) -> None:
    assert (method in METHOD_ROLES) != (method in PUBLIC_METHODS)


@pytest.mark.parametrize("method", [name for name in METHOD_ROLES if name.startswith("/parfocal.")])
def test_every_rule_is_for_a_method_that_exists(method: str) -> None:
    assert method in ALL_METHODS


def test_public_methods_only_probe_and_describe() -> None:
    descriptor_pool.Default()
    assert all(
        name.startswith(("/grpc.health.", "/grpc.reflection.")) or "/Server" in name
        for name in PUBLIC_METHODS
    )


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("least", Role)
def test_a_role_may_do_what_it_and_the_lower_ones_may(role: Role, least: Role) -> None:
    caller = Principal("ann", role)

    if role >= least:
        assert require_access(caller, "/x.X/Do", {"/x.X/Do": least}) is caller
        return
    with pytest.raises(PermissionDenied) as caught:
        require_access(caller, "/x.X/Do", {"/x.X/Do": least})

    assert caught.value.reason == "ERROR_REASON_ROLE_TOO_LOW"


def test_nobody_may_call_what_has_no_rule() -> None:
    with pytest.raises(PermissionDenied):
        require_access(Principal("root", Role.ADMIN), "/x.X/Undocumented", {})


def test_who_is_not_known_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        require_access(None, "/parfocal.labels.v1.LabelsService/GetProject")
