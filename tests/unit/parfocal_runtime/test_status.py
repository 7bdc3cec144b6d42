from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime import errors
from parfocal_runtime.errors import (
    DomainError,
    InvalidInput,
    NotFound,
    Unavailable,
    Violation,
    WrongState,
)
from parfocal_runtime.status import (
    STATUS_CODES,
    details_of,
    error_from_status,
    message_of,
    status_code,
)

DOMAIN_ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, DomainError)
]


@pytest.mark.parametrize("kind", DOMAIN_ERRORS)
def test_every_domain_error_has_a_code(kind: type[DomainError]) -> None:
    assert kind in STATUS_CODES


def test_no_two_domain_errors_share_a_code() -> None:
    assert len(set(STATUS_CODES.values())) == len(STATUS_CODES)


def test_a_subclass_has_the_code_of_its_nearest_class_in_the_table() -> None:
    class ModelNotFound(NotFound):
        pass

    assert status_code(ModelNotFound("ERROR_REASON_MODEL_NOT_FOUND", "none")) is (
        grpc.StatusCode.NOT_FOUND
    )


@pytest.mark.parametrize("kind", DOMAIN_ERRORS)
def test_an_error_survives_the_way_there_and_back(kind: type[DomainError]) -> None:
    error = kind("ERROR_REASON_INVALID_FIELD", "no", field="a", count=3)

    again = error_from_status(status_code(error), message_of(error), details_of(error))

    assert type(again) is kind
    assert (again.reason, again.message) == (error.reason, error.message)
    assert again.metadata == {"field": "a", "count": "3"}


@given(text=st.text(alphabet=st.characters(exclude_categories=())), count=st.integers(1, 30))
def test_whatever_the_text_the_details_fit_into_metadata(text: str, count: int) -> None:
    long = text * 500
    values: dict[str, Any] = {f"k{n}": long for n in range(count)}
    error = InvalidInput("ERROR_REASON_X", long, field=long, **values)

    packed = details_of(error)

    status_pb2.Status.FromString(packed)
    message_of(error).encode()
    # Base64 in the trailers, beside the message, within 8 KiB of ASCII text.
    assert not text.isascii() or len(packed) < 5500


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable, "ERROR_REASON_DEPENDENCY_UNAVAILABLE"),
        (grpc.StatusCode.UNAVAILABLE, Unavailable, "ERROR_REASON_DEPENDENCY_UNAVAILABLE"),
        (grpc.StatusCode.UNKNOWN, DomainError, "ERROR_REASON_INTERNAL"),
        (grpc.StatusCode.UNIMPLEMENTED, DomainError, "ERROR_REASON_INTERNAL"),
        (grpc.StatusCode.CANCELLED, errors.Cancelled, "ERROR_REASON_CANCELLED"),
    ],
)
def test_a_status_without_details_still_has_a_reason(
    code: grpc.StatusCode, kind: type[DomainError], reason: str
) -> None:
    error = error_from_status(code, "no answer", None)

    assert type(error) is kind
    assert error.reason == reason


def violations(count: int, *, text: str = "not leased") -> list[Violation]:
    return [
        Violation(f"answers[{number}]", "ERROR_REASON_QUERY_NOT_LEASED", text)
        for number in range(count)
    ]


def test_several_things_at_fault_are_named_one_by_one() -> None:
    error = WrongState("ERROR_REASON_QUERY_NOT_LEASED", "two", violations(2), query="q")

    packed = status_pb2.Status.FromString(details_of(error)).details
    failure = error_details_pb2.PreconditionFailure()

    assert packed[1].Unpack(failure)
    assert [(each.subject, each.type, each.description) for each in failure.violations] == [
        ("answers[0]", "ERROR_REASON_QUERY_NOT_LEASED", "not leased"),
        ("answers[1]", "ERROR_REASON_QUERY_NOT_LEASED", "not leased"),
    ]


def test_things_at_fault_survive_the_way_there_and_back() -> None:
    error = WrongState("ERROR_REASON_QUERY_NOT_LEASED", "two", violations=violations(2), query="q")

    again = error_from_status(status_code(error), message_of(error), details_of(error))

    assert again.violations == tuple(violations(2))
    assert again.metadata == {"query": "q"}


def test_of_too_many_things_at_fault_the_first_are_named_and_the_rest_counted() -> None:
    error = WrongState("ERROR_REASON_QUERY_NOT_LEASED", "many", violations(1000))

    packed = details_of(error)
    again = error_from_status(status_code(error), message_of(error), packed)

    assert len(packed) < 5500
    assert 40 < len(again.violations) < 1000
    assert again.violations == tuple(violations(len(again.violations)))
    assert again.metadata == {"violations_left_out": str(1000 - len(again.violations))}


@given(text=st.text(alphabet=st.characters(exclude_categories=())), count=st.integers(1, 30))
def test_whatever_the_text_of_violations_the_details_fit(text: str, count: int) -> None:
    error = WrongState("ERROR_REASON_X", text * 20, violations(count, text=text * 500))

    packed = details_of(error)

    status_pb2.Status.FromString(packed)
    assert len(packed) < 5500 + 3 * 1000
