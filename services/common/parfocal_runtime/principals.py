"""Who somebody is and what they may do: roles, accounts, and the caller of the running request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from parfocal_runtime.errors import Unauthenticated


class Role(IntEnum):
    """What a caller may do; each role may do all that the lower ones may."""

    VIEWER = 1
    ANNOTATOR = 2
    CURATOR = 3
    ADMIN = 4

    @classmethod
    def parse(cls, name: str) -> Role:
        """Return the role called `name`, in lower case.

        Raises:
            ValueError: If there is none.
        """
        for role in cls:
            if role.name.lower() == name:
                return role
        raise ValueError(f"a role is viewer, annotator, curator or admin, got {name!r}")


RESERVED_PREFIX = "import/"
"""What no caller's name begins with: labels from elsewhere stand under such names."""


@dataclass(frozen=True)
class Account:
    """Somebody who is known: the name that stands on their labels, and their roles.

    Attributes:
        name: Who.
        role: What they may do in every project and where no project is meant; None is nothing.
        projects: What they may do in single projects, by name, where that is more.
        limited: Whether the limit on calls per second counts for them.
    """

    name: str
    role: Role | None = None
    projects: Mapping[str, Role] = field(default_factory=dict)
    limited: bool = True

    @cached_property
    def highest(self) -> Role | None:
        """The highest role that they have anywhere."""
        return max(filter(None, (self.role, *self.projects.values())), default=None)

    def role_in(self, project: str) -> Role | None:
        """Return what they may do in one project; None is nothing."""
        given = self.projects.get(project)
        if given is None or self.role is None:
            return given or self.role
        return max(given, self.role)

    def acting_with(self, role: Role) -> Principal:
        """Return them as the caller of a request in which they have `role`."""
        if role not in self._principals:
            self._principals[role] = Principal(self.name, role, self)
        return self._principals[role]

    @cached_property
    def _principals(self) -> dict[Role, Principal]:
        return {}


@dataclass(frozen=True)
class Principal:
    """The caller of a request.

    Attributes:
        name: The name that stands on their labels.
        role: What they may do in the project that the request is about: the lowest of their roles
            where it is about several, the highest that they have anywhere where it is about none.
        account: All that they may do; None is `role` everywhere.
    """

    name: str
    role: Role
    account: Account | None = None

    def may(self, role: Role, project: str) -> bool:
        """Say whether they have at least `role` in any one project."""
        if self.account is None:
            return self.role >= role
        return (self.account.role_in(project) or 0) >= role

    def visible_projects(self) -> Collection[str] | None:
        """Return the names of the projects that they may look at; None is all."""
        if self.account is None or self.account.role is not None:
            return None
        return self.account.projects.keys()


_current: ContextVar[Principal | None] = ContextVar("parfocal_principal", default=None)


def principal() -> Principal:
    """Return the caller of the running request.

    Raises:
        Unauthenticated: Outside a request, or in one that needs no caller
            (`ERROR_REASON_TOKEN_MISSING`).
    """
    caller = _current.get()
    if caller is None:
        raise Unauthenticated("ERROR_REASON_TOKEN_MISSING", "nobody is calling")
    return caller


@contextmanager
def acting_as(caller: Principal | None) -> Iterator[None]:
    """Make `caller` the principal inside the block; None is nobody yet."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)


def become(caller: Principal) -> None:
    """Make `caller` the principal until the surrounding `acting_as` ends."""
    _current.set(caller)
