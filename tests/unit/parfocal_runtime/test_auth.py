from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from parfocal_runtime.auth import (
    Account,
    Principal,
    Role,
    TokenFile,
    acting_as,
    bearer_token,
    principal,
    write_secret,
    write_token,
)
from parfocal_runtime.config import ConfigError
from parfocal_runtime.errors import Unauthenticated


def owner(file: Path, token: str) -> Account | None:
    return asyncio.run(TokenFile(file).authenticate(token))


def test_roles_are_ordered() -> None:
    assert Role.VIEWER < Role.ANNOTATOR < Role.CURATOR < Role.ADMIN


@pytest.mark.parametrize("name", ["", "owner", "Admin"])
def test_an_unknown_role_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a role is viewer"):
        Role.parse(name)


def test_a_written_token_is_known_and_nowhere_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"

    token = write_token(file, name="ann", role=Role.ANNOTATOR)

    assert owner(file, token) == Account("ann", Role.ANNOTATOR)
    assert token not in file.read_text()
    assert len(token) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_token_replaces_only_the_one_of_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    ann, bob = (write_token(file, name=name, role=Role.VIEWER) for name in ("ann", "bob"))

    again = write_token(file, name="ann", role=Role.ADMIN)

    assert owner(file, ann) is None
    assert owner(file, bob) == Account("bob", Role.VIEWER)
    assert owner(file, again) == Account("ann", Role.ADMIN)


def test_a_new_token_leaves_comments_certificates_mode_and_owner_as_they_are(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens"
    certificate = {"name": "ann", "certificate": "URI:spiffe://lab/ann", "role": "curator"}
    both = {**certificate, "certificate": "URI:spiffe://lab/ann-2", "sha256": "0" * 64}
    text = "\n".join(["# the lab", json.dumps(certificate), "", json.dumps(both), ""])
    file.write_text(text)
    file.chmod(0o640)

    write_token(file, name="ann", role=Role.VIEWER)
    write_token(file, name="ann", role=Role.VIEWER)

    comment, first, empty, second, token = file.read_text().splitlines()
    assert (comment, empty) == ("# the lab", "")
    assert json.loads(first) == certificate
    assert json.loads(second) == {**certificate, "certificate": "URI:spiffe://lab/ann-2"}
    assert json.loads(token)["role"] == "viewer"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_comments_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    digest = hashlib.sha256(b"t").hexdigest()
    entry = json.dumps({"name": "a", "sha256": digest, "role": "viewer"})
    file.write_text(f"# people\n\n{entry}\n")

    assert owner(file, "t") == Account("a", Role.VIEWER)


@pytest.mark.parametrize("token", ["", "wrong", "ü", "\udc80", "a" * 10_000])
def test_an_unknown_token_belongs_to_nobody(tmp_path: Path, token: str) -> None:
    file = tmp_path / "tokens"
    write_token(file, name="ann", role=Role.ADMIN)

    assert owner(file, token) is None


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({"name": "a", "sha256": DIGEST, "role": "owner"}),
        json.dumps({"name": "a", "sha256": DIGEST[:-1], "role": "viewer"}),
        json.dumps({"name": "a", "sha256": DIGEST.replace("0", "A"), "role": "viewer"}),
        json.dumps({"name": "", "sha256": DIGEST, "role": "viewer"}),
        json.dumps({"name": 1, "sha256": DIGEST, "role": "viewer"}),
        json.dumps({"name": "a", "sha256": 1, "role": "viewer"}),
        json.dumps({"name": "a", "sha256": DIGEST, "role": []}),
        json.dumps({"name": "a", "sha256": DIGEST}),
        json.dumps({"name": "a", "role": "viewer"}),
        json.dumps({"name": "a", "sha256": DIGEST, "projects": {}}),
        json.dumps({"name": "a", "sha256": DIGEST, "projects": ["vnc"]}),
        json.dumps({"name": "a", "sha256": DIGEST, "projects": {"vnc": "owner"}}),
        json.dumps({"name": "a", "sha256": DIGEST, "projects": {"VNC": "viewer"}}),
        json.dumps({"name": "a", "sha256": DIGEST, "projects": {"": "viewer"}}),
        json.dumps({"name": "a", "sha256": DIGEST, "project": {"vnc": "viewer"}, "role": "admin"}),
        json.dumps({"name": "a", "sha256": DIGEST, "role": "viewer", "limited": "no"}),
        json.dumps({"name": "a", "certificate": "ann.lab", "role": "viewer"}),
        json.dumps({"name": "a", "certificate": "dns:", "role": "viewer"}),
        json.dumps({"name": "a", "certificate": "ip:10.0.0.1", "role": "viewer"}),
        json.dumps({"name": "import/a", "sha256": DIGEST, "role": "viewer"}),
        json.dumps({"name": "a", "certificate": 7, "role": "viewer"}),
    ],
)
def test_a_malformed_entry_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "tokens"
    write_token(file, name="ann", role=Role.ADMIN)
    file.write_text(f"{file.read_text()}{line}\n")

    with pytest.raises(ConfigError, match="entry 2 of the tokens file"):
        TokenFile(file)


def test_an_entry_may_have_roles_in_single_projects_with_or_without_one_for_everywhere(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens"
    projects = {"vnc": Role.CURATOR, "dlpfc": Role.ANNOTATOR}

    some = write_token(file, name="ann", projects=projects)
    both = write_token(file, name="bob", role=Role.VIEWER, projects={"vnc": Role.ADMIN})
    free = write_token(file, name="loop", role=Role.CURATOR, limited=False)

    assert owner(file, some) == Account("ann", None, projects)
    assert owner(file, both) == Account("bob", Role.VIEWER, {"vnc": Role.ADMIN})
    assert owner(file, free) == Account("loop", Role.CURATOR, limited=False)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "ann"},
        {"name": "", "role": Role.VIEWER},
        {"name": "import/ann", "role": Role.VIEWER},
        {"name": "ann", "projects": {"V N C": Role.VIEWER}},
    ],
    ids=range(4),
)
def test_an_entry_that_could_not_be_read_is_not_written(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        write_token(tmp_path / "tokens", **entry)

    assert not (tmp_path / "tokens").exists()


def test_the_owner_of_a_certificate_is_found_by_kind_and_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    entry = {"name": "ann", "certificate": "URI:spiffe://Lab/ann", "role": "viewer", "note": "new"}
    file.write_text(json.dumps(entry))
    known = TokenFile(file)

    assert known.owner_of_certificate(["cn:x", "uri:spiffe://Lab/ann"]) == Account(
        "ann", Role.VIEWER
    )
    assert known.owner_of_certificate(["dns:spiffe://Lab/ann", "uri:spiffe://lab/ann"]) is None
    assert known.owner_of_certificate([]) is None


@pytest.mark.parametrize(
    ("everywhere", "project", "role"),
    [
        (None, "vnc", Role.CURATOR),
        (None, "other", None),
        (Role.VIEWER, "vnc", Role.CURATOR),
        (Role.VIEWER, "other", Role.VIEWER),
        (Role.ADMIN, "vnc", Role.ADMIN),
    ],
)
def test_the_higher_of_two_roles_counts(
    everywhere: Role | None, project: str, role: Role | None
) -> None:
    account = Account("ann", everywhere, {"vnc": Role.CURATOR})

    assert account.role_in(project) == role


def test_a_caller_sees_the_projects_in_which_they_have_a_role() -> None:
    account = Account("ann", None, {"a": Role.VIEWER, "b": Role.CURATOR})
    caller = account.acting_with(Role.VIEWER)

    assert sorted(caller.visible_projects() or []) == ["a", "b"]
    assert [caller.may(Role.CURATOR, project) for project in ("a", "b", "c")] == [
        False,
        True,
        False,
    ]


def test_a_caller_with_a_role_for_everywhere_sees_all_projects() -> None:
    for caller in (
        Account("ann", Role.VIEWER, {"a": Role.CURATOR}).acting_with(Role.VIEWER),
        Principal("ann", Role.VIEWER),
    ):
        assert caller.visible_projects() is None
        assert caller.may(Role.VIEWER, "any")


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the tokens file"):
        TokenFile(tmp_path / "none")


def test_a_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)

    write_secret(file, "new")

    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_found(scheme: str) -> None:
    assert bearer_token({"authorization": f"{scheme} abc"}) == "abc"


def test_outside_a_call_there_is_no_principal() -> None:
    with acting_as(Principal("ann", Role.VIEWER)):
        assert principal().name == "ann"
    with pytest.raises(Unauthenticated):
        principal()
