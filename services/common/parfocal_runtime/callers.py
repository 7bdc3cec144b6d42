"""Who is behind a call: its token's owner, its certificate's, or nobody in particular."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from parfocal_runtime.auth import Authenticator, TokenFile, bearer_token
from parfocal_runtime.calls import Call
from parfocal_runtime.errors import Unauthenticated
from parfocal_runtime.principals import Account, Role

# What gRPC calls the names in a client's certificate, the most telling first.
_KINDS = {
    "peer_uri": "uri",
    "peer_dns": "dns",
    "peer_email": "email",
    "x509_common_name": "cn",
}


class Callers:
    """Everybody whom a server knows.

    Args:
        authenticators: Know the owners of tokens; asked in turn. Without any, tokens do not count.
        certificates: Knows the owners of certificates; None where clients show none.
        anonymous_role: Role of callers who prove nothing; None refuses them.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        *,
        certificates: TokenFile | None = None,
        anonymous_role: Role | None = None,
    ) -> None:
        self._authenticators = tuple(authenticators)
        self._certificates = certificates
        self._anonymous = Account("anonymous", anonymous_role) if anonymous_role else None

    async def account(self, call: Call) -> Account:
        """Return who makes a call. A token counts before a certificate.

        Raises:
            Unauthenticated: If nobody known does (`ERROR_REASON_TOKEN_MISSING`,
                `ERROR_REASON_TOKEN_INVALID`, `ERROR_REASON_TOKEN_EXPIRED`,
                `ERROR_REASON_CERTIFICATE_UNKNOWN`).
            Unavailable: If that cannot be told at present.
        """
        token = bearer_token(call.metadata)
        if token is not None and self._authenticators:
            return await self._owner(token)
        identities: tuple[str, ...] = ()
        if self._certificates is not None:
            identities = tuple(_identities(call.context.auth_context()))
            owner = self._certificates.owner_of_certificate(identities)
            if owner is not None:
                return owner
        if self._anonymous is not None:
            return self._anonymous
        if identities:
            raise Unauthenticated(
                "ERROR_REASON_CERTIFICATE_UNKNOWN", "the certificate is not known"
            )
        raise Unauthenticated("ERROR_REASON_TOKEN_MISSING", "a bearer token is needed")

    async def _owner(self, token: str) -> Account:
        for authenticator in self._authenticators:
            account = await authenticator.authenticate(token)
            if account is not None:
                return account
        raise Unauthenticated("ERROR_REASON_TOKEN_INVALID", "the token is not known")


def _identities(context: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    for key, kind in _KINDS.items():
        for value in context.get(key, ()):
            yield f"{kind}:{value.decode('utf-8', 'replace')}"
