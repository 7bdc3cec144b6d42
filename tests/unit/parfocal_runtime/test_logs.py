from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from parfocal_runtime.logs import configure_logs, get_logger
from parfocal_runtime.request_id import Request, current_request


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    configure_logs(service="labels", level="INFO", stream=stream)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields(stream: io.StringIO) -> None:
    get_logger("a.b").info("done", candidates=3)

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "done",
        "candidates": 3,
        "level": "info",
        "logger": "a.b",
        "service": "labels",
    }


def test_lines_of_other_libraries_look_the_same(stream: io.StringIO) -> None:
    logging.getLogger("other").warning("lost %d of %d", 1, 2)

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost 1 of 2", "warning", "other")


def test_a_line_names_the_request_it_belongs_to(stream: io.StringIO) -> None:
    token = current_request.set(Request("r-1", "/a.B/C", caller="ann"))
    get_logger("a").info("inside")
    logging.getLogger("other").warning("inside too")
    current_request.reset(token)
    get_logger("a").info("outside")

    inside, too, outside = lines(stream)
    assert (inside["request_id"], inside["method"], inside["caller"]) == ("r-1", "/a.B/C", "ann")
    assert too["request_id"] == "r-1"
    assert "request_id" not in outside


@pytest.mark.parametrize("key", ["token", "Authorization", "secret_key", "password"])
def test_secrets_are_blanked(stream: io.StringIO, key: str) -> None:
    get_logger("a").info("call", **{key: "hunter2"})

    assert "hunter2" not in stream.getvalue()


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    get_logger("a").debug("detail")
    logging.getLogger("grpc").debug("detail")

    assert stream.getvalue() == ""


def test_a_trace_is_part_of_the_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        get_logger("a").exception("failed")

    (line,) = lines(stream)
    assert "ValueError: odd" in line["exception"]
