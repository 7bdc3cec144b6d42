"""What the layers around a call cost: CPU per call, for each way to prove who one is.

    python benchmarks/layers.py [--quick] [--json FILE]

A SubmitLabels of 20 answers (a change, so it is in the audit trail) and a ListLabels (which is not)
go through every layer of a server to a method that does nothing, without a socket. From the CPU
time of the process that of decoding, the method and encoding alone is taken off. The best of five
runs. The goal is 100 µs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from joserfc import jwt
from joserfc.jwk import RSAKey

from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal_runtime.admission import AccessLayer
from parfocal_runtime.audit import AuditFile, AuditLayer, AuditLog, AuditTrail
from parfocal_runtime.auth import Role, TokenFile, write_token
from parfocal_runtime.callers import Callers
from parfocal_runtime.calls import LayeredHandlers
from parfocal_runtime.config import OidcSettings
from parfocal_runtime.interceptors import (
    DrainLayer,
    ErrorLayer,
    MetricsLayer,
    ReadinessLayer,
    RequestLayer,
)
from parfocal_runtime.issuer_keys import IssuerKeys, PublicKey
from parfocal_runtime.logs import configure_logs
from parfocal_runtime.metrics import GrpcMetrics, new_registry
from parfocal_runtime.oidc import OidcTokens
from parfocal_runtime.rate_limits import RateLimiter

RUNS = 5
GOAL_US = 100.0
ISSUER, AUDIENCE = "https://issuer.example", "parfocal"
SUBMIT = pb.SubmitLabelsRequest(
    parent="projects/vnc",
    request_id="r",
    answers=[pb.Answer(query=f"projects/vnc/queries/{number}") for number in range(20)],
)
LIST = pb.ListLabelsRequest(parent="projects/vnc")


@dataclass(frozen=True)
class Context:
    """What gRPC tells of a call."""

    metadata: tuple[tuple[str, str], ...] = ()
    certificate: Mapping[str, Sequence[bytes]] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what the caller sent."""
        return self.metadata

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Return what the connection proves."""
        return self.certificate or {}

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Take what goes back."""

    def code(self) -> None:
        """Return the code that the method set."""

    def peer(self) -> str:
        """Return where the call comes from."""
        return "ipv4:10.0.0.7:50312"


@dataclass(frozen=True)
class Details:
    """Which method is called."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class OneKey(IssuerKeys):
    """The keys of an issuer that is not asked."""

    def __init__(self, key: PublicKey) -> None:
        super().__init__(ISSUER)
        self._only = key

    async def find(self, key_id: str) -> PublicKey | None:
        """Return the key."""
        return self._only

    def keep_fresh(self) -> None:
        """Ask nobody."""


async def nothing(request: Any, context: Any) -> pb.SubmitLabelsResponse:
    """Answer at once."""
    return pb.SubmitLabelsResponse()


def cases(folder: Path) -> dict[str, tuple[Context, AuditTrail, RateLimiter | None]]:
    """Return callers, who each prove in another way who they are, with where the trail goes."""
    tokens = folder / "tokens"
    everywhere = write_token(tokens, name="ann", role=Role.ANNOTATOR)
    in_project = write_token(tokens, name="bob", projects={"vnc": Role.ANNOTATOR})
    with tokens.open("a") as lines:
        lines.write('{"name": "eve", "certificate": "URI:spiffe://lab/eve", "role": "annotator"}\n')
    file = AuditFile(folder / "audit")
    limiter = RateLimiter(1e9, burst=10)
    certificate = Context(certificate={"peer_uri": [b"spiffe://lab/eve"]})
    return {
        "token": (bearer(everywhere), file, None),
        "token, role in the project": (bearer(in_project), file, None),
        "token, limit": (bearer(everywhere), file, limiter),
        "token, trail in the log": (bearer(everywhere), AuditLog(), None),
        "JSON Web Token": (bearer(signed()), file, None),
        "certificate": (certificate, file, None),
    }


KEY = RSAKey.generate_key(2048, {"kid": "k"})


def signed() -> str:
    """Return a token of the issuer."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 3600}
    return jwt.encode({"alg": "RS256", "kid": "k"}, {**claims, "parfocal_role": "admin"}, KEY)


def bearer(token: str) -> Context:
    """Return a call with a token."""
    return Context((("user-agent", "benchmark"), ("authorization", f"Bearer {token}")))


def wrapped(
    request: Any, method: str, callers: Callers, trail: AuditTrail, limiter: RateLimiter | None
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """Return the method with every layer around it, in the order of a server."""
    layers = LayeredHandlers(
        [
            MetricsLayer(GrpcMetrics(new_registry())),
            RequestLayer(),
            ErrorLayer(),
            AuditLayer(trail),
            AccessLayer(callers, limiter=limiter, roots=("file:///data",)),
            DrainLayer(),
            ReadinessLayer(lambda name: True),
        ]
    )
    service = "parfocal.labels.v1.LabelsService"
    bare = grpc.method_handlers_generic_handler(service, {method: handler(request)})
    layers.add_generic_rpc_handlers([bare])
    details: Any = Details(f"/{service}/{method}")
    whole: Any = layers.service(details)
    behave: Callable[[bytes, Any], Awaitable[bytes]] = whole.unary_unary
    return behave


def handler(request: Any) -> Any:
    """Return the handler of a method that does nothing."""
    return grpc.unary_unary_rpc_method_handler(
        nothing,
        request_deserializer=type(request).FromString,
        response_serializer=pb.SubmitLabelsResponse.SerializeToString,
    )


async def cpu_us(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the CPU time of one call in microseconds: the best of several runs."""
    best = float("inf")
    for _ in range(RUNS):
        begin = time.process_time()
        for _ in range(calls):
            await call()
        best = min(best, (time.process_time() - begin) / calls)
    return 1e6 * best


async def measured(calls: int, folder: Path) -> list[tuple[str, str, float]]:
    """Return caller, method and CPU of the layers in microseconds."""
    known = cases(folder)
    listed = TokenFile(folder / "tokens")
    issued = OidcTokens(OidcSettings(issuer=ISSUER, audience=AUDIENCE), keys=OneKey(KEY))
    rows = []
    for title, (context, trail, limiter) in known.items():
        for method, request in (("SubmitLabels", SUBMIT), ("ListLabels", LIST)):
            callers = Callers([listed, issued], certificates=listed)
            whole = wrapped(request, method, callers, trail, limiter)
            data, bare = request.SerializeToString(), handler(request)

            async def alone(bare: Any = bare, data: bytes = data) -> bytes:
                answer = await nothing(bare.request_deserializer(data), None)
                return answer.SerializeToString()

            async def around(
                whole: Any = whole, data: bytes = data, context: Any = context
            ) -> bytes:
                answer: bytes = await whole(data, context)
                return answer

            cost = await cpu_us(around, calls) - await cpu_us(alone, calls)
            rows.append((title, method, cost))
    issued.close()
    return rows


def main() -> int:
    """Print a table; fail if a row misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open("/dev/null", "w") as nowhere:
        configure_logs(service="benchmark", level="INFO", stream=nowhere)
        costs = asyncio.run(measured(1000 if options.quick else 5000, Path(folder)))
    rows = [
        {
            "name": f"{method}, {title}",
            "value": round(cost, 1),
            "unit": "µs of CPU per call",
            "goal": f"<= {GOAL_US:.0f}",
            "holds": cost <= GOAL_US,
        }
        for title, method, cost in costs
    ]
    for row in rows:
        verdict = "yes" if row["holds"] else "NO"
        print(f"{row['name']:45} {row['value']:8} {row['unit']} {row['goal']:>8} {verdict}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
