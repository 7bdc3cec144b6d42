"""Hearing what PostgreSQL tells on a channel, for as long as the service lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
from sqlalchemy.engine import URL

from parfocal_runtime.logs import get_logger
from parfocal_runtime.transactions import CONNECT_SECONDS, DRIVER_ERRORS

_AGAIN_SECONDS = 1.0

_log = get_logger(__name__)


async def listen(url: URL, channel: str, heard: Callable[[str], None]) -> None:
    """Call `heard` with what is told on `channel`, until cancelled.

    A lost connection is made again. Nothing tells what was said in between, so `heard` is called
    with nothing after every connect: then anything may be new.

    Args:
        url: Address of the database.
        channel: On which others `NOTIFY`.
        heard: Called with the payload; empty where something may have been missed.
    """
    options = {**url.translate_connect_args(username="user"), **url.query}
    while True:
        try:
            await _listen_once(options, channel, heard)
        except DRIVER_ERRORS as error:
            _log.warning("the database does not tell what is new", problem=str(error))
        await asyncio.sleep(_AGAIN_SECONDS)


async def _listen_once(
    options: dict[str, object], channel: str, heard: Callable[[str], None]
) -> None:
    ended = asyncio.Event()
    connection = await asyncpg.connect(**options, timeout=CONNECT_SECONDS)
    try:
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(channel, lambda *event: heard(str(event[-1])))
        heard("")
        await ended.wait()
    finally:
        with contextlib.suppress(*DRIVER_ERRORS):
            await connection.close(timeout=1)
