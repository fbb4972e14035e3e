"""Requests at a fixed rate, whatever the answers do: latency counts from when a request was due."""

import asyncio
import time
import uuid
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


async def open_loop(
    client: HttpClient, body: bytes, rate: float, until: asyncio.Event, *, keyed: bool = False
) -> list[Answered]:
    """One request each 1/rate s until the event is set, and all their answers. keyed: each under an Idempotency-Key of its own."""
    began = time.monotonic()
    asked: list[asyncio.Task[Answered]] = []
    while not until.is_set():
        due = began + len(asked) / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        asked.append(asyncio.create_task(_ask(client, body, due, keyed)))
    return list(await asyncio.gather(*asked))


async def _ask(client: HttpClient, body: bytes, due: float, keyed: bool) -> Answered:
    """Of a batch, what is said of its last payment: history that is gone is gone for the rest."""
    headers = f"Idempotency-Key: {uuid.uuid4().hex}\r\n" if keyed else ""
    try:
        answer = msgspec.json.decode(await client.post("/predict", body, headers))
    except HttpFailure as failure:
        return Answered(due, time.monotonic() - due, failure.reason, "", float("nan"), [], "")
    taken = time.monotonic() - due
    one = answer["decisions"][-1] if "decisions" in answer else answer
    return Answered(
        due, taken, "", one["model_version"], one["fraud_score"], one["degraded_reasons"], one["decision_id"]
    )


def percentile_ms(answers: list[Answered], percent: float) -> float:
    return float(np.percentile([one.latency_s for one in answers], percent) * 1_000)


def p99_ms(answers: list[Answered]) -> float:
    return percentile_ms(answers, 99)
