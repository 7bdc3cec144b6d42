from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from closed_files import closed
from parfocal_runtime.errors import Exhausted, InvalidInput, PermissionDenied, Unavailable
from parfocal_runtime.store import LocalStore, Refused, S3Settings, S3Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    return LocalStore(folder)


def test_a_symbolic_link_to_elsewhere_leads_nowhere(store: LocalStore, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"s")
    (folder / "link").symlink_to(outside)
    (folder / "direct").symlink_to(outside / "secret")

    for path in ("link/secret", "link/new", "direct"):
        for ask in (store.resolve, store.read, store.exists, store.kvstore, store.delete):
            with pytest.raises(PermissionDenied) as caught:
                ask(path)
            assert caught.value.reason == "ERROR_REASON_URI_OUTSIDE_ROOTS"
        with pytest.raises(PermissionDenied):
            store.write(path, b"")
    with pytest.raises(PermissionDenied):
        store.delete_prefix("link")
    assert list(store.list()) == ["direct"]
    assert (outside / "secret").read_bytes() == b"s"


def test_a_symbolic_link_inside_is_followed(store: LocalStore, folder: Path) -> None:
    store.write("a/b", b"1")
    (folder / "link").symlink_to(folder / "a")

    assert store.read("link/b") == b"1"


def test_a_root_behind_a_symbolic_link_goes_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LocalStore(tmp_path / "link")

    assert store.resolve((tmp_path / "link/a").as_uri()) == "a"
    assert store.resolve((tmp_path / "real/a").as_uri()) == "a"


def test_a_root_with_odd_letters_has_a_uri(tmp_path: Path) -> None:
    store = open_store((tmp_path / "Ünder 100%").as_uri())
    store.write("a", b"1")

    assert open_store(store.root).read("a") == b"1"
    assert store.resolve(store.root + "/a") == "a"
    assert (tmp_path / "Ünder 100%" / "a").exists()


def test_an_encoded_way_out_is_refused(store: LocalStore) -> None:
    with pytest.raises(PermissionDenied):
        store.resolve(f"{store.root}/%2e%2e/secret")


def test_what_a_killed_writer_left_is_not_listed(store: LocalStore, folder: Path) -> None:
    store.write("a", b"1")
    (folder / ".parfocal-0123").write_bytes(b"half")

    assert list(store.list()) == ["a"]
    assert store.children() == ("a",)


def test_a_folder_that_may_not_be_read_is_there_and_hides_no_other(
    store: LocalStore, folder: Path
) -> None:
    for path in ("a/1", "b/1", "c/1"):
        store.write(path, b"")

    with closed(folder / "b"):
        assert store.children() == ("a", "b", "c")
        for ask in (store.read, store.exists, store.children):
            with pytest.raises(Refused) as caught:
                ask("b/1")
            assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


def test_nothing_is_left_behind_after_writing(store: LocalStore, folder: Path) -> None:
    store.write("a", b"1")
    store.write("a", b"2")
    store.create("b", b"3")
    store.create("b", b"4")

    assert sorted(os.listdir(folder)) == ["a", "b"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, Exhausted),
        (errno.EDQUOT, Exhausted),
        (errno.EROFS, Unavailable),
        (errno.EACCES, Unavailable),
        (errno.EIO, Unavailable),
    ],
)
def test_a_failing_disk_is_named_as_the_domain_does(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type
) -> None:
    store.write("a", b"old")

    # No file system here can be made to fail on demand without privileges.
    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind):
        store.write("a", b"new")

    assert store.read("a") == b"old"
    assert os.listdir(folder) == ["a"]


@pytest.mark.parametrize(
    "uri", ["", "folder", "/folder", "file://", "file:///", "file://host/x", "s3://", "http://x/y"]
)
def test_what_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(uri)

    assert caught.value.reason == "ERROR_REASON_INVALID_URI"


def test_an_s3_store_is_opened_without_being_asked() -> None:
    settings = S3Settings(endpoint="127.0.0.1:1", access_key="a", secret_key="b", secure=False)
    store = open_store("s3://bucket/some/prefix/", s3=settings)

    assert isinstance(store, S3Store)
    assert store.root == "s3://bucket/some/prefix"
    assert store.resolve("s3://bucket/some/prefix/a/b") == "a/b"


@pytest.mark.parametrize("endpoint", ["http://x", "x/y"])
def test_an_ill_formed_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInput):
        open_store("s3://bucket", s3=S3Settings(endpoint=endpoint, access_key="a", secret_key="b"))


@pytest.mark.parametrize("bucket", ["ab", "a..b"])
def test_an_impossible_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(InvalidInput):
        open_store(f"s3://{bucket}", s3=S3Settings(access_key="a", secret_key="b"))


def test_the_keys_of_a_store_are_in_no_spec() -> None:
    settings = S3Settings(endpoint="127.0.0.1:1", access_key="the-key", secret_key="the-secret")
    spec = open_store("s3://bucket", s3=settings).kvstore("a")

    assert "the-key" not in str(spec)
    assert "the-secret" not in str(spec)
    assert "the-secret" not in repr(settings)
