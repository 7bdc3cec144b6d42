"""What every object store must do; each test runs on each of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest

from parfocal_runtime.errors import InvalidInput, NotFound, PermissionDenied
from parfocal_runtime.store import ObjectStore

WRITERS = 8


def test_what_is_written_is_read_back(object_store: ObjectStore) -> None:
    object_store.write("models/a/1/model.onnx", b"\x00weights")

    assert object_store.read("models/a/1/model.onnx") == b"\x00weights"


def test_an_empty_object_is_an_object(object_store: ObjectStore) -> None:
    object_store.write("empty", b"")

    assert object_store.exists("empty")
    assert object_store.read("empty") == b""
    assert object_store.stat("empty").size == 0


def test_writing_again_replaces_the_object(object_store: ObjectStore) -> None:
    object_store.write("a", b"first and longer")
    before = object_store.stat("a")

    object_store.write("a", b"second")

    after = object_store.stat("a")
    assert object_store.read("a") == b"second"
    assert after.size == 6
    assert after.etag != before.etag


def test_an_object_of_many_mebibytes_survives(object_store: ObjectStore) -> None:
    data = bytes(range(256)) * (70 << 12)

    object_store.write("large", data)

    assert object_store.read("large") == data


@pytest.mark.parametrize("path", ["none", "folder", "folder/object/below"])
def test_what_is_missing_is_not_found(object_store: ObjectStore, path: str) -> None:
    object_store.write("folder/object", b"")

    assert not object_store.exists(path)
    for ask in (object_store.read, object_store.stat):
        with pytest.raises((NotFound, InvalidInput)) as caught:
            ask(path)
        assert caught.value.reason in {
            "ERROR_REASON_ARTIFACT_NOT_FOUND",
            "ERROR_REASON_INVALID_URI",
        }


def test_create_never_replaces(object_store: ObjectStore) -> None:
    assert object_store.create("a/b", b"first")
    assert not object_store.create("a/b", b"second")

    assert object_store.read("a/b") == b"first"


def test_of_racing_creators_exactly_one_wins(object_store: ObjectStore) -> None:
    start = Barrier(WRITERS)

    def create(number: int) -> bool:
        start.wait()
        return object_store.create("races/one", b"%d" % number * 10_000)

    for _ in range(5):
        object_store.delete("races/one")
        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(create, range(WRITERS)))

        assert won.count(True) == 1
        assert object_store.read("races/one") == b"%d" % won.index(True) * 10_000


def test_readers_never_see_half_an_object(object_store: ObjectStore) -> None:
    sizes = (1, 300_000)
    object_store.write("a", b"x" * sizes[0])

    def write() -> None:
        for round_ in range(20):
            object_store.write("a", b"x" * sizes[round_ % 2])

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        seen = {len(object_store.read("a"))}
        while not writing.done():
            seen.add(len(object_store.read("a")))
        writing.result()

    assert seen <= set(sizes)


def test_list_yields_every_object_below_a_folder_in_byte_order(object_store: ObjectStore) -> None:
    for path in ("a-b", "a/b-c/d", "a/b/c", "a0", "ab/c", "a/é"):
        object_store.write(path, b"")

    assert list(object_store.list()) == ["a-b", "a/b-c/d", "a/b/c", "a/é", "a0", "ab/c"]
    assert list(object_store.list("a")) == ["a/b-c/d", "a/b/c", "a/é"]
    assert list(object_store.list("a/")) == list(object_store.list("a"))
    assert list(object_store.list("none")) == []


def test_stats_tell_of_every_object_what_stat_does(object_store: ObjectStore) -> None:
    for path in ("a/b", "a/c d/é", "b"):
        object_store.write(path, path.encode())

    found = dict(object_store.stats("a"))

    assert list(found) == list(object_store.list("a"))
    assert found == {path: object_store.stat(path) for path in found}
    assert dict(object_store.stats("none")) == {}


def test_children_are_the_names_directly_below(object_store: ObjectStore) -> None:
    for path in ("models/b/1/x", "models/b/2/x", "models/a.txt", "other/c"):
        object_store.write(path, b"")

    assert object_store.children("models") == ("a.txt", "b")
    assert object_store.children("models/b") == ("1", "2")
    assert object_store.children() == ("models", "other")
    assert object_store.children("none") == ()


def test_a_folder_goes_with_its_last_object(object_store: ObjectStore) -> None:
    object_store.write("models/a/1/x", b"")

    object_store.delete("models/a/1/x")

    assert object_store.children("models") == ()


def test_delete_is_idempotent(object_store: ObjectStore) -> None:
    object_store.write("a", b"")

    object_store.delete("a")
    object_store.delete("a")

    assert not object_store.exists("a")


def test_delete_prefix_spares_names_that_only_begin_alike(object_store: ObjectStore) -> None:
    for path in ("runs/a/1", "runs/a/b/2", "runs/ab/3"):
        object_store.write(path, b"")

    object_store.delete_prefix("runs/a")
    object_store.delete_prefix("runs/none")

    assert list(object_store.list()) == ["runs/ab/3"]


@pytest.mark.parametrize("prefix", ["", "/"])
def test_delete_prefix_never_takes_the_root(object_store: ObjectStore, prefix: str) -> None:
    object_store.write("a", b"")

    with pytest.raises(InvalidInput):
        object_store.delete_prefix(prefix)

    assert object_store.exists("a")


def test_check_passes_for_a_store_that_answers(object_store: ObjectStore) -> None:
    object_store.check()


@pytest.mark.parametrize("path", ["projects/p/x", "a b/ü.zarr", "a%2e/b", "a?b"])
def test_resolve_takes_paths_and_its_own_uris(object_store: ObjectStore, path: str) -> None:
    assert object_store.resolve(path) == path


def test_resolve_takes_uris_below_its_root(object_store: ObjectStore) -> None:
    assert object_store.resolve(object_store.uri("projects/p/x.zarr")) == "projects/p/x.zarr"
    assert object_store.resolve(f"{object_store.root}/projects/p/") == "projects/p"


@pytest.mark.parametrize(
    "uri",
    [
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "file://elsewhere/etc/passwd",
        "FILE:///etc/passwd",
        "s3://other-bucket/x",
        "s3:///x",
        "http://127.0.0.1/x",
        "gs://bucket/x",
        "{root}x/y",
        "{root}/../x",
        "{root}/a/../../x",
        "memory:x",
    ],
)
def test_resolve_refuses_what_leads_outside(object_store: ObjectStore, uri: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        object_store.resolve(uri.format(root=object_store.root))

    assert caught.value.reason == "ERROR_REASON_URI_OUTSIDE_ROOTS"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a//b",
        "./a",
        "a/./b",
        "a\x00b",
        "a\\..\\b",
        "a\nb",
        "a\udc80b",
        "a" * 300,
        "a/" * 600 + "b",
        "{root}",
        "{root}/",
        "{root}/a?versionId=1",
        "{root}/a#b",
        "{root}/a\n",
        "http://[bad/x",
    ],
)
def test_resolve_names_the_field_of_what_is_ill_formed(object_store: ObjectStore, uri: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        object_store.resolve(uri.replace("{root}", object_store.root), field="image.uri")

    assert caught.value.reason == "ERROR_REASON_INVALID_URI"
    assert caught.value.metadata["field"] == "image.uri"


@pytest.mark.parametrize("path", ["../x", "/x", "", "a//b", "a/../b"])
def test_no_method_takes_a_path_that_leads_outside(object_store: ObjectStore, path: str) -> None:
    def write(path: str) -> None:
        object_store.write(path, b"")

    def create(path: str) -> None:
        object_store.create(path, b"")

    asks = (object_store.read, object_store.stat, object_store.exists, object_store.delete)
    for ask in (*asks, write, create, object_store.kvstore, object_store.uri):
        with pytest.raises((InvalidInput, PermissionDenied)):
            ask(path)


@pytest.mark.parametrize("path", ["a/b", "folder"])
def test_where_a_name_cannot_be_both_object_and_folder_the_first_stays(
    object_store: ObjectStore, path: str
) -> None:
    object_store.write("a", b"1")
    object_store.write("folder/x", b"1")

    for write in (object_store.write, object_store.create):
        # A bucket can hold both, a file system cannot.
        with suppress(InvalidInput):
            write(path, b"2")

    assert object_store.read("a") == b"1"
    assert object_store.read("folder/x") == b"1"


def test_concurrent_writers_below_a_new_folder_all_succeed(object_store: ObjectStore) -> None:
    paths = [f"new/{n % 2}/deep/{n}" for n in range(WRITERS)]

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda path: object_store.write(path, b""), paths))

    assert sorted(object_store.list("new")) == sorted(paths)
