"""How a request that can never work is refused."""

from __future__ import annotations

from parfocal_runtime.errors import InvalidInput


def invalid(field: str, value: object, must: str) -> InvalidInput:
    """Return the error of a field with a value that it cannot have."""
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {must}, got {value!r}", field=field, value=value
    )


def missing(field: str) -> InvalidInput:
    """Return the error of a field that is not set."""
    return InvalidInput("ERROR_REASON_MISSING_FIELD", f"{field} must be given", field=field)
