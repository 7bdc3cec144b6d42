"""The trail of who changed what and who was refused, at a real server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal_runtime.access import METHOD_RULES, Rule
from parfocal_runtime.audit import AuditFile
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.config import ConfigError, ServerConfig
from parfocal_runtime.server import Service, serving_in_thread

LABELS = "parfocal.labels.v1.LabelsService"
SUBMIT, LIST = f"/{LABELS}/SubmitLabels", f"/{LABELS}/ListLabels"
RULES = {
    **METHOD_RULES,
    "/tests.Echo/Unary": Rule(Role.VIEWER, anywhere=True),
    "/tests.Echo/Curate": Rule(Role.CURATOR, anywhere=True, changes=True),
}
Lines = Callable[[], list[dict[str, Any]]]


async def answer(request: Any, context: Any) -> bytes:
    return b""


def labels() -> Service:
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(answer, request_deserializer=message.FromString)
        for name, message in (
            ("SubmitLabels", pb.SubmitLabelsRequest),
            ("ListLabels", pb.ListLabelsRequest),
        )
    }
    handler = grpc.method_handlers_generic_handler(LABELS, handlers)
    return Service((LABELS,), lambda server: server.add_generic_rpc_handlers((handler,)))


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def lines(audit_file: Path) -> Lines:
    return lambda: [json.loads(line) for line in audit_file.read_text().splitlines()]


@pytest.fixture
def audited(config: ServerConfig, tmp_path: Path, audit_file: Path) -> ServerConfig:
    return replace(
        config,
        anonymous_role="",
        tokens_file=str(tmp_path / "tokens"),
        audit_file=str(audit_file),
        rate_limit=0.01,
        rate_burst=50,
    )


@pytest.fixture
def channel(echo: Any, audited: ServerConfig, tmp_path: Path) -> Iterator[Any]:
    file = tmp_path / "tokens"
    write_token(file, name="vic", role=Role.VIEWER)
    token = write_token(
        file, name="ann", role=Role.CURATOR, projects={"vnc": Role.ADMIN}, limited=False
    )
    with (
        serving_in_thread([echo.service(), labels()], audited, rules=RULES) as running,
        sync_channel(running.address, token=token) as opened,
    ):
        yield opened


def eventually(lines: Lines) -> list[dict[str, Any]]:
    """The lines, once there are any; nobody hears of the end of a call that was given up."""
    while not lines():
        threading.Event().wait(0.01)
    return lines()


def submit(parent: str) -> bytes:
    return pb.SubmitLabelsRequest(parent=parent, client="the-content").SerializeToString()


def test_a_call_that_changes_something_leaves_a_line(channel: Any, lines: Lines) -> None:
    before = datetime.now(UTC)
    channel.unary_unary(SUBMIT)(submit("projects/vnc"), metadata=[("x-request-id", "r-1")])

    (line,) = lines()

    assert abs(datetime.fromisoformat(line.pop("time")) - before).total_seconds() < 20
    assert line.pop("peer").startswith("ipv4:127.0.0.1:")
    assert line == {
        "caller": "ann",
        "method": SUBMIT,
        "projects": ["vnc"],
        "request_id": "r-1",
        "code": "OK",
        "reason": "",
    }


def test_a_call_that_changes_nothing_leaves_none(channel: Any, lines: Lines) -> None:
    channel.unary_unary(LIST)(pb.ListLabelsRequest(parent="projects/vnc").SerializeToString())

    assert lines() == []


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (b"fail", "INVALID_ARGUMENT", "ERROR_REASON_INVALID_FIELD"),
        (b"bug", "INTERNAL", "ERROR_REASON_INTERNAL"),
        (b"later", "UNIMPLEMENTED", ""),
        (b"abort", "DATA_LOSS", ""),
        (b"\xff", "INVALID_ARGUMENT", "ERROR_REASON_MALFORMED_MESSAGE"),
    ],
)
def test_a_change_that_failed_says_how(
    channel: Any, lines: Lines, request_: bytes, code: str, reason: str
) -> None:
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/tests.Echo/Curate")(request_)

    # A method that ends its call by itself has answered before the line is written.
    assert [(line["code"], line["reason"]) for line in eventually(lines)] == [(code, reason)]


def test_a_change_whose_caller_went_away_is_in_the_trail(
    channel: Any, lines: Lines, echo: Any
) -> None:
    call = channel.unary_unary("/tests.Echo/Curate").future(b"wait")
    assert echo.entered.wait(20)
    call.cancel()

    assert [line["code"] for line in eventually(lines)] == ["CANCELLED"]


def test_whoever_is_refused_leaves_a_line_even_where_nothing_would_change(
    channel: Any, lines: Lines, echo: Any, audited: ServerConfig
) -> None:
    viewer = write_token(audited.tokens_file, name="vic", role=Role.VIEWER)
    for headers in ([("authorization", "Bearer wrong")], [("authorization", f"Bearer {viewer}")]):
        with (
            serving_in_thread([echo.service(), labels()], audited, rules=RULES) as running,
            sync_channel(running.address) as other,
        ):
            stranger: Any = other
            with pytest.raises(grpc.RpcError):
                stranger.unary_unary(SUBMIT)(submit("projects/vnc"), metadata=headers)
            with pytest.raises(grpc.RpcError):
                stranger.unary_unary(LIST)(b"", metadata=[("authorization", "Basic x")])

    assert [(line["caller"], line["code"], line["projects"]) for line in lines()] == [
        ("", "UNAUTHENTICATED", []),
        ("", "UNAUTHENTICATED", []),
        ("vic", "PERMISSION_DENIED", ["vnc"]),
        ("", "UNAUTHENTICATED", []),
    ]


def test_whoever_calls_too_often_leaves_a_line(
    channel: Any, lines: Lines, echo: Any, audited: ServerConfig
) -> None:
    token = write_token(audited.tokens_file, name="vic", role=Role.VIEWER)
    one = replace(audited, rate_burst=1)
    with (
        serving_in_thread([echo.service()], one, rules=RULES) as running,
        sync_channel(running.address, token=token) as other,
    ):
        call: Any = other
        call.unary_unary("/tests.Echo/Unary")(b"")
        with pytest.raises(grpc.RpcError):
            call.unary_unary("/tests.Echo/Unary")(b"")

    assert [(line["caller"], line["reason"]) for line in lines()] == [
        ("vic", "ERROR_REASON_RATE_LIMITED")
    ]


def test_what_is_in_a_message_is_not_in_the_trail(
    channel: Any, audit_file: Path, lines: Lines
) -> None:
    for parent in ("projects/vnc", "the-content", "projects/The Content", "projects/" + "x" * 9999):
        channel.unary_unary(SUBMIT)(submit(parent))

    assert "ontent" not in audit_file.read_text()
    assert [line["projects"] for line in lines()] == [["vnc"], [], [], []]


def test_a_trail_that_another_program_moved_away_begins_anew(
    channel: Any, audit_file: Path, lines: Lines
) -> None:
    channel.unary_unary(SUBMIT)(submit("projects/vnc"))
    moved = audit_file.rename(audit_file.with_suffix(".1"))

    channel.unary_unary(SUBMIT)(submit("projects/b"))
    audit_file.rename(audit_file.with_suffix(".2"))
    audit_file.touch()
    channel.unary_unary(SUBMIT)(submit("projects/c"))

    assert len(moved.read_text().splitlines()) == 1
    assert [line["projects"] for line in lines()] == [["c"]]


def test_many_callers_at_once_leave_whole_lines(channel: Any, lines: Lines) -> None:
    calls = [
        channel.unary_unary(SUBMIT).future(submit(f"projects/p{number}")) for number in range(200)
    ]
    for call in calls:
        call.result(timeout=20)

    assert sorted(line["projects"][0] for line in lines()) == sorted(f"p{n}" for n in range(200))


def test_the_trail_is_for_its_owner_and_group(channel: Any, audit_file: Path) -> None:
    assert audit_file.stat().st_mode & 0o007 == 0


def test_a_trail_that_cannot_be_opened_stops_the_start(audited: ServerConfig) -> None:
    wrong = replace(audited, audit_file="/none/audit", tokens_file="", anonymous_role="viewer")

    with pytest.raises(ConfigError, match="cannot write /none/audit"), serving_in_thread([], wrong):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_line_for_which_there_is_no_space_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trail = AuditFile("/dev/full")

    trail.write({"caller": "ann"})

    trail.close()
    assert "audit line not written" in caplog.text
    assert "ann" in caplog.text


def test_without_a_file_the_trail_is_in_the_log(
    echo: Any, config: ServerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with (
        serving_in_thread([echo.service()], config, rules=RULES) as running,
        sync_channel(running.address) as channel,
    ):
        call: Any = channel.unary_unary("/tests.Echo/Curate")
        with pytest.raises(grpc.RpcError):
            call(b"x", metadata=[("x-request-id", "r-9")])

    (record,) = [each for each in caplog.records if each.name == "parfocal_runtime.audit"]
    said: Any = record.msg
    assert said["event"] == "audit"
    assert (said["caller"], said["code"], said["request_id"]) == (
        "anonymous",
        "PERMISSION_DENIED",
        "r-9",
    )
