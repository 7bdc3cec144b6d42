"""Trying again what may work later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc.aio

from parfocal_loop.works import TakenOver
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import Cancelled, Conflict, DomainError, Exhausted, Unavailable
from parfocal_runtime.logs import get_logger

T = TypeVar("T")
Save = Callable[[], Awaitable[None]]
"""Stores the status as it is now."""

_PASSING = (Cancelled, Conflict, Exhausted, Unavailable)
_UNKNOWN_ATTEMPTS = 3
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0

log = get_logger(__name__)


async def persistently(action: Callable[[], Awaitable[T]]) -> T:
    """Return what `action` returns, trying again for as long as its failure may pass.

    A service that does not answer is waited for without end: the round goes on when it is back.
    What cannot work is raised at once, and what nobody foresaw after three attempts.

    Raises:
        TakenOver: If the action stores a row that another controller is at.
        DomainError: What cannot work.
        Exception: What nobody foresaw.
    """
    pause, unknown = _FIRST_PAUSE, 0
    while True:
        try:
            return await _with_domain_errors(action)
        except TakenOver:
            raise
        except _PASSING as error:
            log.warning("will try again", problem=str(error))
        except Exception as error:
            unknown += 1
            if _is_final(error) or unknown == _UNKNOWN_ATTEMPTS:
                raise
            log.warning("will try again", exc_info=True)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _is_final(error: Exception) -> bool:
    # A plain domain error is what a peer could not explain either.
    return isinstance(error, DomainError) and type(error) is not DomainError


async def _with_domain_errors(action: Callable[[], Awaitable[T]]) -> T:
    try:
        return await action()
    except grpc.RpcError as error:
        raise domain_error(error) from error
