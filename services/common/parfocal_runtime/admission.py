"""The layer that lets calls in: who calls, how often, and whether they may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parfocal_runtime.access import (
    METHOD_RULES,
    PUBLIC_METHODS,
    Rule,
    method_without_rule,
    require_access,
    require_access_somewhere,
)
from parfocal_runtime.callers import Callers
from parfocal_runtime.calls import Answer, Call, Method
from parfocal_runtime.principals import Account, acting_as, become
from parfocal_runtime.rate_limits import RateLimiter
from parfocal_runtime.request_id import current_request

_STREAMED = frozenset({"client_stream", "bidi_stream"})


class AccessLayer:
    """Finds out who calls and whether they may.

    Args:
        callers: Everybody who is known.
        rules: The rule of each method.
        limiter: Counts the calls of each caller; None lets everybody call as often as they like.
        roots: URIs of the object store's root, to tell which projects its paths are about.
    """

    def __init__(
        self,
        callers: Callers,
        *,
        rules: Mapping[str, Rule] = METHOD_RULES,
        limiter: RateLimiter | None = None,
        roots: Sequence[str] = (),
    ) -> None:
        self._callers = callers
        self._rules = rules
        self._limiter = limiter
        self._roots = roots

    def around(self, method: Method, answer: Answer) -> Answer:
        """Check the calls of `method` and make their caller the principal."""
        if method.name in PUBLIC_METHODS:
            return answer
        name, rule = method.name, self._rules.get(method.name)
        find = rule.finder(self._roots) if rule is not None else None
        is_streamed = method.kind in _STREAMED

        async def checked(call: Call) -> bytes | None:
            account = await self._identified(call)
            if rule is None or find is None:
                raise method_without_rule(name)
            # What a stream is about is known only once its handler runs.
            caller = require_access_somewhere(account, name, rule) if is_streamed else None

            def look(message: Any) -> None:
                projects = find(message)
                request = current_request.get()
                if request is not None:
                    request.projects = projects
                become(require_access(account, name, rule, projects=projects))

            call.on_request.append(look)
            with acting_as(caller):
                return await answer(call)

        return checked

    async def _identified(self, call: Call) -> Account:
        account = await self._callers.account(call)
        request = current_request.get()
        if request is not None:
            request.caller = account.name
        if self._limiter is not None and account.limited:
            self._limiter.take(account.name)
        return account
