"""An annotator that knows the truth and answers through the public interface, as people would."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from parfocal import Client
    from parfocal.labels.v1.query_pb2 import Query

_PAGE = 20
_LEASE_SECONDS = 20.0
"""Short, so that a campaign that was killed goes on soon after it is started again."""


@dataclass(frozen=True)
class Oracle:
    """Answers the queries of a project from ground truth.

    Attributes:
        client: A connection as an annotator.
        project: The project.
        truth: Gives the verdicts (N,) of a candidate set by its name.
        error_rate: Share of answers that are wrong; which ones follows from candidate and seed.
        seed: Seed of the errors.
        sleep: Waits so many seconds.
    """

    client: Client
    project: str
    truth: Callable[[str], NDArray[np.bool_]]
    error_rate: float = 0.0
    seed: int = 0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def answer_round(self, name: str, report: Callable[[int, int], None]) -> None:
        """Lease, look up and submit until every query of the round is decided.

        Args:
            name: The round.
            report: Called with the queries that are decided and all there are.
        """
        while True:
            began = time.perf_counter()
            page = self.client.labels.lease(
                self.project, count=_PAGE, round=name, ttl_seconds=_LEASE_SECONDS
            )
            if page:
                self._answer([leased.query for leased in page], began)
            progress = self.client.labels.progress(self.project, round=name)
            report(int(progress.decided), int(progress.queries))
            if progress.decided >= progress.queries:
                return
            if not page:
                # Another annotator, or an earlier self that was killed, still holds the rest.
                self.sleep(0.5)

    def verdict(self, candidate_set: str, candidate: int) -> bool:
        """Return the answer to one query."""
        right = bool(self.truth(candidate_set)[candidate])
        slips = np.random.default_rng([self.seed, candidate]).random() < self.error_rate
        return right != slips

    def _answer(self, queries: list[Query], began: float) -> None:
        verdicts = {
            query.name: self.verdict(query.candidate_set, query.candidate) for query in queries
        }
        each = (time.perf_counter() - began) / len(queries)
        self.client.labels.submit(self.project, verdicts, seconds=dict.fromkeys(verdicts, each))
