"""Lists that come page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PAGE_SIZE = 1000
"""The most that a service gives at a time."""


def every_item(fetch: Callable[[str], tuple[Iterable[Item], str]]) -> Iterator[Item]:
    """Yield the items of all pages.

    Args:
        fetch: Takes a page token, empty for the first page; returns a page's items and the token
            of the next one, empty after the last.
    """
    token = ""
    while True:
        items, token = fetch(token)
        yield from items
        if not token:
            return
