"""Fields of requests as values: each function returns what it was given, or says what is wrong."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.layout import checked_name

_MOST_DIGITS = 18
_PROJECT = re.compile(r"projects/([^/]+)")
_QUERY = re.compile(r"projects/([^/]+)/queries/([0-9]+)")
_LABEL = re.compile(r"projects/([^/]+)/labels/([0-9]+)")
_SNAPSHOT = re.compile(r"projects/([^/]+)/snapshots/([0-9a-f]{64})")


def invalid(field: str, demand: str, value: object) -> InvalidInput:
    """Return the error of a field whose value can never work."""
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"{field} must be {demand}, got {value!r}",
        field=field,
        value=value,
    )


def missing(field: str) -> InvalidInput:
    """Return the error of a required field that is not set."""
    return InvalidInput("ERROR_REASON_MISSING_FIELD", f"{field} must be set", field=field)


def text(value: str, field: str, *, longest: int, required: bool = False) -> str:
    """Return text of at most `longest` characters, free of NUL, which no database keeps."""
    if required and not value:
        raise missing(field)
    if len(value) > longest:
        raise invalid(field, f"at most {longest} characters long", f"{value[:20]}...")
    if "\0" in value:
        raise invalid(field, "free of NUL characters", value)
    return value


def whole(value: int, field: str, *, least: int, most: int, default: int | None = None) -> int:
    """Return a number from `least` to `most`; where there is a `default`, 0 stands for it."""
    if value == 0 and default is not None:
        return default
    if not least <= value <= most:
        raise invalid(field, f"{least} to {most}", value)
    return value


def seconds(value: float, field: str) -> float:
    """Return a duration in seconds, finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise invalid(field, "finite and not negative", value)
    return value


def duration(
    value: Duration | None, field: str, *, least: float, most: float, default: float
) -> timedelta:
    """Return a duration from `least` to `most` seconds, `default` where it is not set."""
    if value is None:
        return timedelta(seconds=default)
    length = value.seconds + value.nanos * 1e-9
    if not least <= length <= most:
        raise invalid(field, f"{least} to {most} seconds", length)
    return timedelta(seconds=length)


def name(value: str, field: str) -> str:
    """Return a name that is required: 1 to 63 of a-z, 0-9, `.`, `_`, `-`."""
    if not value:
        raise missing(field)
    return checked_name(value, field=field)


def optional_name(value: str, field: str) -> str:
    """Return a name, or nothing."""
    return name(value, field) if value else ""


def json_object(value: str, field: str, *, longest: int) -> str:
    """Return the text of a JSON object, or nothing."""
    if not text(value, field, longest=longest):
        return value
    try:
        is_object = isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise invalid(field, "a JSON object", f"{value[:20]}...")
    return value


def project_of(resource: str, field: str) -> str:
    """Return the project of `projects/{project}`."""
    if not resource:
        raise missing(field)
    match = _PROJECT.fullmatch(resource)
    if match is None:
        raise invalid(field, "projects/{project}", resource)
    return checked_name(match[1], field=field)


def project_and_query_of(resource: str, field: str) -> tuple[str, int]:
    """Return project and number of `projects/{project}/queries/{query}`."""
    return _numbered(resource, field, pattern=_QUERY, demand="queries/{query}")


def query_of(resource: str, field: str, *, project: str) -> int:
    """Return the query of `projects/{project}/queries/{query}`, which must be of `project`."""
    owner, number = project_and_query_of(resource, field)
    if owner != project:
        raise invalid(field, f"a query of projects/{project}", resource)
    return number


def label_of(resource: str, field: str) -> tuple[str, int]:
    """Return project and sequence number of `projects/{project}/labels/{sequence}`."""
    return _numbered(resource, field, pattern=_LABEL, demand="labels/{sequence}")


def snapshot_of(resource: str, field: str) -> tuple[str, str]:
    """Return project and digest of `projects/{project}/snapshots/{sha256}`."""
    if not resource:
        raise missing(field)
    match = _SNAPSHOT.fullmatch(resource)
    if match is None:
        raise invalid(field, "projects/{project}/snapshots/{sha256}", resource[:200])
    return checked_name(match[1], field=field), match[2]


def _numbered(
    resource: str, field: str, *, pattern: re.Pattern[str], demand: str
) -> tuple[str, int]:
    if not resource:
        raise missing(field)
    match = pattern.fullmatch(resource)
    # More digits than any number of ours has would not fit the database either.
    if match is None or len(match[2]) > _MOST_DIGITS:
        raise invalid(field, f"projects/{{project}}/{demand}", resource[:200])
    return checked_name(match[1], field=field), int(match[2])
