"""Strategies by name."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from parfocal._errors import InvalidRequestError
from parfocal.suggestion.v1.strategy_pb2 import Strategy

STRATEGIES = tuple(field.name.replace("_", "-") for field in Strategy.DESCRIPTOR.fields)
"""Names of the strategies; docs/strategies.md says what each does and needs."""


def strategy_to_pb(
    strategy: str | Strategy, parameters: Mapping[str, str] | None = None
) -> Strategy:
    """Return the message of a strategy by name; a message stays as it is.

    Args:
        strategy: The name, or a message.
        parameters: Parameters as text, by the name of their field; what is not named keeps its
            default. Values of enums are words, such as `normalised`.

    Raises:
        InvalidRequestError: If there is no strategy of that name
            (`ERROR_REASON_UNKNOWN_STRATEGY`), or no such parameter of it or value of that
            (`ERROR_REASON_INVALID_FIELD`).
    """
    if isinstance(strategy, Strategy):
        return strategy
    if strategy not in STRATEGIES:
        raise InvalidRequestError(
            f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}",
            reason="ERROR_REASON_UNKNOWN_STRATEGY",
            metadata={"field": "strategy", "known": ", ".join(STRATEGIES)},
        )
    message = Strategy()
    chosen = getattr(message, strategy.replace("-", "_"))
    # Also where nothing is set in it.
    chosen.SetInParent()
    fields = chosen.DESCRIPTOR.fields_by_name
    for name, text in (parameters or {}).items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise _invalid(strategy, name, f"is not one of its parameters: {known}")
        try:
            ParseDict({name: _value(fields[name], text)}, chosen)
        except ParseError as error:
            raise _invalid(strategy, name, f"cannot be {text!r}") from error
    return message


def _value(field: FieldDescriptor, text: str) -> str | bool:
    if field.enum_type is not None:
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return prefix + text.upper().replace("-", "_")
    if field.type == FieldDescriptor.TYPE_BOOL and text in ("true", "false"):
        return text == "true"
    return text


def _invalid(strategy: str, parameter: str, fault: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{parameter!r} of {strategy} {fault}",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"field": f"strategy.{strategy.replace('-', '_')}.{parameter}"},
    )
