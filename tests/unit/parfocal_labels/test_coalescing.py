from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from parfocal_labels.coalescing import Coalescer
from parfocal_runtime.errors import Unavailable


class Batches:
    """Doubles numbers, and notes which were doubled together.

    Refuses 13, breaks at 666, and finds the database away at 404.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[str, list[int]]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, key: str, numbers: Sequence[int]) -> list[int | Exception]:
        self.ran.append((key, list(numbers)))
        await self.go_on.wait()
        if 666 in numbers:
            raise RuntimeError("the whole batch")
        if 404 in numbers:
            raise Unavailable("ERROR_REASON_DEPENDENCY_UNAVAILABLE", "away", service="database")
        return [ValueError("unlucky") if number == 13 else 2 * number for number in numbers]


def coalescer(batches: Batches, heaviest: int = 100) -> Coalescer[int, int]:
    return Coalescer(batches, weigh=lambda number: 1, heaviest=heaviest)


async def asked(lanes: Coalescer[int, int], *numbers: int) -> list[int | BaseException]:
    return await asyncio.gather(*(lanes.ask("k", n) for n in numbers), return_exceptions=True)


def test_a_request_that_finds_nothing_running_goes_alone_and_the_rest_together() -> None:
    async def scenario() -> tuple[list[int | BaseException], list[tuple[str, list[int]]]]:
        batches = Batches()
        batches.go_on.clear()
        lanes = coalescer(batches)
        first = asyncio.create_task(lanes.ask("k", 1))
        await asyncio.sleep(0.01)
        rest = asyncio.create_task(asked(lanes, 2, 3, 4))
        await asyncio.sleep(0.01)
        batches.go_on.set()
        return [await first, *await rest], batches.ran

    answers, ran = asyncio.run(scenario())

    assert answers == [2, 4, 6, 8]
    assert ran == [("k", [1]), ("k", [2, 3, 4])]


def test_keys_do_not_wait_for_each_other() -> None:
    async def scenario() -> list[tuple[str, list[int]]]:
        batches = Batches()
        batches.go_on.clear()
        lanes = coalescer(batches)
        tasks = [asyncio.create_task(lanes.ask(key, 1)) for key in ("a", "b")]
        await asyncio.sleep(0.01)
        ran = list(batches.ran)
        batches.go_on.set()
        await asyncio.gather(*tasks)
        return ran

    assert asyncio.run(scenario()) == [("a", [1]), ("b", [1])]


def test_a_batch_has_its_weight_at_most() -> None:
    async def scenario() -> list[tuple[str, list[int]]]:
        batches = Batches()
        await asked(coalescer(batches, heaviest=2), 1, 2, 3, 4, 5)
        return batches.ran

    assert [len(numbers) for _, numbers in asyncio.run(scenario())] == [2, 2, 1]


def test_who_is_refused_does_not_trouble_the_others() -> None:
    async def scenario() -> list[int | BaseException]:
        return await asked(coalescer(Batches()), 1, 13, 3)

    one, unlucky, three = asyncio.run(scenario())

    assert (one, three) == (2, 6)
    assert isinstance(unlucky, ValueError)


def test_a_batch_that_fails_as_a_whole_runs_again_one_by_one() -> None:
    async def scenario() -> tuple[list[int | BaseException], list[tuple[str, list[int]]]]:
        batches = Batches()
        return await asked(coalescer(batches), 1, 666, 3), batches.ran

    (one, broken, three), ran = asyncio.run(scenario())

    assert (one, three) == (2, 6)
    assert isinstance(broken, RuntimeError)
    assert [numbers for _, numbers in ran] == [[1, 666, 3], [1], [666], [3]]


def test_what_is_away_is_not_waited_for_by_each_again() -> None:
    async def scenario() -> tuple[list[int | BaseException], list[tuple[str, list[int]]]]:
        batches = Batches()
        return await asked(coalescer(batches), 1, 404, 3), batches.ran

    answers, ran = asyncio.run(scenario())

    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert [numbers for _, numbers in ran] == [[1, 404, 3]]


def test_who_went_away_while_waiting_is_left_out() -> None:
    async def scenario() -> list[tuple[str, list[int]]]:
        batches = Batches()
        batches.go_on.clear()
        lanes = coalescer(batches)
        tasks = [asyncio.create_task(lanes.ask("k", number)) for number in (1,)]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(lanes.ask("k", number)) for number in (2, 3)]
        await asyncio.sleep(0.01)
        for task in tasks[:2]:
            task.cancel()
        batches.go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return batches.ran

    assert asyncio.run(scenario()) == [("k", [1]), ("k", [3])]


def test_the_next_batch_runs_after_one_that_failed() -> None:
    async def scenario() -> int:
        lanes = coalescer(Batches())
        with pytest.raises(RuntimeError):
            await lanes.ask("k", 666)
        return await lanes.ask("k", 4)

    assert asyncio.run(scenario()) == 8


def test_the_next_batch_is_under_way_while_answers_are_made_out() -> None:
    async def scenario() -> list[str]:
        seen: list[str] = []

        async def batch(_key: str, numbers: Sequence[int]) -> Iterator[int | Exception]:
            seen.append(f"run {list(numbers)}")
            return made_out(numbers)

        def made_out(numbers: Sequence[int]) -> Iterator[int | Exception]:
            for number in numbers:
                seen.append(f"make {number}")
                yield number

        lanes: Coalescer[int, int] = Coalescer(batch, weigh=lambda number: 1, heaviest=3)
        await asked(lanes, 1, 2, 3, 4)
        return seen

    seen = asyncio.run(scenario())

    assert seen[0] == "run [1, 2, 3]"
    assert seen.index("run [4]") < seen.index("make 2")
    assert sum(each.startswith("make") for each in seen) == 4


def test_answers_that_are_all_there_are_given_in_one_turn() -> None:
    async def scenario() -> list[int]:
        async def batch(_key: str, numbers: Sequence[int]) -> list[int | Exception]:
            return list(numbers)

        lanes: Coalescer[int, int] = Coalescer(batch, weigh=lambda number: 1, heaviest=9)
        tasks = [asyncio.create_task(lanes.ask("k", number)) for number in range(8)]
        await tasks[0]
        await asyncio.sleep(0)
        return [task.result() for task in tasks if task.done()]

    assert asyncio.run(scenario()) == list(range(8))


def test_where_an_answer_cannot_be_made_out_those_before_it_stand() -> None:
    async def scenario() -> list[int | BaseException]:
        async def batch(_key: str, numbers: Sequence[int]) -> Iterator[int | Exception]:
            return (10 // number for number in numbers)

        lanes: Coalescer[int, int] = Coalescer(batch, weigh=lambda number: 1, heaviest=9)
        return await asked(lanes, 5, 0, 2)

    first, *rest = asyncio.run(scenario())

    assert first == 2
    assert [type(each) for each in rest] == [ZeroDivisionError] * 2


def test_who_asks_in_the_same_moment_is_waited_for() -> None:
    async def scenario() -> list[list[int]]:
        batches = Batches()
        lanes = coalescer(batches)

        async def ask_after(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await lanes.ask("k", turns)

        await asyncio.gather(*(ask_after(turns) for turns in (0, 1, 2, 3, 9)))
        return [numbers for _, numbers in batches.ran]

    assert asyncio.run(scenario()) == [[0, 1, 2, 3], [9]]
