"""Failures of a command: one readable line and an exit code."""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from parfocal._errors import (
    AccessError,
    ConflictError,
    ImageError,
    InvalidRequestError,
    NotFoundError,
    ParfocalError,
    UnavailableError,
)

EXIT_CODES: dict[type[ParfocalError], int] = {
    ParfocalError: 1,
    InvalidRequestError: 2,
    ImageError: 2,
    NotFoundError: 3,
    ConflictError: 4,
    AccessError: 5,
    UnavailableError: 6,
}
"""Exit code of the command for each failure; 2 is also that of a wrong option."""


class FailingGroup(typer.core.TyperGroup):
    """The group of all commands; turns `ParfocalError` into a line on standard error."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ParfocalError as error:
            reason = f" [{error.reason}]" if error.reason else ""
            typer.echo(f"error: {error}{reason}", err=True)
            raise typer.Exit(exit_code(error)) from error


def exit_code(error: ParfocalError) -> int:
    """Return the exit code of a failure: that of its nearest class in the table."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)
