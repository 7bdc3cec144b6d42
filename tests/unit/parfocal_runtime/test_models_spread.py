from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from onnx_graphs import identity
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import ModelSession, open_session
from parfocal_runtime.models.spread import SpreadSession

SECONDS = 20.0


class Place(ModelSession):
    """A session whose runs wait until the test lets them end."""

    def __init__(self, done: threading.Event) -> None:
        self._inner = open_session(identity())
        self.inputs, self.outputs = self._inner.inputs, self._inner.outputs
        self.providers = self._inner.providers
        self._done = done
        self.begun = threading.Semaphore(0)
        self.runs = 0

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        self.runs += 1
        self.begun.release()
        assert self._done.wait(SECONDS)
        return self._inner.run(inputs, outputs)


def test_runs_go_where_there_is_room_by_the_size_of_each_place() -> None:
    done = threading.Event()
    small, large = Place(done), Place(done)
    spread = SpreadSession([(small, 1), (large, 2)])
    x = {"x": np.ones((1, 2), np.float32)}

    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(spread.run, x, ["y"]) for _ in range(3)]
        for place, most in ((small, 1), (large, 2)):
            for _ in range(most):
                assert place.begun.acquire(timeout=SECONDS)
        done.set()
        found = [run.result()["y"].tolist() for run in runs]

    assert (small.runs, large.runs) == (1, 2)
    assert found == [[[1, 1]]] * 3
    assert spread.inputs == small.inputs
    assert spread.places == (small, large)
