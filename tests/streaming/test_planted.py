"""One card number in every text field and header, through the scorer and through raw topics: afterwards it is nowhere.

Scorer, recorder, all of the worker, Redis, PostgreSQL and a webhook are real. Two places hold it, and are said to
(docs/bad-input.md): the raw topics that a foreign producer wrote it to, and the dead letters.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pyarrow.parquet as pq
import pytest
import redis

from api.contract import ScoringRequest
from deploy.local.postgres import Postgres, empty_database
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Event, Label, LabelFact
from streaming import database_sink, explainer, folder, label_stage, notifier, router
from tests.api.processes import Running, scorers
from tests.api.test_labels import label as posted_label
from tests.api.world import ALL, bearer, request
from tests.models.made import Trained
from tests.streaming.events import activity, label, profile, transaction
from tests.streaming.live import ENTITY, RAW, Log, Worker, wait_for
from tests.streaming.test_notifier import Hook, rule

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

DIGITS = "4539148803436467"
SPELLED = (DIGITS, "4539 1488 0343 6467", "4539-1488-0343-6467")
TEXT = f"Mozilla/5.0 ({SPELLED[1]}) {SPELLED[2]} Safari/{DIGITS}"
HEADERS = {
    "Idempotency-Key": DIGITS, "User-Agent": TEXT, "X-Card": SPELLED[1], "tracestate": f"a={DIGITS}", "Cookie": f"card={DIGITS}",
    "traceparent": f"00-{DIGITS:0>32}-00f067aa0ba902b7-01", "X-Request-Id": DIGITS, "Referer": f"http://shop.example/{DIGITS}",
}  # fmt: skip
OF_RECORDS: list[tuple[str, str | bytes | None]] = [
    ("x-card", SPELLED[1].encode()),
    (DIGITS, b"1"),
    ("replay_of", DIGITS.encode()),
]


@dataclass
class World:
    """What was sent, and every byte that is found afterwards, by the place where."""

    env: Mapping[str, str]
    log: Log
    postgres: Postgres
    answers: dict[str, list[httpx.Response]] = field(default_factory=dict)
    foreign: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    found: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trained: Trained, postgres_server: Any) -> Iterator[World]:
    place, postgres = tmp_path_factory.mktemp("planted"), empty_database(postgres_server)
    scoring, notify = place / "scorer", place / "notify.toml"
    scoring.mkdir()
    quick = ("LAKE", "EXPLAIN", "DATABASE", "NOTIFY", "LABEL")
    settings = {
        "DATABASE_URL": postgres.url, "FRAUD_NOTIFICATIONS_FILE": str(notify), "FRAUD_MODEL_DIR": str(scoring / "models"),
        **{f"FRAUD_{name}_FLUSH_S": "0.2" for name in quick},
    }  # fmt: skip
    with ExitStack() as stack:
        hook = stack.enter_context(Hook())
        told_all = {"actions": ["approve", "review", "deny"]}
        others = rule(hook.url.replace("/hook", "/others"), name="others", client="others", **told_all)
        notify.write_text(rule(hook.url, client="shop", **told_all) + others)
        env = stack.enter_context(running(["valkey", "broker"], place / "var", settings)).env
        broker = env["KAFKA_BOOTSTRAP_SERVERS"]
        ensure_platform_topics(broker)
        made, worker = World(env, Log(broker), postgres), Worker(env, place / "worker.log")
        told = worker.init_epoch()
        assert told.returncode == 0, told.stderr
        groups = _groups(epoch=told.stdout.split()[1])
        with scorers(1, scoring, trained, env["REDIS_URL"], broker) as (scorer,):
            with worker:
                ask(made, scorer)
                produce(made)
                wait_for(lambda: sum(made.log.ends([topics.DECISIONS.name]).values()) >= 5, "decisions are in the log")
                for _ in range(2):  # what one group makes, another reads
                    for group, names in groups.items():
                        wait_for(lambda g=group, n=names: made.log.has_caught_up(g, n), f"{group} has read it")  # type: ignore[misc]
            made.found |= {"scorer's metrics": _get(scorer, "/metrics"), "scorer's log": b""}
        made.found |= {"notices": repr((hook.taken, hook.headers, hook.paths)).encode(), "answers": _said(made)}
        made.found |= stored(made, place)
        hook.shutdown()
        yield made


def _groups(epoch: str) -> dict[str, list[str]]:
    decided = [topics.DECISIONS.name]
    return {
        router.GROUP: RAW,
        label_stage.GROUP: [topics.TRANSACTIONS.name, topics.LABELS.name],
        explainer.GROUP: decided,
        notifier.GROUP: decided,
        f"{folder.GROUP}.{epoch}": ENTITY,
        database_sink.GROUP: [topics.DECISIONS.name, topics.EXPLANATIONS.name],
    }


def ask(world: World, scorer: Running) -> None:
    """Through the scorer: where the number belongs, in each other text, and in headers, paths and names."""
    good = request(card_number=SPELLED[1], user_agent=TEXT)
    json = {"Content-Type": "application/json"}
    texts = [name for name in ScoringRequest.__struct_fields__ if isinstance(good.get(name), str)]
    with httpx.Client(base_url=scorer.url, headers=bearer(ALL), timeout=30) as client:
        world.answers["decided"] = [
            client.post("/predict", json=good, headers=HEADERS),
            client.post("/predict", json={"transactions": [good | {"transaction_id": f"b{n}"} for n in range(4)]}, headers=HEADERS | {"Idempotency-Key": f"two-{DIGITS}"}),
        ]  # fmt: skip
        world.answers["labelled"] = [client.post("/labels", json={"labels": [posted_label()]}, headers=HEADERS)]
        world.answers["refused"] = [
            *(
                client.post("/predict", json=good | {name: spelled})
                for name in texts
                if name not in ("card_number", "user_agent")
                for spelled in SPELLED
            ),
            *(client.post("/labels", json={"labels": [posted_label(**{name: DIGITS})]}) for name in _texts(Label)),
            client.post("/predict", json=good | {DIGITS: DIGITS}),
            client.post("/predict", content=f'{{"card_number": "{DIGITS}"', headers=json),
            client.get(f"/{DIGITS}?card={DIGITS}"),
            client.post("/predict", json=good, headers={"Authorization": f"Bearer {DIGITS}.{DIGITS}"}),
        ]


def produce(world: World) -> None:
    """Through raw topics: each text of each event in turn, every record with planted headers."""
    for base in (_transaction(), activity(), profile(), label(), _fact()):
        topic = next(one for one in topics.RAW_TOPICS if one.contract is type(base))
        _send(world, topic, msgspec.to_builtins(_own(base)))
        for name in _texts(type(base)):
            planted = msgspec.to_builtins(_own(base)) | {name: TEXT if name == "user_agent" else SPELLED[1]}
            raw = _send(world, topic, planted)
            if name not in ("user_agent", "card_token"):
                world.refused.add(raw)
        world.refused.add(_send(world, topic, msgspec.to_builtins(_own(base)) | {DIGITS: 1}))
    row = {name: value for name, value in msgspec.to_builtins(profile()).items() if name != "profile_id"}
    _send(world, topics.PROFILES, {"op": "u", "before": {"note": TEXT}, "after": row, "source": {"query": TEXT}}, b"a1")
    world.log.send(topics.PROFILES.name, b"a1", None)  # as a database's connector says that a row is gone
    world.log.flush()


def _send(world: World, topic: topics.Topic, event: dict[str, Any], key: bytes = b"") -> bytes:
    raw = msgspec.json.encode(event)
    world.log.producer.produce(topic.name, key=key or event[topic.key].encode(), value=raw, headers=OF_RECORDS)
    world.foreign.add(raw)
    return raw


def _transaction() -> Event:
    return transaction(user_agent="Mozilla", email_token="dev:e1", lat_e6=1, lon_e6=1)  # a token, no password


def _fact() -> LabelFact:
    kept = {
        name: getattr(_transaction(), name) for name in LabelFact.__struct_fields__ if hasattr(_transaction(), name)
    }
    return LabelFact(**kept | {"fact_id": "f1", "is_fraud": True})


def _own(event: Event) -> Event:
    """The event under an id that no other has."""
    id_field = event.__struct_fields__[2]
    assert id_field.endswith("_id")
    return msgspec.structs.replace(event, **{id_field: f"own-{uuid.uuid4()}"})


def _texts(contract: type[Event]) -> list[str]:
    """Every field that a text is legal JSON for, enumerations and patterns too."""
    kinds = {one.name: str(one.type) for one in msgspec.structs.fields(contract)}
    return [name for name, kind in kinds.items() if "str" in kind or "enum" in kind]


def _get(scorer: Running, path: str) -> bytes:
    return httpx.get(f"{scorer.url}{path}", headers=bearer(ALL)).content


def _said(world: World) -> bytes:
    return b"".join(
        answer.content + repr(answer.headers.raw).encode() for some in world.answers.values() for answer in some
    )


def stored(world: World, place: Path) -> dict[str, bytes]:
    """By place. Files as they are but for the broker's own, and the lake's decoded: Parquet is compressed."""
    lake = Path(world.env["FRAUD_LAKE_URI"])
    files = [file for file in place.rglob("*") if file.is_file() and "broker" not in file.relative_to(place).parts]
    names = [name for name in world.log.admin.list_topics(timeout=10).topics if not name.startswith("__")]
    return {
        **{f"file {file.relative_to(place)}": file.read_bytes() for file in files},
        **{f"lake {file.relative_to(lake)}": repr(pq.ParquetFile(file).read().to_pylist()).encode() for file in lake.rglob("*.parquet")},
        **{f"topic {name}": _records(world, name) for name in names if name != topics.DEAD_LETTERS.name},
        **_in_redis(world.env["REDIS_URL"]),
        **_in_postgres(world.postgres.url),
    }  # fmt: skip


def _records(world: World, name: str) -> bytes:
    """All but those that the foreign producer sent there itself."""
    own = (one for one in world.log.read(name) if one.value not in world.foreign)
    return b"".join((one.key or b"") + (one.value or b"") + repr(one.headers).encode() for one in own)


def _in_redis(url: str) -> dict[str, bytes]:
    """Keys and values of every type; an unknown type fails."""
    client = redis.Redis.from_url(url)
    read: dict[bytes, Any] = {
        b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1), b"list": lambda name: client.lrange(name, 0, -1),
    }  # fmt: skip
    try:
        found: dict[str, bytes] = {}
        names: list[Any] = list(client.scan_iter())
        for name in names:
            kind: Any = client.type(name)
            found[f"redis {kind.decode()}"] = (
                found.get(f"redis {kind.decode()}", b"") + name + repr(read[kind](name)).encode()
            )
        return found
    finally:
        client.close()


def _in_postgres(url: str) -> dict[str, bytes]:
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    with psycopg.connect(url) as connection:
        tables = [f'"{schema}"."{name}"' for schema, name in connection.execute(query).fetchall()]
        rows = {name: connection.execute(f"SELECT one::text FROM {name} AS one".encode()).fetchall() for name in tables}
    return {f"postgres {name}": repr(some).encode() for name, some in rows.items()}


def test_a_card_number_planted_anywhere_is_nowhere(world: World) -> None:
    """In no log, store, topic, file, table, notice or answer, in none of its spellings."""
    leaks = {
        (where, needle)
        for where, found in world.found.items()
        for needle in SPELLED
        if needle.encode() in found
    }  # fmt: skip

    assert leaks == set()


def test_every_place_was_looked_at_and_has_something(world: World) -> None:
    """What is empty proves nothing."""
    wanted = [
        "answers", "notices", "scorer's metrics", "file worker.log", "file scorer/scorer-", "file scorer/decisions",
        "lake transactions", "lake decisions", "lake explanations", "lake labels", "lake activity", "lake profiles",
        *(f"topic {name}" for name in (*ENTITY, "decisions.v1", "labels.v1", "explanations.v1", "feature_vectors.v1")),
        "redis string", "redis hash", 'postgres "fraud"."decisions"', 'postgres "fraud"."explanations"',
    ]  # fmt: skip

    empty = [
        name for name in wanted if not any(where.startswith(name) and found for where, found in world.found.items())
    ]
    assert empty == []
    decided = {answer.json().get("transaction_id") for answer in world.answers["decided"]} - {None}
    assert decided and all(name.encode() in world.found["notices"] for name in decided)


def test_the_client_that_asked_is_told_and_another_is_not(world: World) -> None:
    """Through scorer, recorder, journal, broker and notifier: who asked is whose key it was."""
    assert world.found["notices"].count(b"'/hook'") == 5
    assert b"/others" not in world.found["notices"]


def test_payments_whose_browser_says_it_are_decided_and_all_else_is_refused(world: World) -> None:
    assert [answer.status_code for answer in (*world.answers["decided"], *world.answers["labelled"])] == [200, 200, 202]
    assert {answer.status_code for answer in world.answers["refused"]} == {422, 400, 404, 401}
    versions = b"".join(found for where, found in world.found.items() if where.startswith("lake profiles"))
    assert versions.count(b"'cdc_") == 1
    recorded = b"".join(found for where, found in world.found.items() if where.startswith("lake decisions"))
    assert recorded.count(b"Mozilla/5.0 ([card number]) [card number] Safari/[card number]") == 5


def test_every_line_of_the_workers_log_is_json(world: World) -> None:
    """Those of libraries too: whoever collects it needs one parser."""
    lines = world.found["file worker.log"].splitlines()

    assert len(lines) > 20
    assert all("event" in msgspec.json.decode(line) for line in lines)


def test_dead_letters_hold_exactly_what_was_refused(world: World) -> None:
    """With the bytes as they came: the one place behind a raw topic that has the number."""
    letters = list(world.log.read(topics.DEAD_LETTERS.name))

    assert {one.value for one in letters} == world.refused
    assert b'"dropped": 1' in world.found["file worker.log"]
    ours = [header for one in letters for header in one.headers[:7]]
    assert {name for name, _ in ours} >= {"reason", "field", "detail"}
    assert not [value for _, value in ours for needle in SPELLED if needle.encode() in (value or b"")]
