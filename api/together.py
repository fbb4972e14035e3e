"""Those who ask in one turn of the event loop, or while an answer is on its way, are answered together, by the first of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(NamedTuple, Generic[Q, A]):
    """until_s: when its patience ends, by the loop's clock. answers: None says that it must ask again."""

    questions: Sequence[Q]
    until_s: float
    answers: "asyncio.Future[list[A] | None]"


class Together(Generic[Q, A]):
    """Joins what several tasks ask at one moment into one call.

    Who comes while a call is out waits for it, and goes with all who came since: a busy process makes fewer and larger calls.
    answer: questions → as many answers, in order. most: questions in one call, unless one alone asks more. patience_s: who has
    waited so long, in however many turns, goes beside a call that is slow.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[list[A]]], most: int, patience_s: float) -> None:
        self._answer = answer
        self._most = most
        self._patience_s = patience_s
        self._asked: list[_Asked[Q, A]] = []
        self._out = 0
        self._free: asyncio.Future[None] | None = None

    async def ask(self, questions: Sequence[Q]) -> list[A]:
        """Answers to one's own questions, in order."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience_s
        while True:
            mine: _Asked[Q, A] = _Asked(questions, until_s, loop.create_future())
            self._asked.append(mine)
            if len(self._asked) == 1:
                await self._lead()
            if (answers := await mine.answers) is not None:
                return answers

    async def _lead(self) -> None:
        """Find the answers of the first, as many as go into one call; the others ask again, and so do all whose leader is cancelled."""
        asked: list[_Asked[Q, A]] = []
        try:
            await asyncio.sleep(0)
            if self._out:
                await self._until_free()
            asked = self._taken()
            self._out += 1
            try:
                await self._settle_first(asked)
            finally:
                self._out -= 1
                self._go()
        finally:
            for one in asked or self._taken():
                _settle(one.answers, None)

    async def _until_free(self) -> None:
        """Until a call is back, or somebody's patience ends: those who had no place in the call before have waited already."""
        loop = asyncio.get_running_loop()
        self._free = loop.create_future()
        timer = loop.call_at(min(one.until_s for one in self._asked), self._go)
        try:
            await self._free
        finally:
            timer.cancel()
            self._free = None

    def _go(self) -> None:
        if self._free is not None and not self._free.done():
            self._free.set_result(None)

    async def _settle_first(self, asked: Sequence[_Asked[Q, A]]) -> None:
        if len(asked) == 1:  # there is nothing to join and nobody to tell
            asked[0].answers.set_result(await self._answer(asked[0].questions))
            return
        mine = self._first(asked)
        for one in asked[mine:]:
            _settle(one.answers, None)
        await self._find(asked[:mine])

    async def _find(self, part: Sequence[_Asked[Q, A]]) -> None:
        """What one's questions break is that one's: the others ask alone."""
        try:
            found = await self._answer([question for one in part for question in one.questions])
        except Exception as error:  # noqa: BLE001  # whatever it is, it is for who asked
            if len(part) > 1:
                for one in part:
                    await self._find([one])
            else:
                _settle(part[0].answers, error)
            return
        first = 0
        for one in part:
            _settle(one.answers, found[first : first + len(one.questions)])
            first += len(one.questions)

    def _first(self, asked: Sequence[_Asked[Q, A]]) -> int:
        """How many of them one call takes."""
        sizes = accumulate(len(one.questions) for one in asked)
        return max(1, sum(size <= self._most for size in sizes))

    def _taken(self) -> list[_Asked[Q, A]]:
        asked, self._asked = self._asked, []
        return asked


def _settle(future: "asyncio.Future[list[A] | None]", answers: list[A] | Exception | None) -> None:
    if future.done():
        return
    if isinstance(answers, Exception):
        future.set_exception(answers)
    else:
        future.set_result(answers)
