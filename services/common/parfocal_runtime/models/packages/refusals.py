"""The error for a package that cannot be published."""

from __future__ import annotations

from parfocal_runtime.errors import InvalidInput


def refused(field: str, cause: str) -> InvalidInput:
    """Return the error for a package.

    Args:
        field: What is at fault: a field of the description such as `weights.onnx`, or a file.
        cause: What is wrong with it.
    """
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"the package cannot be published: {field}: {cause}",
        field=field,
        cause=cause,
    )
