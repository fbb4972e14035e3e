"""Proofs about what a worker writes into and loses: the online store, and its last writes."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis

from deploy.local.fault_proxy import FaultProxy
from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.valkey import valkey_command
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch
from fraud_assets.stores.publish import snapshot
from streaming import folder, router
from tests.chaos.looks import Looks
from tests.chaos.proof import Outcome, Scale
from tests.chaos.stream import CHUNK, WITHIN_S, Line, is_whole, line
from tests.streaming.events import DAY
from tests.streaming.live import ENTITY, RAW, wait_for
from tests.streaming.world import rebuild

FAR_MS = 4_000_000_000_000
NOTICED_WITHIN_S = 10.0

# --------------------------------------------------------------------------------------- R3a


def flushed(scale: Scale) -> Outcome:
    """FLUSHALL under load: readers degrade, nobody writes into the empty store, and what is rebuilt equals history."""
    with line() as made:
        store = OnlineStore.connect(made.env["REDIS_URL"], registry())
        made.worker.start()
        made.feed(scale.events // 100)
        wait_for(lambda: made.world.log.has_caught_up(router.GROUP, RAW), "the lake has the first events", WITHIN_S)
        kept = snapshot(made.lake, made.plan, store, made.env["KAFKA_BOOTSTRAP_SERVERS"], FAR_MS, FAR_MS - DAY)
        made.feed(scale.events // 100)
        group = f"{folder.GROUP}.{kept.marker.epoch}"
        wait_for(
            lambda: made.world.log.has_caught_up(group, ENTITY), "the worker folds into the snapshot's epoch", WITHIN_S
        )
        with redis.Redis.from_url(made.env["REDIS_URL"]) as client, made.traffic():
            client.flushall()
            lost_s = time.monotonic()
            wait_for(lambda: says(made, "online_store_lost") > 0, "the loss is noticed", WITHIN_S)
            noticed_s = time.monotonic() - lost_s
            refused = is_refused(store)
            before = made.fed
            wait_for(lambda: made.fed >= before + 4 * CHUNK, "events go on coming")
            written = len(list(client.scan_iter(match="fs:*")))
            told = rebuild(made.worker)
        assert told.returncode == 0, told.stderr
        made.world.epoch = store.current_epoch().epoch
        store.close()
        made.wait_caught_up()
        back_s = time.monotonic() - lost_s
        compared = made.compared()
        made.worker.stop()
    figure = {
        "noticed_s": round(noticed_s, 1), "readers_refused": refused, "written_meanwhile": written, "rebuilt_s": round(back_s, 1),
        **compared,
    }  # fmt: skip
    return Outcome(is_whole(compared) and refused and written == 0 and noticed_s <= NOTICED_WITHIN_S, figure)


def says(made: Line, words: str) -> int:
    return made.worker.log.read_text().count(words)


def is_refused(store: OnlineStore) -> bool:
    """What makes a scorer degrade."""
    try:
        store.current_epoch()
    except NoEpoch:
        return True
    return False


# --------------------------------------------------------------------------------------- R3b

LOOKED_AT = ("account", "a1")


def failed_over(scale: Scale) -> Outcome:
    """A replica without the last acknowledged writes is promoted: the folder goes back to where it ends, nobody decides by it meanwhile, and all is equal."""
    with line() as made, _before_store(made) as proxy:
        primary = made.stack.env["REDIS_URL"]
        with _replica(made, primary) as (replica, port):
            made.worker.start()
            made.feed(CHUNK)
            made.wait_caught_up()
            replica.replicaof("NO", "ONE")
            copied = _position(replica)
            made.feed(scale.events // 100)
            made.wait_caught_up()
            lost = _position(redis.Redis.from_url(primary)) - copied
            with Looks(f"redis://{LOOPBACK}:{proxy.port}/0", LOOKED_AT) as looks:
                proxy.point_to(LOOPBACK, port)
                failed_s = time.monotonic()
                made.feed(CHUNK)
                wait_for(lambda: '"gone_back": 0' not in _last_start(made), "the folder goes back", WITHIN_S)
                made.stack.env["REDIS_URL"] = f"redis://{LOOPBACK}:{port}/0"
                made.wait_caught_up()
                back_s = time.monotonic() - failed_s
                wait_for(lambda: looks.is_read_since(failed_s + back_s), "a scorer has its histories again", WITHIN_S)
            compared = made.compared()
            noticed = says(made, "WentBack")
            made.worker.stop()
    degraded = looks.degraded(failed_s)
    figure = {
        "lost_records": lost, "noticed": noticed > 0, "degraded_after_s": round(degraded.after_s, 1), "degraded_for_s": round(degraded.for_s, 1),
        "read_meanwhile": degraded.read_meanwhile, "equal_again_s": round(back_s, 1), **compared,
    }  # fmt: skip
    is_degraded = degraded.after_s <= NOTICED_WITHIN_S * scale.slack and degraded.read_meanwhile == 0
    return Outcome(is_whole(compared) and noticed > 0 and lost > 0 and is_degraded, figure)


def _last_start(made: Line) -> str:
    """What the folder said when it last took or moved its offsets."""
    told = [
        one
        for one in made.worker.log.read_text().splitlines()
        if '"group_starts"' in one and f'"{folder.GROUP}.' in one
    ]
    return told[-1] if told else '"gone_back": 0'


def _position(client: redis.Redis) -> int:
    """Entity records that the states of a server hold."""
    (name,) = client.scan_iter(match="fs-at:*")
    found: dict[bytes, bytes] = client.hgetall(name)  # type: ignore[assignment]  # redis-py adds an awaitable
    return sum(int(at) for place, at in found.items() if not place.startswith(b"holder:"))


@contextmanager
def _before_store(made: Line) -> Iterator[FaultProxy]:
    """The worker knows the store by the address of a proxy."""
    address = urlsplit(made.env["REDIS_URL"])
    assert address.hostname is not None and address.port is not None
    with FaultProxy(address.hostname, address.port) as proxy:
        made.worker.env["REDIS_URL"] = f"redis://{LOOPBACK}:{proxy.port}/0"
        yield proxy


@contextmanager
def _replica(made: Line, primary: str) -> Iterator[tuple[redis.Redis, int]]:
    """A second Valkey that has what the first has."""
    address, data = urlsplit(primary), made.folder / "replica"
    data.mkdir()
    with held_ports(1) as [port]:
        command = [*valkey_command(port, data), "--replicaof", str(address.hostname), str(address.port)]
        with (data / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        client = redis.Redis(port=port)
        try:
            wait_for(lambda: _is_in_step(client), "the replica is in step")
            yield client, port
        finally:
            client.close()
            process.terminate()
            process.wait(20)


def _is_in_step(client: redis.Redis) -> bool:
    try:
        return bool(client.info("replication").get("master_link_status") == "up")
    except redis.RedisError:
        return False
