"""Requests at a fixed rate, whatever the answers do: latency counts from when a request was due."""

import asyncio
import time
from typing import NamedTuple

import msgspec
import numpy as np

from simulator.http_client import HttpClient, HttpFailure


class Answered(NamedTuple):
    """at_s, latency_s: when the request was due (monotonic), and how long after that its answer came. failure: "" for a 2xx."""

    at_s: float
    latency_s: float
    failure: str
    model_version: str
    score: float
    degraded: list[str]
    decision_id: str


async def open_loop(client: HttpClient, body: bytes, rate: float, until: asyncio.Event) -> list[Answered]:
    """One request each 1/rate s until the event is set, and all their answers."""
    began = time.monotonic()
    asked: list[asyncio.Task[Answered]] = []
    while not until.is_set():
        due = began + len(asked) / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        asked.append(asyncio.create_task(_ask(client, body, due)))
    return list(await asyncio.gather(*asked))


async def _ask(client: HttpClient, body: bytes, due: float) -> Answered:
    try:
        answer = msgspec.json.decode(await client.post("/predict", body))
    except HttpFailure as failure:
        return Answered(due, time.monotonic() - due, failure.reason, "", float("nan"), [], "")
    return Answered(
        due,
        time.monotonic() - due,
        "",
        answer["model_version"],
        answer["fraud_score"],
        answer["degraded_reasons"],
        answer["decision_id"],
    )


def p99_ms(answers: list[Answered]) -> float:
    return float(np.percentile([one.latency_s for one in answers], 99) * 1_000)
