"""Handing out the next queries: all wishes that wait, in one transaction."""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from parfocal_labels.handing_out import Hand, Table, Wish, counted_as_out
from parfocal_labels.recent_specs import RecentSpecs
from parfocal_labels.records import Lease, Project, Purpose, Query, QueryState
from parfocal_labels.rows import project_from_raw, query_from_raw, time_from_raw
from parfocal_labels.statements import Handed, Place, Statements
from parfocal_runtime.errors import DomainError, PermissionDenied
from parfocal_runtime.transactions import Row

_EXPIRED_AT_ONCE = 1000


@dataclass
class _Group:
    """Wishes that draw on the same part of the queue."""

    round: str
    skills: tuple[str, ...]
    hands: list[Hand]

    @property
    def missing(self) -> int:
        return sum(hand.missing for hand in self.hands)


HandedOut = Iterator[list[Lease] | DomainError]
"""What each wish comes to."""


async def hand_out(
    statements: Statements,
    name: str,
    wishes: Sequence[Wish],
    *,
    clock: Callable[[], int],
    sweep: bool,
    specs: RecentSpecs,
) -> HandedOut | None:
    """Lease the next queries of a project to those who ask, first come, first served.

    Args:
        statements: Of an open transaction.
        name: The project.
        wishes: Who asks for how many.
        clock: Gives the present time, microseconds since 1970 UTC. It is read once nothing has
            to be waited for any more, lest leases be short before they arrive.
        sweep: Whether to put leases that are over back first, a thousand at most. Where somebody
            would come away with less than they asked for it is done in any case, and then for
            as many more as they may judge and miss.
        specs: Where what the queries ask is kept at hand.

    Returns:
        For each wish its leases, by priority, then rank, with gold queries and repeats strewn
        in; fewer than asked for where there are no more queries that miss votes and that the
        annotator may, and did not yet, judge. Or why it is refused. They are made out as they
        are read, which needs no database any more and may well be when the transaction is over.
        None if there is no such project.
    """
    row = await statements.project(name, numbers=False)
    if row is None:
        return None
    work = _HandingOut(statements, project_from_raw(row), clock(), specs)
    return await work.run(wishes, sweep=sweep)


class _HandingOut:
    """One transaction's worth of handing out."""

    def __init__(
        self, statements: Statements, project: Project, now: int, specs: RecentSpecs
    ) -> None:
        self._statements = statements
        self._project = project
        self._now = now
        self._specs = specs
        self._table = Table()
        self._rows: dict[int, Row] = {}
        # What counted as handed out of gold and repeats before this.
        self._out: dict[str, tuple[int, int]] = {}

    async def run(self, wishes: Sequence[Wish], *, sweep: bool) -> HandedOut:
        known = await self._statements.annotators(
            self._project.id, {wish.annotator for wish in wishes}
        )
        suspended = {name for name, row in known.items() if row["suspended"]}
        asking = [wish for wish in wishes if wish.annotator not in suspended]
        ended = await self._end_expired() if sweep else 0
        extras = [await self._extras(wish, known.get(wish.annotator)) for wish in asking]
        hands = [
            Hand(wish, wish.count - len(extra)) for wish, extra in zip(asking, extras, strict=True)
        ]
        groups = _groups(hands, known)
        for group in groups:
            await self._serve(group)
        if not sweep and any(group.missing for group in groups):
            ended = await self._end_expired()
            for group in groups if ended else ():
                await self._serve(group)
        # A sweep may bring back only what others wait for. What it leaves is for the next ones.
        while ended == _EXPIRED_AT_ONCE and await self._end_expired_for(groups):
            for group in groups:
                await self._serve(group)
        await self._write(hands, extras)

        dealt = zip(hands, extras, strict=True)
        return (
            self._suspended(wish) if wish.annotator in suspended else self._leases(*next(dealt))
            for wish in wishes
        )

    async def _serve(self, group: _Group) -> None:
        if not group.missing:
            return
        rows, after = await self._look(group, None, count=group.missing)
        await self._deal(rows, group.hands)
        # Whoever is far ahead of the others has answered what lies next; the database passes it
        # over for them.
        for hand in group.hands:
            rows, place = await self._behind(group, after, hand)
            while rows:
                await self._deal(rows, [hand])
                rows, place = await self._behind(group, place, hand)

    async def _behind(
        self, group: _Group, after: Place | None, hand: Hand
    ) -> tuple[list[Row], Place | None]:
        if not hand.missing or after is None:
            return [], after
        return await self._look(group, after, count=hand.missing, annotator=hand.wish.annotator)

    async def _look(
        self, group: _Group, after: Place | None, *, count: int, annotator: str = ""
    ) -> tuple[list[Row], Place | None]:
        """Return the next open queries behind `after` that the group, or one of it, may judge."""
        found = [
            await self._statements.open_queries(
                self._project.id,
                round_=group.round,
                skill=skill,
                after=after,
                count=count,
                annotator=annotator,
            )
            for skill in group.skills
        ]
        rows = found[0] if len(found) == 1 else list(heapq.merge(*found, key=_order))[:count]
        return rows, _place(rows[-1]) if rows else after

    async def _deal(self, rows: Sequence[Row], hands: Sequence[Hand]) -> None:
        needed = self._project.rules.votes_needed
        for row in rows:
            self._rows[row["id"]] = row
            self._table.lay(row["id"], places=needed - row["votes"] - row["leases"])
        # Looked up now that the rows are locked: what was committed before that is seen.
        touched = [row["id"] for row in rows if row["votes"] or row["leases"] or row["skips"]]
        if touched:
            names = {hand.wish.annotator for hand in hands}
            self._table.bar(await self._statements.barred(touched, names))
        self._table.deal([row["id"] for row in rows], hands)

    async def _extras(self, wish: Wish, known: Row | None) -> list[tuple[int, Purpose]]:
        """Return gold queries and repeats that are due to an annotator."""
        rules = self._project.rules
        if not (rules.gold_share or rules.repeat_share):
            return []
        handed, gold, repeats = (
            (known["handed_out"], known["gold_out"], known["repeats_out"]) if known else (0, 0, 0)
        )
        gold = counted_as_out(rules.gold_share, handed=handed, out=gold, arrears=1)
        # Whoever begins has nothing to repeat yet, and gold goes before repeats.
        repeats = counted_as_out(
            rules.repeat_share,
            handed=handed,
            out=repeats,
            arrears=math.ceil(rules.repeat_share * wish.count),
        )
        self._out[wish.annotator] = (gold, repeats)
        after = handed + wish.count
        extras: list[tuple[int, Purpose]] = []
        for purpose, share, out, look in (
            (Purpose.GOLD, rules.gold_share, gold, self._statements.gold),
            (Purpose.REPEAT, rules.repeat_share, repeats, self._statements.repeats),
        ):
            due = min(int(share * after) - out, wish.count - len(extras))
            if due > 0:
                rows = await look(self._project.id, wish.annotator, _skills(known), count=due)
                self._rows.update((row["id"], row) for row in rows)
                free = [row["id"] for row in rows if self._table.take(row["id"], wish.annotator)]
                extras += [(query, purpose) for query in free]
        return extras

    async def _write(
        self, hands: Sequence[Hand], extras: Sequence[list[tuple[int, Purpose]]]
    ) -> None:
        wishes = [hand.wish for hand in hands]
        held = [
            (query, number, purpose)
            for number, (hand, extra) in enumerate(zip(hands, extras, strict=True))
            for query, purpose in [*((one, Purpose.VOTE) for one in hand.queries), *extra]
        ]
        if not held:
            return
        project = self._project
        await self._statements.hold(
            project.id, wishes, held, now=self._now, votes_needed=project.rules.votes_needed
        )
        if project.rules.gold_share or project.rules.repeat_share:
            counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
            for _, number, purpose in held:
                count = counts[wishes[number].annotator]
                count[0] += 1
                if purpose is not Purpose.VOTE:
                    count[1 if purpose is Purpose.GOLD else 2] += 1
            handed = [
                Handed(name, queries, gold, repeats, *self._out[name])
                for name, (queries, gold, repeats) in sorted(counts.items())
            ]
            await self._statements.count_handed(project.id, handed, now=self._now)

    async def _end_expired(self) -> int:
        """Put queries whose leases are over back into the queue; return how many leases ended."""
        ids = await self._statements.expired(
            self._project.id, now=self._now, count=_EXPIRED_AT_ONCE
        )
        await self._end(ids)
        return len(ids)

    async def _end_expired_for(self, groups: Sequence[_Group]) -> bool:
        """Put back what those who go short may judge, as far; return whether there was any."""
        found = False
        for group in groups:
            for hand in group.hands:
                ids = await self._expired_for(group, hand) if hand.missing else []
                await self._end(ids)
                found = found or bool(ids)
        return found

    async def _expired_for(self, group: _Group, hand: Hand) -> list[int]:
        return await self._statements.expired_for(
            self._project.id,
            hand.wish.annotator,
            group.skills,
            round_=group.round,
            now=self._now,
            count=hand.missing,
        )

    async def _end(self, ids: Sequence[int]) -> None:
        if not ids:
            return
        ended = await self._statements.end_expired(
            ids, now=self._now, votes_needed=self._project.rules.votes_needed
        )
        for query, annotator in ended:
            self._table.end(query, annotator)

    def _leases(self, hand: Hand, extra: list[tuple[int, Purpose]]) -> list[Lease]:
        until = time_from_raw(self._now + hand.wish.ttl)
        queries = [self._query(query, Purpose.VOTE) for query in hand.queries]
        queries.sort(key=lambda query: (-query.spec.priority, query.spec.rank, query.id))
        if extra:
            # Where they lie must not tell them apart, and the same state gives the same order.
            state = f"{self._project.id}/{hand.wish.annotator}/{hand.queries}/{extra}"
            places = random.Random(state)
            for query, purpose in extra:
                queries.insert(places.randint(0, len(queries)), self._query(query, purpose))
        seen = (hand.wish.reader.query(query, self._project) for query in queries)
        return [Lease(query, until) for query in seen]

    def _query(self, number: int, purpose: Purpose) -> Query:
        query = query_from_raw(self._rows[number])
        self._specs.keep(number, query.spec)
        return query if purpose is Purpose.VOTE else _in_disguise(query)

    def _suspended(self, wish: Wish) -> PermissionDenied:
        return PermissionDenied(
            "ERROR_REASON_ANNOTATOR_SUSPENDED",
            f"{wish.annotator} is not handed queries of projects/{self._project.name}",
            project=self._project.name,
            annotator=wish.annotator,
        )


def _in_disguise(query: Query) -> Query:
    """Return a gold query or a repeat as it would look among those that are asked first."""
    return query._replace(state=QueryState.OPEN, votes=0)


def _groups(hands: Sequence[Hand], known: dict[str, Row]) -> list[_Group]:
    groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
    for hand in hands:
        key = (hand.wish.round, _skills(known.get(hand.wish.annotator)))
        groups.setdefault(key, _Group(*key, [])).hands.append(hand)
    return list(groups.values())


def _skills(known: Row | None) -> tuple[str, ...]:
    """Return the skills that queries for an annotator may take; "" is none."""
    if known is None:
        return ("",)
    skills = known["skills"]
    return ("", *sorted(json.loads(skills) if isinstance(skills, str) else skills))


def _order(row: Row) -> tuple[int, int, int]:
    return (-row["priority"], row["rank"], row["id"])


def _place(row: Row) -> Place:
    return (row["priority"], row["rank"], row["id"])
