"""Arrays in an S3 service that refuses, stays silent, or comes back."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from away_stores import coming_back, environment, refusing, silent
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.errors import Unavailable
from parfocal_runtime.store import ObjectStore, S3Settings, open_store
from parfocal_runtime.store import s3 as s3_module

# tensorstore keeps for the whole process how long it bears silence.
CREATE = """
import sys
from parfocal_runtime import arrays
from parfocal_runtime.errors import Unavailable
from parfocal_runtime.store import S3Settings, open_store

arrays._SILENCE_SECONDS = 1
settings = S3Settings(endpoint=sys.argv[1], access_key="a", secret_key="b", secure=False)
try:
    arrays.create_array(
        open_store("s3://bucket", s3=settings), "a", shape=(1,), dtype="uint8", chunks=(1,)
    )
except Unavailable as error:
    print(error.reason)
"""


def store_at(endpoint: str) -> ObjectStore:
    settings = S3Settings(endpoint=endpoint, access_key="a", secret_key="b", secure=False)
    return open_store("s3://bucket", s3=settings)


def test_an_array_of_a_service_that_refuses_is_given_up_soon() -> None:
    with refusing() as endpoint:
        begin = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            create_array(store_at(endpoint), "a", shape=(1,), dtype="uint8", chunks=(1,))

    assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"
    assert time.monotonic() - begin < 10


def test_an_array_of_a_service_that_says_nothing_is_given_up() -> None:
    with silent() as endpoint:
        child = subprocess.run(
            [sys.executable, "-c", CREATE, endpoint],
            env=environment(),
            timeout=60,
            capture_output=True,
            text=True,
        )

    assert child.stdout.strip() == "ERROR_REASON_DEPENDENCY_UNAVAILABLE", child.stderr


def test_an_object_of_a_service_that_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_module, "_SILENCE_SECONDS", 0.5)
    with silent() as endpoint:
        begin = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            open_array(store_at(endpoint), "a")

    assert caught.value.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"
    assert time.monotonic() - begin < 10


def test_an_array_waits_for_a_service_that_comes_back() -> None:
    with coming_back(1) as endpoint:
        array = create_array(store_at(endpoint), "a", shape=(1,), dtype="uint8", chunks=(1,))

    assert array.shape == (1,)
