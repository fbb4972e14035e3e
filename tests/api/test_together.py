"""Those who ask in one turn of the loop share one call, and each gets its own answers."""

import asyncio
import selectors
from collections.abc import Sequence

import pytest

from api.together import Together

PATIENCE_S = 60.0  # nobody's comes to an end unless a test says so


class Oracle:
    """Doubles numbers, once it is open, and keeps what it was asked in each call."""

    def __init__(self, *, is_open: bool = True, bad: int | None = None) -> None:
        self.calls: list[list[int]] = []
        self.bad = bad
        self.open, self.asked_again = asyncio.Event(), asyncio.Event()
        if is_open:
            self.open.set()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.calls.append(list(questions))
        if len(self.calls) > 1:
            self.asked_again.set()
        await self.open.wait()
        if self.bad in questions:
            raise ZeroDivisionError("of the oracle")
        return [2 * one for one in questions]


def test_a_moments_questions_are_one_call_and_each_gets_its_own_answers() -> None:
    oracle = Oracle()
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[list[int]]:
        return list(await asyncio.gather(together.ask([1, 2]), together.ask([]), together.ask([3])))

    assert asyncio.run(scenario()) == [[2, 4], [], [6]]
    assert oracle.calls == [[1, 2, 3]]


async def asked_in_turn(together: Together[int, int], numbers: Sequence[int]) -> list[asyncio.Task[list[int]]]:
    asked = []
    for number in numbers:
        asked.append(asyncio.create_task(together.ask([number])))
        for _ in range(3):  # a turn to ask, one to be joined, one to be answered in
            await asyncio.sleep(0)
    return asked


def test_who_comes_while_a_call_is_out_waits_for_it_and_goes_with_all_who_came_since() -> None:
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[list[int]]:
        asked = await asked_in_turn(together, (1, 2, 3))
        oracle.open.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(scenario()) == [[2], [4], [6]]
    assert oracle.calls == [[1], [2, 3]]


def test_a_call_that_is_slow_keeps_nobody_waiting_beyond_their_patience() -> None:
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4, 0.001)

    async def scenario() -> list[list[int]]:
        asked = await asked_in_turn(together, (1, 2))
        await asyncio.wait_for(oracle.asked_again.wait(), 10)
        oracle.open.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(scenario()) == [[2], [4]]
    assert oracle.calls == [[1], [2]]


class Waits(selectors.SelectSelector):
    """Adds up how long a loop would have waited, and does not wait."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.waited_s += timeout or 0.0
        return super().select(0)


class QuickLoop(asyncio.SelectorEventLoop):
    """Its clock goes only while it waits."""

    def __init__(self) -> None:
        self.waits = Waits()
        super().__init__(self.waits)

    def time(self) -> float:
        return self.waits.waited_s


@pytest.mark.parametrize("of", [1, 3, 4])
def test_nobodys_patience_ends_later_for_those_who_go_first(of: int) -> None:
    """A store that hangs costs the last of many full calls no more than the first."""
    patience_s, call_s = 5.0, 20.0

    async def hung(questions: Sequence[int]) -> list[int]:
        await asyncio.sleep(call_s)
        return list(questions)

    together = Together(hung, 4, patience_s)

    async def took_s(number: int) -> float:
        began_s = asyncio.get_running_loop().time()
        assert await together.ask([number] * of) == [number] * of
        return asyncio.get_running_loop().time() - began_s

    async def scenario() -> list[float]:
        return list(await asyncio.gather(*(took_s(number) for number in range(40))))

    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        assert max(runner.run(scenario())) <= patience_s + call_s + 1e-6


def test_the_next_call_goes_out_also_if_the_one_before_failed() -> None:
    oracle = Oracle(is_open=False, bad=1)
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[list[int] | BaseException]:
        asked = await asked_in_turn(together, (1, 2))
        oracle.open.set()
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)

    first, second = asyncio.run(scenario())
    assert isinstance(first, ZeroDivisionError)
    assert second == [4]


def test_who_was_to_lead_the_next_call_and_goes_leaves_it_to_another() -> None:
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[list[int]]:
        first, second, third = await asked_in_turn(together, (1, 2, 3))
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        oracle.open.set()
        return list(await asyncio.wait_for(asyncio.gather(first, third), 10))

    assert asyncio.run(scenario()) == [[2], [6]]
    assert oracle.calls == [[1], [3]]


def test_what_one_asks_wrongly_goes_wrong_for_that_one() -> None:
    oracle = Oracle(bad=1)
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[object]:
        return await asyncio.gather(*(together.ask([n]) for n in range(3)), return_exceptions=True)

    first, second, third = asyncio.run(scenario())
    assert (first, third) == ([0], [4])
    assert isinstance(second, ZeroDivisionError)
    assert oracle.calls == [[0, 1, 2], [0], [1], [2]]


def test_a_call_is_no_longer_than_it_may_be_but_for_one_who_asks_more() -> None:
    oracle = Oracle()
    together = Together(oracle, 4, PATIENCE_S)

    async def scenario() -> list[list[int]]:
        return list(await asyncio.gather(*(together.ask(asked) for asked in ([1, 2, 3], [4], [5], [6] * 9, [7]))))

    assert asyncio.run(scenario()) == [[2, 4, 6], [8], [10], [12] * 9, [14]]
    assert oracle.calls == [[1, 2, 3, 4], [5], [6] * 9, [7]]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_when_the_first_is_cancelled_the_others_are_answered_all_the_same(turns: int) -> None:
    """Before it asks for all, and while it waits."""
    oracle = Oracle(is_open=False)
    together = Together(oracle, 4, PATIENCE_S)

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
