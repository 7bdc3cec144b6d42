"""Who is handed which of the open queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from parfocal_labels.disclosure import SEES_ALL, Reader


@dataclass(frozen=True)
class Wish:
    """What somebody asks for.

    Attributes:
        annotator: Who asks.
        count: Queries at most.
        round: Only this round's; empty for all.
        ttl: How long the leases are to last, microseconds.
        reader: What they may see.
    """

    annotator: str
    count: int
    round: str
    ttl: int
    reader: Reader = SEES_ALL


@dataclass
class Hand:
    """What a wish has been handed so far."""

    wish: Wish
    wanted: int
    queries: list[int] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """How many queries it still lacks."""
        return self.wanted - len(self.queries)


def counted_as_out(share: float, *, handed: int, out: int, arrears: int) -> int:
    """Return how many gold queries, or repeats, count as handed out.

    What was due when there was none of it, or when the share was smaller, is not made up for: an
    annotator would get nothing else for a while. Only the last `arrears` are.

    Args:
        share: Of all that is handed out.
        handed: All queries that the annotator was handed.
        out: Those of the kind among them, or what counted as that before.
        arrears: How many are made up for at most.
    """
    return max(out, int(share * handed) - arrears)


class Table:
    """The queries in view, how many more people each can be handed to, and who must not be."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._barred: set[tuple[int, str]] = set()

    def lay(self, query: int, *, places: int) -> None:
        """Put a query on the table; one that lies there keeps the places that it has left."""
        self._places.setdefault(query, places)

    def bar(self, pairs: Iterable[tuple[int, str]]) -> None:
        """Keep queries from annotators who answered, skipped or hold them."""
        self._barred.update(pairs)

    def end(self, query: int, annotator: str) -> None:
        """Give the place of a lease that ended to whoever comes next, its holder too."""
        self._barred.discard((query, annotator))
        if query in self._places:
            self._places[query] += 1

    def take(self, query: int, annotator: str) -> bool:
        """Bar a query from an annotator; return whether it was not barred before."""
        pair = (query, annotator)
        is_new = pair not in self._barred
        self._barred.add(pair)
        return is_new

    def deal(self, queries: Sequence[int], hands: Collection[Hand]) -> None:
        """Hand `queries`, best first, to the wishes that lack some, first come, first served."""
        left = list(queries)
        for hand in hands:
            if hand.missing:
                left = self._fill(hand, left)

    def _fill(self, hand: Hand, queries: list[int]) -> list[int]:
        left: list[int] = []
        for number, query in enumerate(queries):
            if not hand.missing:
                return left + queries[number:]
            if self._places[query] > 0 and (query, hand.wish.annotator) not in self._barred:
                self._places[query] -= 1
                self._barred.add((query, hand.wish.annotator))
                hand.queries.append(query)
            if self._places[query] > 0:
                left.append(query)
        return left
