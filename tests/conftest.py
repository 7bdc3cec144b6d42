"""Fixtures of all tests: real components, started once, gone with the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from minio import Minio

from parfocal_runtime.store import ObjectStore, S3Settings, open_store

# A deadline per example would time the machine, not the code. In CI the examples are the same at
# every run, so that a failure is the change's; elsewhere they are new each time, and search.
settings.register_profile(
    "parfocal", deadline=None, derandomize=os.environ.get("CI") == "true", database=None
)
settings.load_profile("parfocal")

# As many tests run at a time as there are cores: threads of one would wait for those of another.
for threads in ("TRAINING_THREADS", "INFERENCE_SESSION_THREADS", "EMBEDDING_SESSION_THREADS"):
    os.environ.setdefault(f"PARFOCAL_{threads}", "1")

COMPONENTS = Path(__file__).parent / "components"
POSTGRES_PROGRAMS = "/usr/lib/postgresql/15/bin"
BUCKET = "parfocal-tests"


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Address of a PostgreSQL server of these tests' own; its database `postgres` is shared."""
    _require("PostgreSQL 15 (postgresql-15)", ["initdb", "postgres"], path=POSTGRES_PROGRAMS)
    with _component("postgres.py") as address:
        yield address


@pytest.fixture
def postgres_database(postgres_dsn: str) -> str:
    """Address of an empty database, made for one test."""
    name = f"test_{uuid4().hex}"
    subprocess.run(
        [f"{POSTGRES_PROGRAMS}/psql", "--quiet", postgres_dsn, "-c", f"CREATE DATABASE {name}"],
        check=True,
        cwd="/",
    )
    return f"{postgres_dsn.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def s3_settings() -> Iterator[S3Settings]:
    """How to reach an S3 service of these tests' own, with the bucket BUCKET in it."""
    _require(
        "the Ceph object gateway (ceph-mon, ceph-osd, radosgw)",
        ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"],
    )
    with _component("ceph.py") as endpoint:
        settings = S3Settings(
            endpoint=endpoint,
            access_key="parfocal-tests",
            secret_key="parfocal-tests-secret",
            secure=False,
        )
        client = Minio(
            endpoint, access_key=settings.access_key, secret_key=settings.secret_key, secure=False
        )
        client.make_bucket(BUCKET)
        yield settings


@pytest.fixture
def s3_store_uri(s3_settings: S3Settings) -> str:
    """URI of an empty object store in S3, to be opened with `s3_settings`."""
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def object_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty object store, of each kind in turn."""
    if request.param == "local":
        return open_store((tmp_path / "store").as_uri())
    settings = request.getfixturevalue("s3_settings")
    return open_store(request.getfixturevalue("s3_store_uri"), s3=settings)


@pytest.fixture(scope="session")
def data_packs() -> Path:
    """Folder of the data packs."""
    folder = os.environ.get("PARFOCAL_DATA_PACKS")
    if not folder:
        pytest.skip("PARFOCAL_DATA_PACKS does not name a folder of data packs")
    if not Path(folder).is_dir():
        pytest.fail(f"PARFOCAL_DATA_PACKS names {folder}, which is no folder")
    return Path(folder)


def _require(what: str, programs: list[str], *, path: str | None = None) -> None:
    """Skip where a program is missing; where CI=true nothing may be missing."""
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if not missing:
        return
    message = f"needs {what}; missing: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def _component(script: str) -> Iterator[str]:
    """Run a component until the block ends; yields how to reach it."""
    process = subprocess.Popen(
        [sys.executable, COMPONENTS / script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"{script} did not start"
        yield address
        # Leaving closes its standard input, which ends it.
