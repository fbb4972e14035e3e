"""Those who ask in one turn of the loop share one call, and each gets its own answers."""

import asyncio
from collections.abc import Sequence

import pytest

from api.together import Together


class Oracle:
    """Doubles numbers, once it is open, and keeps what it was asked in each call."""

    def __init__(self, *, is_open: bool = True, bad: int | None = None) -> None:
        self.calls: list[list[int]] = []
        self.bad = bad
        self.open = asyncio.Event()
        if is_open:
            self.open.set()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.calls.append(list(questions))
        await self.open.wait()
        if self.bad in questions:
            raise ZeroDivisionError("of the oracle")
        return [2 * one for one in questions]


def test_a_moments_questions_are_one_call_and_each_gets_its_own_answers() -> None:
    oracle = Oracle()
    together = Together(oracle, 4)

    async def scenario() -> list[list[int]]:
        return list(await asyncio.gather(together.ask([1, 2]), together.ask([]), together.ask([3])))

    assert asyncio.run(scenario()) == [[2, 4], [], [6]]
    assert oracle.calls == [[1, 2, 3]]


def test_who_comes_later_does_not_wait_for_those_before() -> None:
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4)

    async def scenario() -> list[list[int]]:
        asked = []
        for number in (1, 2):
            asked.append(asyncio.create_task(together.ask([number])))
            for _ in range(3):  # a turn to ask, one to be joined, one to be answered in
                await asyncio.sleep(0)
        oracle.open.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(scenario()) == [[2], [4]]
    assert oracle.calls == [[1], [2]]


def test_what_one_asks_wrongly_goes_wrong_for_that_one() -> None:
    oracle = Oracle(bad=1)
    together = Together(oracle, 4)

    async def scenario() -> list[object]:
        return await asyncio.gather(*(together.ask([n]) for n in range(3)), return_exceptions=True)

    first, second, third = asyncio.run(scenario())
    assert (first, third) == ([0], [4])
    assert isinstance(second, ZeroDivisionError)
    assert oracle.calls == [[0, 1, 2], [0], [1], [2]]


def test_a_call_is_no_longer_than_it_may_be_but_for_one_who_asks_more() -> None:
    oracle = Oracle()
    together = Together(oracle, 4)

    async def scenario() -> list[list[int]]:
        return list(await asyncio.gather(*(together.ask(asked) for asked in ([1, 2, 3], [4], [5], [6] * 9, [7]))))

    assert asyncio.run(scenario()) == [[2, 4, 6], [8], [10], [12] * 9, [14]]
    assert oracle.calls == [[1, 2, 3, 4], [5], [6] * 9, [7]]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_when_the_first_is_cancelled_the_others_are_answered_all_the_same(turns: int) -> None:
    """Before it asks for all, and while it waits."""
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4)

    async def scenario() -> list[int]:
        first, second = asyncio.create_task(together.ask([1])), asyncio.create_task(together.ask([2]))
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        oracle.open.set()
        found = await asyncio.wait_for(second, 10)
        with pytest.raises(asyncio.CancelledError):
            await first
        return found

    assert asyncio.run(scenario()) == [4]
