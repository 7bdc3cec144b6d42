"""The event loop that services run on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

if sys.platform == "win32":

    def run(main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end and return what it returns."""
        return asyncio.run(main)

else:
    # Compiled, where asyncio's own is written in Python. There is none for Windows.
    import uvloop

    def run(main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end and return what it returns."""
        return uvloop.run(main)
