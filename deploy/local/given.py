"""Servers that are not ours (KAFKA_BOOTSTRAP_SERVERS, REDIS_URL): one that holds another run than the folder's is refused.

The folder's lake, the broker's log and the online store are one world: whose offsets, positions and states are not of the same
one would be believed, and wrong. A folder remembers what it has used, so a stack that is stopped and started again finds its own.
"""

import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import msgspec
import redis
from confluent_kafka import KafkaException
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.services import ADDRESSES
from deploy.local.state import read_record, write_record
from deploy.local.topics import cluster_id, used_topics
from fraud_assets.stores.online_port import MARKER_KEY

ELSEWHERE = "FRAUD_ONLINE_STORE_URL"
# In the store itself, so that whoever empties it empties this too, and another folder that takes it over is noticed.
OWNER_KEY = "fraud-stack:owner"
_ANSWER_WITHIN_S = 5.0


class UnfitServer(RuntimeError):
    """A given server does not answer or holds another run; nothing was written to it. The message names the way out."""


class Used(msgspec.Struct, frozen=True):
    """What a folder has used. owner: its name in a Redis. logs: cluster ids, for a broker has no place for such a name."""

    owner: str
    logs: tuple[str, ...] = ()


def refuse_elsewhere(environment: Mapping[str, str]) -> None:
    """A stack fills the online store at REDIS_URL, so its processes must look for it there. Raises UnfitServer."""
    if environment.get(ELSEWHERE):
        raise UnfitServer(f"a stack's online store is that of {ADDRESSES['valkey']}; unset {ELSEWHERE}")


def take_servers(given: Mapping[str, str], var_dir: Path) -> None:
    """Make sure that the given servers hold nothing or this folder's own run, and remember them. Raises UnfitServer."""
    brokers, store = given.get(ADDRESSES["broker"]), given.get(ADDRESSES["valkey"])
    if not brokers and not store:
        return
    used = read_record(_path(var_dir), Used) or Used(owner=uuid.uuid4().hex)
    if brokers:
        used = _checked_log(brokers, used, var_dir)
    if store:
        _check_store(store, used, var_dir)
    # Before anything is written to them: a start that fails half-way is this folder's run as well.
    write_record(_path(var_dir), used)
    if store:
        _own(store, used)


def shown(address: str) -> str:
    """An address that may be printed: without the password that a URL may carry."""
    return re.sub(r"//[^/@]*@", "//", address)


def _checked_log(brokers: str, used: Used, var_dir: Path) -> Used:
    try:
        log, topics = cluster_id(brokers, _ANSWER_WITHIN_S), used_topics(brokers)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        raise UnfitServer(f"no broker answers at {brokers} ({reason})") from None
    if topics and not (log and log in used.logs):
        raise UnfitServer(
            f"{brokers} holds records of an earlier run ({', '.join(topics)}) that is not the one in {var_dir}."
            f" Delete the platform's topics there, name another Kafka, or unset {ADDRESSES['broker']}."
        )
    return msgspec.structs.replace(used, logs=tuple(sorted({*used.logs, log})))


def _check_store(url: str, used: Used, var_dir: Path) -> None:
    try:
        owner, epoch = _client(url).mget(OWNER_KEY, MARKER_KEY)
    except (redis.RedisError, ValueError) as error:  # ValueError: a URL without its scheme
        raise UnfitServer(f"no Redis answers at {shown(url)} ({error})") from None
    if (owner or epoch) and owner != used.owner.encode():
        raise UnfitServer(
            f"{shown(url)} holds the states of an earlier run that is not the one in {var_dir}."
            f" Empty it (FLUSHDB), name another Redis, or unset {ADDRESSES['valkey']}."
        )


def _own(url: str, used: Used) -> None:
    """Of two folders that begin on one empty Redis, the first has it."""
    try:
        client = _client(url)
        client.set(OWNER_KEY, used.owner, nx=True)
        owner = client.get(OWNER_KEY)
    except redis.RedisError as error:
        raise UnfitServer(f"Redis at {shown(url)} does not take a key ({error}); the platform writes to it") from None
    if owner != used.owner.encode():
        raise UnfitServer(f"{shown(url)} was taken by another run just now; name another Redis")


def _client(url: str) -> redis.Redis:
    # redis-py's own retries hide a hung server for half a minute.
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_ANSWER_WITHIN_S,
        socket_connect_timeout=_ANSWER_WITHIN_S,
    )


def _path(var_dir: Path) -> Path:
    return var_dir / "run" / "given.json"
