"""How many calls one caller may make in a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from parfocal_runtime.errors import Exhausted


class RateLimiter:
    """A bucket of tokens for each caller: a call takes one, and they come back at a rate.

    Kept of a bucket is the time at which it will be full again; one that is full is not kept.

    Args:
        per_second: Calls per second that go on for ever.
        burst: Calls that may come at once after a rest.
        clock: Seconds of a clock that only goes forward.
        most_callers: Buckets that are kept; of more, those that are full soonest are forgotten.
    """

    def __init__(
        self,
        per_second: float,
        *,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        most_callers: int = 10_000,
    ) -> None:
        self._per_second = per_second
        self._interval = 1 / per_second
        # What may be missing from a bucket that still gives a token, in seconds of refilling.
        self._tolerance = (burst - 1) * self._interval
        self._clock = clock
        self._most = most_callers
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str) -> None:
        """Count a call of `caller`.

        Raises:
            Exhausted: If they are over the limit (`ERROR_REASON_RATE_LIMITED`); the error says
                when to try again.
        """
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now)
        wait = full_at - now - self._tolerance
        # Less than a rounding error is no wait.
        if wait > 1e-9:
            raise Exhausted(
                "ERROR_REASON_RATE_LIMITED",
                f"more than {self._per_second:g} calls per second; try again in {wait:.3f} s",
                limit=f"{self._per_second:g}",
            ).retry_after(wait)
        self._full_at[caller] = full_at + self._interval
        if len(self._full_at) > self._most:
            self._forget(now)

    def _forget(self, now: float) -> None:
        kept = sorted(self._full_at.items(), key=lambda item: item[1])[-(self._most // 2) :]
        self._full_at = {caller: full_at for caller, full_at in kept if full_at > now}
