"""What runs inside this process: the only module of the client that reaches for services."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parfocal._errors import (
    AccessError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ParfocalError,
    UnavailableError,
)

# By the name of their class, since the classes are not there before they are needed.
_KINDS: dict[str, type[ParfocalError]] = {
    "AlreadyExists": ConflictError,
    "Conflict": ConflictError,
    "Exhausted": UnavailableError,
    "InvalidInput": InvalidRequestError,
    "NotFound": NotFoundError,
    "PermissionDenied": AccessError,
    "TimedOut": UnavailableError,
    "Unauthenticated": AccessError,
    "Unavailable": UnavailableError,
    "WrongState": ConflictError,
}


def serve(data_dir: Path, *, port: int, tell: Callable[[Any], None]) -> None:
    """Serve everything until told to stop; `tell` gets the announcement when it is ready."""
    with _extra("all"):
        from parfocal_standalone import DataFolderInUse, up
    with _named_failures(data_dir):
        try:
            up(data_dir, port=port, tell=tell)
        except DataFolderInUse as error:
            raise ConflictError(str(error)) from error


def run_demo(out: Path, **parameters: Any) -> None:
    """Run the demonstration; the parameters are those of `parfocal_demo.run`."""
    with _extra("all"):
        from parfocal_demo import run
    with _named_failures(out):
        run(out=out, **parameters)


def bench_campaigns() -> list[str]:
    """Return the names of the simulated campaigns."""
    with _extra("all"):
        from parfocal_bench.campaigns import CAMPAIGNS
    return sorted(CAMPAIGNS)


def run_bench(campaign: str, out: Path, **parameters: Any) -> tuple[Any, Path]:
    """Run a simulated campaign; the parameters are those of `parfocal_bench.run`."""
    with _extra("all"):
        from parfocal_bench import run
    with _named_failures(out):
        return run(campaign, out=out, **parameters)


def publish_model(store_uri: str, name: str, file: Path) -> int:
    """Publish an ONNX file or a package as the next version of a model and return its number."""
    with _extra("inference"):
        from parfocal_runtime.models.packages.files import is_package
        from parfocal_runtime.models.packages.publishing import publish_package
        from parfocal_runtime.models.publish import publish_file
    with _named_failures():
        if is_package(file):
            return publish_package(_store(store_uri), name, file)
        return publish_file(_store(store_uri), name, file)


def publish_variant(
    store_uri: str, name: str, precision: str, *, version: int | None, limit: float
) -> dict[str, object]:
    """Publish a variant of a model; return its name and version, and how much it differs."""
    with _extra("inference"):
        from parfocal_runtime.models import variants
    with _named_failures():
        made = variants.publish_variant(
            _store(store_uri),
            name,
            variants.checked_precision(precision),
            version=version,
            limit=limit,
        )
    return {
        "name": made.name,
        "version": made.version,
        "description": made.report.sentence(),
        **made.report.figures(),
    }


def list_models(store_uri: str) -> list[tuple[str, list[int], str]]:
    """Return the models of a repository: name, complete versions, and why these are not told."""
    with _extra("inference"):
        from parfocal_runtime.models.repository import ModelRepository
    with _named_failures():
        models = ModelRepository(_store(store_uri)).models()
        return [(model.name, model.versions, model.reason) for model in models]


def add_token(
    file: Path, name: str, *, role: str | None, projects: Mapping[str, str], limited: bool
) -> str:
    """Write a caller into a tokens file and return their token."""
    with _extra("runtime"):
        from parfocal_runtime.auth import Role, TokenFile, write_token
    with _named_failures():
        try:
            if file.exists():
                # What is wrong in the file is better said before it is written anew.
                TokenFile(file)
            return write_token(
                file,
                name=name,
                role=Role.parse(role) if role else None,
                projects={project: Role.parse(given) for project, given in projects.items()},
                limited=limited,
            )
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error


def _store(uri: str) -> Any:
    with _extra("runtime"):
        from parfocal_runtime.config import from_env
        from parfocal_runtime.store import S3Settings, open_store
    return open_store(uri, s3=from_env(S3Settings, os.environ, "PARFOCAL_S3"))


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ParfocalError(
            f'this command needs {error.name}: pip install "parfocal[{name}]"'
        ) from error


@contextmanager
def _named_failures(folder: Path | None = None) -> Iterator[None]:
    from parfocal_runtime.config import ConfigError
    from parfocal_runtime.errors import DomainError

    try:
        yield
    except ConfigError as error:
        raise InvalidRequestError(str(error)) from error
    except DomainError as error:
        kind = next(
            (_KINDS[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _KINDS),
            ParfocalError,
        )
        raise kind(error.message, reason=error.reason, metadata=error.metadata) from error
    except OSError as error:
        # A write to an open file that fails, as on a full disk, does not say which.
        place = error.filename or folder
        what = error.strerror or str(error)
        raise InvalidRequestError(f"{place}: {what}" if place else what) from error
