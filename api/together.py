"""Those who ask in one turn of the event loop are answered together, by the first of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(NamedTuple, Generic[Q, A]):
    """answers: None says that whoever was to find them has gone."""

    questions: Sequence[Q]
    answers: "asyncio.Future[list[A] | None]"


class Together(Generic[Q, A]):
    """Joins what several tasks ask at one moment into one call.

    answer: questions → as many answers, in order. What it raises, everybody in the call gets.
    """

    def __init__(self, answer: Callable[[list[Q]], Awaitable[list[A]]]) -> None:
        self._answer = answer
        self._asked: list[_Asked[Q, A]] = []

    async def ask(self, questions: Sequence[Q]) -> list[A]:
        """Answers to one's own questions, in order."""
        mine: _Asked[Q, A] = _Asked(questions, asyncio.get_running_loop().create_future())
        self._asked.append(mine)
        if len(self._asked) == 1:
            await self._lead()
        answers = await mine.answers
        return await self.ask(questions) if answers is None else answers

    async def _lead(self) -> None:
        """Find everybody's answers. Whose leader is cancelled asks again."""
        asked: list[_Asked[Q, A]] = []
        try:
            await asyncio.sleep(0)
            asked = self._taken()
            found = await self._answer([question for one in asked for question in one.questions])
        except BaseException as error:
            for one in asked or self._taken():
                _fail(one.answers, error)
            raise
        first = 0
        for one in asked:
            if not one.answers.done():
                one.answers.set_result(found[first : first + len(one.questions)])
            first += len(one.questions)

    def _taken(self) -> list[_Asked[Q, A]]:
        asked, self._asked = self._asked, []
        return asked


def _fail(answers: "asyncio.Future[list[A] | None]", error: BaseException) -> None:
    if answers.done():
        return
    if isinstance(error, Exception):
        answers.set_exception(error)
        answers.exception()  # the leader raises its own
    else:
        answers.set_result(None)
