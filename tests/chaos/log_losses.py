"""Proofs about what a worker reads and loses: its log, a topic of it, the broker, its place there."""

import shutil
import time
from pathlib import Path

import redis
from confluent_kafka import KafkaException, TopicPartition

from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import TRANSACTIONS, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.compaction import compact
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.publish import snapshot
from fraud_assets.stores.state_files import FOLDER
from streaming import folder, router
from streaming.edges.broker import BROKER_LOSS_S
from streaming.supervise import ROLES
from tests.chaos.brokers import hung, own_broker
from tests.chaos.losses import is_refused, says
from tests.chaos.proof import Outcome, Scale
from tests.chaos.stream import CHUNK, WITHIN_S, Line, is_whole, line
from tests.streaming.events import DAY, transaction
from tests.streaming.live import ENTITY, RAW, wait_for
from tests.streaming.world import rebuild

FAR_MS = 4_000_000_000_000
LOUD_WITHIN_S = 30.0

# --------------------------------------------------------------------------------------- R3c


def made_anew(scale: Scale) -> Outcome:
    """A raw topic deleted and created again under a live worker, soon longer than the old one was: said within thirty seconds, not one event
    of the new one is taken for the old one's, and nobody decides by states that no event reaches any more.
    """
    with line() as made:
        made.worker.start()
        made.feed(scale.events // 100)
        made.wait_caught_up()
        before = made.lake.scan("transactions", duplicates=True).num_rows
        longest = max(made.world.log.ends([TRANSACTIONS.name]).values())
        _make_anew(made, TRANSACTIONS.name)
        anew_s = time.monotonic()
        for number in range(longest + CHUNK):
            made.world.log.send(
                TRANSACTIONS.name, b"a1", encode(transaction(transaction_id=f"new{number}", account_id="a1"))
            )
        made.world.log.flush()
        wait_for(lambda: says(made, '"log_lost"') > 0, "the worker says so", WITHIN_S)
        said_s = time.monotonic() - anew_s
        store = OnlineStore.connect(made.env["REDIS_URL"], registry())
        wait_for(lambda: is_refused(store), "readers degrade", WITHIN_S)
        taken = made.lake.scan("transactions", duplicates=True).num_rows - before
        made.worker.stop()  # what a person does who then brings the old topic back
        told = rebuild(made.worker)
        assert told.returncode == 0, told.stderr
        store.close()
        states = made.states_equal_to_batch()
    figure = {"said_s": round(said_s, 1), "taken_for_old": taken, "readers_refused": True, "states": states}
    return Outcome(said_s <= LOUD_WITHIN_S * scale.slack and taken == 0 and states > 0, figure)


def _make_anew(made: Line, name: str) -> None:
    admin = made.world.log.admin
    admin.delete_topics([name])[name].result(15)
    wait_for(lambda: name not in admin.list_topics(timeout=10).topics, "the topic is gone")
    ensure_platform_topics(made.env["KAFKA_BOOTSTRAP_SERVERS"])


# --------------------------------------------------------------------------------------- R3d


def entities_made_anew(scale: Scale) -> Outcome:
    """An entity topic deleted and created again under a live worker that goes on filling it: noticed, readers degrade, rebuilt, equal."""
    name = entity_topic("account").name
    with line() as made:
        store = OnlineStore.connect(made.env["REDIS_URL"], registry())
        made.worker.start()
        made.feed(scale.events // 100)
        made.wait_caught_up()
        _make_anew(made, name)
        anew_s = time.monotonic()
        made.feed(2 * scale.events // 100)
        wait_for(lambda: says(made, '"epoch_withdrawn"') > 0, "the worker says so", WITHIN_S)
        said_s = time.monotonic() - anew_s
        refused = is_refused(store)
        wait_for(lambda: made.world.log.has_caught_up(router.GROUP, RAW), "routing goes on meanwhile", WITHIN_S)
        told = rebuild(made.worker)
        assert told.returncode == 0, told.stderr
        made.world.epoch = store.current_epoch().epoch
        store.close()
        made.feed(CHUNK)
        made.wait_caught_up()
        back_s = time.monotonic() - anew_s
        compared = made.compared()
        made.worker.stop()
    figure = {"noticed_s": round(said_s, 1), "readers_refused": refused, "equal_again_s": round(back_s, 1), **compared}
    return Outcome(is_whole(compared) and refused and said_s <= LOUD_WITHIN_S * scale.slack, figure)


# --------------------------------------------------------------------------------------- R6b

CAUGHT_UP_S = 30.0
# What all roles may keep beyond what they held: of records on their way, and of what a fresh start takes.
MAX_GROWTH_MIB = 96.0


def broker_gone(scale: Scale) -> Outcome:
    """The worker's broker stopped with records on their way, past the time after which its processes start anew, and later hung: the worker
    catches up unaided, and all is whole.
    """
    with line(is_broker_own=True) as made:
        made.worker.start()
        made.feed(scale.events // 100)
        made.wait_caught_up()
        before = _mib(made)
        made.feed(CHUNK)
        made.stack.stop(own_broker().name)
        _let_pass(scale.worker_alone_s)
        if scale.worker_alone_s > BROKER_LOSS_S:
            # Whoever waits in it for ever is not restarted, and not shown.
            wait_for(lambda: says(made, '"worker_process_ended"') >= len(ROLES), "each role has started anew", WITHIN_S)
        wait_for(lambda: set(ROLES) <= set(made.worker.children()), "every role runs", WITHIN_S)
        restarted, grown = says(made, '"worker_process_ended"'), _mib(made) - before
        made.stack.start(own_broker().name)
        wait_for(lambda: _leads(made), "the broker leads its partitions again", WITHIN_S)
        back_s = _caught_up_s(made)
        made.feed(CHUNK)
        with hung(made.stack):
            _let_pass(scale.fault_s)
        hang_s = _caught_up_s(made)
        compared = made.compared()
        drained = made.worker.stop() == 0
    figure = {
        "gone_s": scale.worker_alone_s, "restarted": restarted, "grown_mib": round(grown, 1), "caught_up_s": round(back_s, 1),
        "hung_s": scale.fault_s, "caught_up_after_hang_s": round(hang_s, 1), **compared,
    }  # fmt: skip
    in_time = max(back_s, hang_s) <= CAUGHT_UP_S * scale.slack
    return Outcome(is_whole(compared) and drained and in_time and grown <= MAX_GROWTH_MIB, figure)


def _leads(made: Line) -> bool:
    """Apache Kafka answers a while before."""
    try:
        return bool(made.world.log.ends([*RAW, *ENTITY]))
    except KafkaException:
        return False


def _mib(made: Line) -> float:
    return float(sum(child.memory_info().rss for child in made.worker.children().values()) / 2**20)


def _let_pass(seconds: float) -> None:
    """The length of an outage."""
    over_s = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > over_s, "the outage is over", seconds + 10)


def _caught_up_s(made: Line) -> float:
    """After something that comes now is folded too."""
    began_s = time.monotonic()
    made.feed(CHUNK)
    made.wait_caught_up()
    return time.monotonic() - began_s


# --------------------------------------------------------------------------------------- R20


def forgotten(scale: Scale) -> Outcome:
    """Offsets of all groups gone, then the store and the snapshots kept beside the lake: read again, equal. Records expired unread: said within thirty seconds, and nothing is left out."""
    with line() as made:
        made.worker.start()
        made.feed(scale.events // 100)
        made.wait_caught_up()
        made.worker.stop()
        groups = [router.GROUP, "fraud-worker-labels", f"{folder.GROUP}.{made.world.epoch}"]
        for name in groups:
            wait_for(lambda name=name: _is_forgotten(made, name), f"{name} is deleted", WITHIN_S)  # type: ignore[misc]
        replayed_from = sum(made.world.log.committed(router.GROUP, list(made.world.log.ends(RAW))).values())
        made.worker.start()
        made.feed(CHUNK)
        made.wait_caught_up()
        repeated = made.compared()[
            "rows_in_two_files"
        ]  # a reader that knows replays sees each once, and the others after compaction
        _lose_states(made)
        made.feed(5 * CHUNK)  # in each partition a file of new rows, so that those before it are closed
        made.wait_caught_up()
        _compact(made)
        compared = made.compared()
        made.worker.stop()
        made.feed(CHUNK)
        _expire(made)
        stopped = made.world.log.committed(router.GROUP, list(made.world.log.ends([TRANSACTIONS.name])))
        started_s = time.monotonic()
        made.worker.start()
        wait_for(lambda: says(made, '"log_lost"') > 0, "the worker says so", WITHIN_S)
        said_s = time.monotonic() - started_s
        moved = made.world.log.committed(router.GROUP, list(stopped)) != stopped
    figure = {
        "offsets_left": replayed_from, "repeated_until_compacted": repeated, "said_s": round(said_s, 1), "went_on": moved, **compared,
    }  # fmt: skip
    loud = said_s <= LOUD_WITHIN_S * scale.slack and not moved
    return Outcome(is_whole(compared) and loud and replayed_from == 0, figure)


def _lose_states(made: Line) -> None:
    """The store's and those that are kept for it; what `rebuild-online` then has is the lake."""
    store = OnlineStore.connect(made.env["REDIS_URL"], registry())
    snapshot(made.lake, made.plan, store, made.env["KAFKA_BOOTSTRAP_SERVERS"], FAR_MS, FAR_MS - DAY)
    shutil.rmtree(Path(made.lake.uri) / FOLDER)
    with redis.Redis.from_url(made.env["REDIS_URL"]) as client:
        client.flushall()
    told = rebuild(made.worker)
    assert told.returncode == 0, told.stderr
    assert "folded from the lake" in told.stdout
    made.world.epoch = store.current_epoch().epoch
    store.close()


def _compact(made: Line) -> None:
    for day in made.lake.days("transactions"):
        compact(made.lake, "transactions", day)


def _is_forgotten(made: Line, group: str) -> bool:
    """A group can be deleted once its last member's session has ended."""
    return made.world.log.admin.delete_consumer_groups([group])[group].exception(15) is None


def _expire(made: Line) -> None:
    """What retention does: the log begins behind what nobody has read."""
    ends = made.world.log.ends([TRANSACTIONS.name])
    asked = [TopicPartition(*at, end) for at, end in ends.items() if end]
    for answer in made.world.log.admin.delete_records(asked).values():
        answer.result(15)
