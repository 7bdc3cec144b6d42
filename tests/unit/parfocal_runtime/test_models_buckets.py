from __future__ import annotations

import pytest

from onnx_graphs import identity
from parfocal_runtime.models.buckets import filled_up, row_buckets
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.sessions import ModelSession, open_session


def on_a_gpu(model: bytes | None = None) -> ModelSession:
    session = open_session(model or identity())
    session.on_gpu = True
    return session


def buckets(text: str, session: ModelSession) -> tuple[int, ...]:
    return row_buckets(read_config(text.encode()), session)


def test_sizes_are_powers_of_two_and_those_preferred_up_to_the_most() -> None:
    text = "max_batch_size: 20 dynamic_batching { preferred_batch_size: [ 12, 40 ] }"

    assert buckets(text, on_a_gpu()) == (1, 2, 4, 8, 12, 16, 20)
    assert buckets("max_batch_size: 1 dynamic_batching {}", on_a_gpu()) == (1,)


@pytest.mark.parametrize("text", ["", "max_batch_size: 8", "dynamic_batching {}"])
def test_a_model_whose_rows_may_depend_on_each_other_is_run_as_it_is(text: str) -> None:
    assert buckets(text, on_a_gpu()) == ()


def test_on_the_processor_and_without_rows_there_is_nothing_to_fill_up() -> None:
    text = "max_batch_size: 8 dynamic_batching {}"

    assert buckets(text, open_session(identity())) == ()
    assert buckets(text, on_a_gpu(identity(shape=(2, 2)))) == ()


@pytest.mark.parametrize(("rows", "size"), [(0, 0), (1, 1), (3, 4), (4, 4), (5, 8), (9, 9)])
def test_a_run_has_the_next_size_up(rows: int, size: int) -> None:
    assert filled_up(rows, (1, 4, 8)) == size
