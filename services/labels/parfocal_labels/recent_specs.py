"""What the queries that people hold ask, kept at hand until they answer."""

from __future__ import annotations

from collections import OrderedDict

from parfocal_labels.records import QuerySpec


class RecentSpecs:
    """The specs of the queries handed out last, by number.

    Nothing of a spec ever changes, so one that is kept here is as good as one that is read
    again, whichever replica wrote it.
    """

    def __init__(self, most: int) -> None:
        """Keep at most `most` specs; the oldest goes first."""
        self._most = most
        # A plain dictionary would look for its oldest entry through all that are gone.
        self._specs: OrderedDict[int, QuerySpec] = OrderedDict()

    def keep(self, query: int, spec: QuerySpec) -> None:
        """Keep what a query asks."""
        self._specs[query] = spec
        if len(self._specs) > self._most:
            self._specs.popitem(last=False)

    def get(self, query: int) -> QuerySpec | None:
        """Return what a query asks, if it is here."""
        return self._specs.get(query)
