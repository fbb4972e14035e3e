"""The fault proxy that stands before the platform's dependencies, told over HTTP what to do to them."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from simulator.http_client import HttpClient, HttpFailure
from simulator.results import OutageBand
from simulator.scenarios.scenario import Outage

HEALTHY = "none"


class NoFaults(RuntimeError):
    """The fault proxy cannot be told what the scenario needs; the message says why."""


class Faults(Protocol):
    """What stands before the dependencies."""

    async def set(self, dependency: str, fault: str, delay_ms: float = 0.0) -> None:
        """From now on. fault: none, slow, hung or refused. Raises NoFaults."""


class NobodyBreaks:
    """No proxy: nothing can be broken."""

    async def set(self, dependency: str, fault: str, delay_ms: float = 0.0) -> None:
        """Always raises NoFaults."""
        del fault, delay_ms
        raise NoFaults(
            f"NoFaults: the scenario breaks {dependency!r}, and no fault proxy is named."
            " Start a platform that has one (make scenarios), and name it with --faults."
        )


class HttpFaults:
    """`python -m deploy.local.faults`, asked by POST /faults."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def set(self, dependency: str, fault: str, delay_ms: float = 0.0) -> None:
        """Raises NoFaults if the proxy does not answer, or does not know the dependency."""
        order = {"dependency": dependency, "fault": fault, "delay_ms": delay_ms}
        try:
            await self._client.post("/faults", msgspec.json.encode(order))
        except HttpFailure as failure:
            raise NoFaults(
                f"NoFaults: the fault proxy did not do {fault!r} to {dependency!r}: {failure.reason}"
            ) from None


async def play(
    outages: tuple[Outage, ...], duration_s: float, faults: Faults, now_s: Callable[[], float]
) -> list[OutageBand]:
    """Each at its time; whatever happens, in the end nothing is broken. When each really was. Raises NoFaults."""
    bands: list[OutageBand] = []
    for outage in sorted(outages, key=lambda one: one.start):
        await asyncio.sleep(max(0.0, outage.start * duration_s - now_s()))
        began = now_s()
        try:
            await faults.set(outage.dependency, outage.fault, outage.delay_ms)
            await asyncio.sleep(max(0.0, (outage.start + outage.length) * duration_s - now_s()))
        finally:
            await faults.set(outage.dependency, HEALTHY)
        bands.append(
            OutageBand(
                dependency=outage.dependency, fault=outage.fault, start_s=round(began, 3), end_s=round(now_s(), 3)
            )
        )
    return bands
