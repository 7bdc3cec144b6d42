"""Settings: frozen dataclasses, read once from the environment at start-up."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from parfocal_runtime.store import S3Settings

Config = TypeVar("Config")

COMMON_PREFIX = "PARFOCAL"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
MEBIBYTE = 1 << 20


class ConfigError(Exception):
    """A setting that cannot be used; the message names the variable. Start-up stops."""


def bounded(default: float, *, least: float | None = None, most: float | None = None) -> Any:
    """Return a dataclass field with a default and the range that its variable must lie in."""
    return field(default=default, metadata={"least": least, "most": most})


def from_env(cls: type[Config], mapping: Mapping[str, str], prefix: str) -> Config:
    """Read a frozen dataclass from variables named after its fields.

    Field `grace_seconds` is `{prefix}_GRACE_SECONDS`; where that is not set, what all services
    share counts, `PARFOCAL_GRACE_SECONDS`; then the default. A field that is a dataclass is read
    the same way, its own name added: `{prefix}_S3_ENDPOINT`, then `PARFOCAL_S3_ENDPOINT`.

    Types: str, int, float, bool (true/false, 1/0, yes/no, on/off), `Literal` of strings,
    `tuple[str, ...]` (comma between), any of them with `| None` (empty text is None).

    Raises:
        ConfigError: If a value does not fit its field, or one without default is not set.
    """
    return _read(cls, mapping, [prefix, COMMON_PREFIX])


def variable_names(cls: type[Any], prefix: str) -> list[str]:
    """Return the variables that `from_env` reads for `cls`, in order of the fields."""
    hints = get_type_hints(cls)
    names = []
    for each in dataclasses.fields(cls):
        name = f"{prefix}_{each.name.upper()}"
        nested = _nested(hints[each.name])
        names += [name] if nested is None else variable_names(nested, name)
    return names


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """An OpenID Connect issuer whose tokens are taken, and which of their claims say what."""

    issuer: str = ""
    """URL of the issuer, as its tokens have it in `iss`; empty takes no such tokens."""
    audience: str = ""
    """What tokens must have in `aud`."""
    ca_file: str = ""
    """PEM authorities of the issuer's certificate; empty takes the system's."""
    name_claim: str = "sub"
    """Claim with the name that stands on labels; `a.b` is member `b` of the claim `a`."""
    role_claim: str = "parfocal_role"
    """Claim with the role for everywhere, or a list of which the highest counts."""
    projects_claim: str = "parfocal_projects"
    """Claim with roles for single projects: an object by project, or a list of `project:role`."""
    refresh_seconds: float = bounded(10.0, least=0)
    """Least time between two fetches of the issuer's keys."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What every service needs to know to run; services add fields in a subclass."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` for all."""
    port: int = bounded(50051, least=0, most=65535)
    """Port of gRPC; 0 takes a free one."""
    metrics_port: int = bounded(-1, least=-1, most=65535)
    """Port of `/metrics` over HTTP; 0 takes a free one, -1 is off."""
    store_uri: str = ""
    """Object store: `file:///folder` or `s3://bucket/prefix`."""
    s3: S3Settings = field(default_factory=S3Settings)
    """How to reach the S3 service, for an `s3://` store."""
    tokens_file: str = ""
    """File of callers, one JSON object a line: name, sha256 of the token or certificate, role for
    everywhere or projects with roles."""
    oidc: OidcSettings = field(default_factory=OidcSettings)
    """Callers who show a token of an OpenID Connect issuer."""
    anonymous_role: Literal["", "viewer", "annotator", "curator", "admin"] = ""
    """Role of callers without a token; empty refuses them."""
    tls_certificate_file: str = ""
    """PEM chain that the server shows; empty speaks plain text."""
    tls_key_file: str = field(default="", repr=False)
    """PEM key of the certificate."""
    tls_client_ca_file: str = ""
    """PEM authorities; with it clients must show a certificate that one of them signed. Whose it is
    may stand in the tokens file."""
    audit_file: str = ""
    """File of JSON lines about calls that change something or are refused; empty is the log."""
    rate_limit: float = bounded(0.0, least=0)
    """Calls per second that each caller may make; 0 is no limit."""
    rate_burst: int = bounded(100, least=1)
    """Calls that a caller may make at once after a rest, where there is a limit."""
    max_message_bytes: int = bounded(64 * MEBIBYTE, least=1024, most=2**31 - 1)
    """Largest message taken and sent."""
    max_concurrent_rpcs: int = bounded(4096, least=1)
    """Calls in progress above which new ones are refused with RESOURCE_EXHAUSTED."""
    max_connection_age_seconds: int = bounded(0, least=0)
    """Age at which a connection is closed in good order, so that load spreads anew; 0 is never."""
    worker_threads: int = bounded(0, least=0, most=1024)
    """Threads for blocking work; 0 is the CPUs that the process has plus 4."""
    drain_seconds: float = bounded(0.0, least=0)
    """How long health says NOT_SERVING before new calls are refused: the time that load balancers
    need to look elsewhere."""
    grace_seconds: float = bounded(25.0, least=0)
    """How long calls in progress may go on once new ones are refused."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log lines that are written."""


def _read(cls: type[Config], mapping: Mapping[str, str], prefixes: list[str]) -> Config:
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):  # type: ignore[arg-type]
        names = list(dict.fromkeys(f"{prefix}_{each.name.upper()}" for prefix in prefixes))
        hint = hints[each.name]
        nested = _nested(hint)
        if nested is not None:
            values[each.name] = _read(nested, mapping, names)
            continue
        name = next((name for name in names if _is_set(mapping, name, hint)), None)
        if name is not None:
            values[each.name] = _value(name, mapping[name], each, hint)
        elif each.default is each.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{names[0]} is not set and has no default")
    return cls(**values)


def _nested(hint: Any) -> type[Any] | None:
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _is_set(mapping: Mapping[str, str], name: str, hint: Any) -> bool:
    # A cluster sets FOO_PORT=tcp://... for a service called foo; that was not meant for us.
    return name in mapping and not (hint is int and mapping[name].startswith("tcp://"))


def _value(name: str, text: str, each: dataclasses.Field[Any], hint: Any) -> Any:
    shown = repr(text) if each.repr else "a value that is not shown"
    try:
        value = _parsed(text, hint)
    except ValueError as error:
        raise ConfigError(f"{name} must be {error}, got {shown}") from None
    least, most = each.metadata.get("least"), each.metadata.get("most")
    # Written so that NaN fails.
    if least is not None and not value >= least:
        raise ConfigError(f"{name} must be at least {least}, got {shown}")
    if most is not None and not value <= most:
        raise ConfigError(f"{name} must be at most {most}, got {shown}")
    return value


def _parsed(text: str, hint: Any) -> Any:
    """Return `text` as `hint` says, or raise a ValueError that says what was wanted."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return None if text == "" else _parsed(text, inner)
    if origin is Literal:
        if text not in arguments:
            raise ValueError("one of " + ", ".join(repr(each) for each in arguments))
        return text
    if origin is tuple:
        parts = (part.strip() for part in text.split(","))
        return tuple(_parsed(part, arguments[0]) for part in parts if part)
    if hint not in _PARSERS:
        raise TypeError(f"settings cannot be of type {hint}")
    return _PARSERS[hint](text)


def _bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text.lower() in _TRUE


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


_PARSERS: dict[Any, Callable[[str], Any]] = {str: str, int: _int, float: _float, bool: _bool}
