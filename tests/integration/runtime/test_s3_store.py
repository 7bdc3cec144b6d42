"""What is special about S3: it can be away, closed, or without the bucket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from parfocal_runtime.arrays import create_array, open_array, read_box
from parfocal_runtime.box import Box
from parfocal_runtime.errors import Unavailable
from parfocal_runtime.store import ObjectStore, S3Settings, open_store

pytestmark = pytest.mark.s3


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken but that nobody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@pytest.fixture
def away(refusing_port: int) -> ObjectStore:
    settings = S3Settings(
        endpoint=f"127.0.0.1:{refusing_port}", access_key="a", secret_key="b", secure=False
    )
    return open_store("s3://bucket", s3=settings)


@pytest.mark.parametrize("method", ["read", "exists", "delete", "children"])
def test_a_service_that_is_away_is_unavailable(away: ObjectStore, method: str) -> None:
    with pytest.raises(Unavailable) as caught:
        getattr(away, method)("a")

    assert caught.value.metadata["service"] == "object store"


def test_nothing_can_be_written_to_a_service_that_is_away(away: ObjectStore) -> None:
    for write in (away.write, away.create):
        with pytest.raises(Unavailable):
            write("a", b"")


def test_arrays_of_a_service_that_is_away_are_unavailable(away: ObjectStore) -> None:
    with pytest.raises(Unavailable):
        open_array(away, "a")
    with pytest.raises(Unavailable):
        create_array(away, "a", shape=(1, 1, 1), dtype="uint8", chunks=(1, 1, 1))


def test_wrong_keys_do_not_open_a_store(s3_settings: S3Settings, s3_store_uri: str) -> None:
    closed = open_store(s3_store_uri, s3=replace(s3_settings, secret_key="wrong"))

    for ask in (closed.read, closed.exists):
        with pytest.raises(Unavailable):
            ask("a")
    with pytest.raises(Unavailable):
        closed.create("a", b"")
    assert not open_store(s3_store_uri, s3=s3_settings).exists("a")


def test_a_missing_bucket_is_told(s3_settings: S3Settings) -> None:
    store = open_store("s3://no-such-bucket", s3=s3_settings)

    with pytest.raises(Unavailable, match="no such bucket"):
        store.check()
    with pytest.raises(Unavailable):
        store.create("a", b"")


def test_two_stores_with_other_keys_do_not_share_them(
    s3_settings: S3Settings, s3_store_uri: str
) -> None:
    good = open_store(s3_store_uri, s3=s3_settings)
    create_array(good, "a", shape=(2, 2, 2), dtype="uint8", chunks=(2, 2, 2), fill_value=7)
    closed = open_store(s3_store_uri, s3=replace(s3_settings, access_key="somebody-else"))

    with pytest.raises(Unavailable):
        create_array(closed, "b", shape=(2, 2, 2), dtype="uint8", chunks=(2, 2, 2))

    assert (read_box(open_array(good, "a"), Box.whole((2, 2, 2))) == 7).all()
