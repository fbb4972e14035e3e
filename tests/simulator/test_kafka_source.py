"""Live events reach their topics under their keys, in order, on every broker we support."""

import asyncio
from collections import defaultdict

from confluent_kafka import Consumer, TopicPartition

from fraud_assets.contracts.codec import decode
from fraud_assets.contracts.events import Label, LabelSource, Transaction
from fraud_assets.contracts.topics import LABELS, TRANSACTIONS
from fraud_assets.ingest.send import send_labels
from simulator.kafka_source import KafkaSource, ensure_topics
from simulator.live import LiveRun, RunSettings
from simulator.live_plan import plan_live
from simulator.ports import NoScorer
from simulator.scenarios.registry import SCENARIOS
from simulator.script import script_of
from tests.simulator.worlds import SPEC, Made


def read_from(bootstrap: str, starts: dict[int, int], wanted: int) -> list[tuple[int, str, Transaction]]:
    """(partition, key, event) of the next `wanted` transactions after `starts`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-simulator", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TRANSACTIONS.name, p, offset) for p, offset in starts.items()])
    rows: list[tuple[int, str, Transaction]] = []
    while len(rows) < wanted:
        messages = consumer.consume(wanted - len(rows), timeout=20)
        assert messages, f"only {len(rows)} of {wanted} arrived"
        rows += [(m.partition(), m.key().decode(), decode(Transaction, m.value())) for m in messages]
    consumer.close()
    return rows


def ends(bootstrap: str) -> dict[int, int]:
    """The topic is shared with other tests of the session: where it ends now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-simulator"})
    marks = {
        p: consumer.get_watermark_offsets(TopicPartition(TRANSACTIONS.name, p), timeout=10)[1]
        for p in range(TRANSACTIONS.partitions)
    }
    consumer.close()
    return marks


def test_a_run_publishes_every_purchase_keyed_by_account_in_order(made: Made, bootstrap_servers: str) -> None:
    """One account, one partition, event time ascending: the contract's promise of per-account order."""
    ensure_topics(bootstrap_servers)
    ensure_topics(bootstrap_servers)  # asking again changes nothing
    starts = ends(bootstrap_servers)
    plan = plan_live(made.world, SCENARIOS["card-testing"], 200, 1.5, 3, SPEC.end_ms)
    source = KafkaSource(bootstrap_servers)
    settings = RunSettings(200, 1.5, 3, ("kafka",))
    run = LiveRun(
        made.world,
        made.names,
        script_of(made.world, made.names, plan),
        settings,
        NoScorer(),
        source,
        made.world.events.sold_before,
    )

    result = asyncio.run(run.run())
    rows = read_from(bootstrap_servers, starts, len(plan.rows))

    assert result.published[TRANSACTIONS.name] == len(plan.rows)
    assert result.delivery_failures == 0
    partitions, times = defaultdict(set), defaultdict(list)
    for partition, key, event in rows:
        assert key == event.account_id
        partitions[key].add(partition)
        times[key].append(event.event_time_ms)
    assert {len(found) for found in partitions.values()} == {1}
    assert all(found == sorted(found) for found in times.values())


def test_an_account_has_one_partition_whoever_produces(bootstrap_servers: str) -> None:
    """A label by the API and its payment by the simulator meet in one partition's order."""
    ensure_topics(bootstrap_servers)
    labels = [
        Label(
            label_id=f"l{n}", transaction_id=f"t{n}", account_id=f"whoever-{n}", event_time_ms=SPEC.end_ms,
            source=LabelSource.OPERATOR, is_fraud=True,
        )
        for n in range(8)
    ]  # fmt: skip
    source = KafkaSource(bootstrap_servers)

    for label in labels:
        source.publish(LABELS, label)
    source.close()
    send_labels(bootstrap_servers, labels)

    partitions = defaultdict(set)
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "test-partitions", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(LABELS.name, p, 0) for p in range(LABELS.partitions)])
    found: list[str] = []
    while len(found) < 2 * len(labels):
        messages = consumer.consume(100, timeout=20)
        assert messages, found
        for message in messages:
            if (account := message.key().decode()).startswith("whoever-"):
                found.append(account)
                partitions[account].add(message.partition())
    consumer.close()
    assert {len(one) for one in partitions.values()} == {1}
