"""One scorer, everything thrown at it, and whether it still stands."""

import asyncio
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.api.world import ALL, ENDED, MADE, bearer, request
from tests.fuzz.openapi import Checked, check
from tests.fuzz.rig import one_scorer, resident_mb
from tests.fuzz.sockets import send_all

# Every role's requests come from the same document: who may not must be told so, whatever is sent.
ROLES = ("nobody", ENDED, "score", "label", "admin", ALL)
OPERATIONS = 2  # that take a body; Schemathesis asks those without one only once
MIN_EXAMPLES = 10
# What the process may have gained at the end. It starts at some 300 MB, keeps answers' records until the broker has
# them, and fills its caches; a leak of a kilobyte a case would be ten times this in a day.
MAX_GAIN_MB = 150


class Result(NamedTuple):
    """cases: requests of both kinds. accepted: how many were taken. failures: texts, each with how to repeat it."""

    openapi_cases: int
    socket_cases: int
    accepted: int
    kinds: Counter[str]
    statuses: Counter[int]
    gained_mb: float
    failures: list[str]
    seconds: float

    def line(self) -> dict[str, object]:
        return {
            "cases": self.openapi_cases + self.socket_cases,
            "failures": len(self.failures),
            "seconds": round(self.seconds, 1),
            "openapi_cases": self.openapi_cases,
            "socket_cases": self.socket_cases,
            "accepted": self.accepted,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "gained_mb": round(self.gained_mb, 1),
        }


def fuzz(
    folder: Path, *, openapi: int, sockets: int, seed: int, roles: tuple[str, ...] = ROLES, corners: bool = True
) -> Result:
    """At least so many cases of each kind, and a payment decided after them by the same process."""
    began = time.monotonic()
    with one_scorer(folder) as scorer:
        _decided(scorer.url)
        before_mb = resident_mb(scorer)
        thrown = asyncio.run(send_all(scorer.port, seed, sockets, MADE[ALL].credential))
        checked = _checked(scorer.url, openapi, seed, folder, roles, corners)
        failures = thrown.failures + checked.failures
        if scorer.process.poll() is not None:
            failures.append(f"the process ended with {scorer.process.returncode}")
        else:
            _decided(scorer.url)
        gained_mb = resident_mb(scorer) - before_mb
        if gained_mb > MAX_GAIN_MB:
            failures.append(f"the process holds {gained_mb:.0f} MB more than before")
    took_s = time.monotonic() - began
    return Result(checked.cases, sockets, checked.accepted, thrown.kinds, thrown.statuses, gained_mb, failures, took_s)


def _checked(url: str, wanted: int, seed: int, folder: Path, roles: tuple[str, ...], corners: bool) -> Checked:
    """Each role in its turn, with a seed of its own, until there have been as many as wanted."""
    cases, accepted, failures = 0, 0, list[str]()
    for turn, role in enumerate(cycle(roles)):
        if turn >= len(roles) and cases >= wanted:
            break
        examples = max(MIN_EXAMPLES, (wanted - cases) // (OPERATIONS * max(1, len(roles) - turn)))
        headers = {} if role == "nobody" else bearer(role)
        found = check(url, headers, examples, seed + turn, folder, corners=corners)
        cases, accepted = cases + found.cases, accepted + found.accepted
        failures += [f"{role}, seed {seed + turn}: {text}" for text in found.failures]
    return Checked(cases, accepted, failures)


def _decided(url: str) -> None:
    """The scorer does what it is for."""
    answer = httpx.post(f"{url}/predict", json=request(), headers=bearer(ALL), timeout=60)
    assert answer.status_code == 200, answer.text
