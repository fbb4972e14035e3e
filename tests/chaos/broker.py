"""Proofs about a broker that is gone."""

import asyncio
import math
import time
from collections import defaultdict

from confluent_kafka import Consumer, TopicPartition

from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.chain import Link, verify
from fraud_assets.contracts.events import Decision
from streaming.core.sources import MAX_DECISION_BYTES
from tests.api.world import until
from tests.chaos.brokers import hung, own_broker
from tests.chaos.load import Answered, open_loop, p99_ms
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig

CAUGHT_UP_S = 30.0
# What librdkafka and the allocator may keep of the events on their way; an outage of a minute makes 60 MB of them.
MAX_GROWTH_MIB = 48
SETTLE_S = 2.0


def gone(scale: Scale) -> Outcome:
    """No broker for a while, and then the scorer killed too; later one that hangs: all are answered, and all arrive, each once in one chain."""
    with rig() as made:
        asyncio.run(_load(made, scale.rate, SETTLE_S))
        made.stack.stop(own_broker().name)
        before = _rss_mib(made)
        answers = asyncio.run(_load(made, scale.rate, scale.broker_s))
        after = _rss_mib(made)
        kept = made.scorer.metric("fraud_decision_events_pending")
        made.scorer.kill_and_start()
        answers += asyncio.run(_load(made, scale.rate, SETTLE_S))
        made.stack.start(own_broker().name)
        back_s = time.monotonic()
        until(lambda: made.scorer.metric("fraud_decision_events_pending") == 0, within_s=CAUGHT_UP_S)
        caught_up_s = time.monotonic() - back_s
        with hung(made.stack):
            silent = asyncio.run(_load(made, scale.rate, scale.fault_s))
            kept_silent = made.scorer.metric("fraud_decision_events_pending")
        answers += silent
        until(lambda: made.scorer.metric("fraud_decision_events_pending") == 0, within_s=CAUGHT_UP_S)
        recorded = recorded_in(made.stack.env["KAFKA_BOOTSTRAP_SERVERS"])
    grown = {
        name: mib - before.get(name, 0.0) for name, mib in after.items()
    }  # a process that came meanwhile grew whole
    failures = sum(bool(one.failure) for one in answers)
    missing = missing_of(answers, recorded)
    firsts = {one.chain_position for one, _, _ in recorded}
    chains = {one.chain_id for one, _, _ in recorded}
    findings = findings_of(recorded)
    figure = {
        "requests": len(answers), "failures": failures, "p99_ms": round(p99_ms(answers), 1), "kept_on_disk": int(kept), "kept_while_hung": int(kept_silent),
        "grown_mib": round(sum(grown.values()), 1), "recorder_grown_mib": round(grown.get("recorder", math.nan), 1),
        "caught_up_s": round(caught_up_s, 1), "missing": missing,
        "sent_again": len(recorded) - len(firsts), "findings": findings,
    }  # fmt: skip
    whole = not failures and not missing and not findings and len(chains) == 1
    noticed = kept >= 0.9 * scale.rate * scale.broker_s and kept_silent >= 0.9 * len(silent)
    bounded = "recorder" in grown and sum(grown.values()) <= MAX_GROWTH_MIB
    return Outcome(whole and noticed and bounded and p99_ms(answers) <= scale.p99_ms, figure)


async def _load(made: Rig, rate: float, seconds: float) -> list[Answered]:
    done = asyncio.Event()
    async with made.client() as client:
        load = asyncio.create_task(open_loop(client, payment(), rate, done))
        await asyncio.sleep(seconds)
        done.set()
        return await load


def _rss_mib(made: Rig) -> dict[str, float]:
    return {name: process.memory_info().rss / 2**20 for name, process in made.processes().items()}


Recorded = list[tuple[Decision, int, int]]


def missing_of(answers: list[Answered], recorded: Recorded) -> int:
    """Answered decisions that the log lacks."""
    return len({one.decision_id for one in answers if not one.failure} - {one.decision_id for one, _, _ in recorded})


def findings_of(recorded: Recorded) -> int:
    """In all chains; of a record that was sent again the first counts."""
    links: dict[str, dict[int, Link]] = defaultdict(dict)
    for one, partition, offset in reversed(recorded):
        links[one.chain_id][one.chain_position] = Link.of(one, partition, offset)
    return sum(len(verify(chain, found.values())[0]) for chain, found in links.items())


def recorded_in(bootstrap_servers: str) -> Recorded:
    """Every decision event of the log, with partition and offset, in the order they were read."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "chaos"})
    name = topics.DECISIONS.name
    found = []
    for partition in consumer.list_topics(name, timeout=10).topics[name].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
        consumer.assign([TopicPartition(name, partition, low)])
        at = low
        while at < high:
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            found.append((codec.decode(Decision, message.value(), max_bytes=MAX_DECISION_BYTES), partition, at))
            at = message.offset() + 1
    consumer.close()
    return found
