"""Lists in pages: a page begins after the sort key of the last item of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = tuple[int | str, ...]
Item = TypeVar("Item")


@dataclass(frozen=True)
class PageRequest:
    """Which part of a list is wanted.

    Attributes:
        size: Items at most.
        after: Sort key of the last item of the page before; empty for the first page.
    """

    size: int
    after: Key = ()


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Part of a list.

    Attributes:
        items: The items.
        next_key: Where the next page begins; empty on the last page.
    """

    items: tuple[Item, ...]
    next_key: Key = ()


def page_of(
    items: Sequence[Item], request: PageRequest, *, key: Callable[[Item], Key]
) -> Page[Item]:
    """Return the page of `items`, which were read with one more than was asked for."""
    shown = tuple(items[: request.size])
    return Page(shown, key(shown[-1]) if len(items) > request.size else ())
