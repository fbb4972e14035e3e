"""A proof about what a scorer has on its own disk."""

import asyncio
import shutil
import time

from simulator.http_client import HttpFailure
from tests.api.processes import is_ready
from tests.api.world import until
from tests.chaos.broker import findings_of, missing_of, recorded_in
from tests.chaos.load import Answered, open_loop
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig
from tests.chaos.scorer import ask_once

LOUD_WITHIN_S = 30.0


def gone(scale: Scale) -> Outcome:
    """Spool, journal and chain of a scorer deleted: it begins another chain, and none of what was answered is missing. Its models deleted:
    it says so and decides nothing, until they are back.
    """
    with rig() as made:
        answers = _answers(made, scale)
        made.scorer.kill()
        shutil.rmtree(made.folder / "decisions")
        made.scorer.start()
        made.scorer.wait_ready()
        answers += _answers(made, scale)
        recorded = recorded_in(made.stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        made.scorer.kill()
        away = made.model_dir.rename(made.folder / "away")
        made.scorer.start()
        started_s = time.monotonic()
        until(lambda: _is_refused(made), within_s=LOUD_WITHIN_S)
        said_s, is_ready_without = time.monotonic() - started_s, is_ready(made.scorer.url)
        shutil.rmtree(made.model_dir, ignore_errors=True)
        away.rename(made.model_dir)
        served = made.reload()
        until(lambda: is_ready(made.scorer.url))
    chains = len({one.chain_id for one, _, _ in recorded})
    figure = {
        "answered": len(answers), "missing": missing_of(answers, recorded), "chains": chains, "findings": findings_of(recorded),
        "said_s": round(said_s, 1), "ready_without_model": is_ready_without, "served_again": served,
    }  # fmt: skip
    failures = sum(bool(one.failure) for one in answers)
    whole = failures == figure["missing"] == figure["findings"] == 0 and chains == 2
    return Outcome(whole and not is_ready_without and bool(served), figure)


def _answers(made: Rig, scale: Scale) -> list[Answered]:
    """All of them recorded before it returns."""

    async def load() -> list[Answered]:
        done = asyncio.Event()
        async with made.client() as client:
            asked = asyncio.create_task(open_loop(client, payment(), scale.rate, done))
            await asyncio.sleep(scale.fault_s)
            done.set()
            return await asked

    found = asyncio.run(load())
    until(lambda: made.scorer.metric("fraud_decision_events_pending") == 0, within_s=LOUD_WITHIN_S)
    return found


def _is_refused(made: Rig) -> bool:
    """With a status that says why, not with a connection that nobody takes."""
    try:
        ask_once(made, payment())
    except HttpFailure as failure:
        return failure.reason == "status_503"
    return False
