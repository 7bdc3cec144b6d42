"""How a database would run statements."""

from __future__ import annotations

from collections.abc import Sequence

from parfocal_runtime.transactions import Row, Session


class Explaining:
    """A session that says how it would run the statements that it is given."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.is_postgresql = session.is_postgresql
        self.plans: list[str] = []

    async def rows(self, statement: str, *parameters: object) -> list[Row]:
        word = "EXPLAIN" if self.is_postgresql else "EXPLAIN QUERY PLAN"
        rows = await self._session.rows(f"{word} {statement}", *parameters)
        self.plans.append("\n".join(str(tuple(row)[-1]) for row in rows))
        return []

    async def run(self, statement: str, *parameters: object) -> None:
        await self._session.run(statement, *parameters)

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._session.run_many(statement, rows)
