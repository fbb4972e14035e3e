"""A lake with everything that a person leaves in it, beside what others leave, and all that can be read of both."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Head, seal
from fraud_assets.contracts.events import Activity, Decision, Event, Explanation, Label, LabelFact, Profile, Transaction
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.erasure.erase import Asked, Places
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.files import open_files
from fraud_assets.stores.keyed_tables import put_table
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import EpochMarker
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.stores.state_files import StateFiles
from tests.contracts.test_chain import decision
from tests.streaming.events import DAY, KEY, T0, activity, label, profile, transaction

PERSON = "planted-person"
ASKED = Asked(PERSON, "request 17", "the test")
NEEDLE = "planted"
PAYERS = (PERSON, "other", f"{PERSON}-2x", "other")
DAYS = 2
NOW_MS = T0 + 9 * DAY


def is_persons(text: str) -> bool:
    """Somebody whose id begins with the person's is somebody else."""
    return NEEDLE in text.replace(f"{PERSON}-2x", "")


def places(lake_uri: str, redis_url: str = "", database_url: str = "") -> Places:
    return Places(lake_uri, redis_url, redis_url, database_url, registry(), KEY, 86_400_000)


def fill(lake_uri: str, key: TokenKey = KEY) -> Lake:
    """Eight payments of three people in two days, and what is made of each."""
    lake, payments = Lake(lake_uri), [_payment(n) for n in range(len(PAYERS) * DAYS)]
    made: dict[str, list[Event]] = {
        "transactions": list(payments),
        "activity": [activity(activity_id=f"v-{one.transaction_id}", account_id=one.account_id, event_time_ms=one.event_time_ms) for one in payments],
        "profiles": [profile(profile_id=f"f-{one.transaction_id}", account_id=one.account_id, event_time_ms=one.event_time_ms) for one in payments],
        "labels": [label(transaction_id=one.transaction_id, account_id=one.account_id, label_id=f"l-{one.transaction_id}", event_time_ms=one.event_time_ms) for one in payments],
        "label_facts": [_fact(one) for one in payments],
        "decisions": list(_decisions(payments)),
        "explanations": [_explanation(one) for one in payments],
    }  # fmt: skip
    contracts: dict[str, type[Event]] = {
        "transactions": Transaction, "activity": Activity, "profiles": Profile, "labels": Label, "label_facts": LabelFact,
        "decisions": Decision, "explanations": Explanation,
    }  # fmt: skip
    for table, events in made.items():
        for half in (0, 1):  # two files of each day
            rows = [(event, n) for n, event in enumerate(events) if n % 2 == half or (half == 0 and n == 7)]
            at = [LogPosition(T0 + DAYS * DAY + n, f"{table}.v1", 0, n) for _, n in rows]
            lake.append(
                table,
                from_events(contracts[table], [event for event, _ in rows], at),
                f"{table}.v1-00000-{half:020d}-w",
            )
    _beside(lake_uri, payments)
    kept = StateFiles(lake_uri).writer("e0")
    kept.add("account", [PERSON, "other"], [b"planted", b"theirs"])
    kept.finish(EpochMarker(epoch="e0", log="l", groups={}))
    return lake


def _payment(n: int) -> Transaction:
    who = PAYERS[n % len(PAYERS)]
    return transaction(
        transaction_id="t-0" if n in (0, 1) else f"t-{who}-{n}", account_id=who, device_id=f"d-{who}", card_token=f"dev:{n:04x}",
        user_agent=f"browser of {who}", event_time_ms=T0 + n // len(PAYERS) * DAY + n,
    )  # fmt: skip


def one_more_decision(lake: Lake) -> None:
    """The person pays once more, and is decided upon: position 9 of the chain, in a file of its own."""
    made = _decisions([_payment(n) for n in range(len(PAYERS) * DAYS + 1)])[-1:]
    at = [LogPosition(T0 + DAYS * DAY + 9, "decisions.v1", 0, len(PAYERS) * DAYS)]
    lake.append("decisions", from_events(Decision, made, at), f"decisions.v1-00000-{len(PAYERS) * DAYS:020d}-w")


def _fact(one: Transaction) -> LabelFact:
    names = (
        "event_time_ms",
        "transaction_id",
        "account_id",
        "event_id",
        "promoter_id",
        "device_id",
        "ip_token",
        "category",
        "amount_minor",
    )
    return LabelFact(fact_id=f"x-{one.transaction_id}", is_fraud=False, **{name: getattr(one, name) for name in names})


def _decisions(payments: list[Transaction]) -> list[Decision]:
    head, made = Head("c"), []
    for n, one in enumerate(payments, 1):
        said = decision(
            n,
            account_id=one.account_id,
            transaction_id=one.transaction_id,
            event_time_ms=one.event_time_ms,
            request={"account_id": one.account_id},
        )
        raw, head = seal(said, head)
        made.append(codec.decode(Decision, raw, max_bytes=2**20))
    return made


def _explanation(one: Transaction) -> Explanation:
    return Explanation(
        event_time_ms=one.event_time_ms, decision_id=f"d-{one.transaction_id}", transaction_id=one.transaction_id, account_id=one.account_id,
        service="s", service_digest="sd", model_version="v1", model_sha256="m", base_value=0.0, contributions=[0.5], margin=0.5,
        top_features={},
    )  # fmt: skip


def _beside(lake_uri: str, payments: list[Transaction]) -> None:
    """A feature view, the identity graph, a training set with what its footer says, a holdout, and scores of nobody."""
    root = lake_uri.rpartition("/")[0]
    place = {
        "source_topic": ["transactions.v1"] * 8,
        "source_partition": pa.array([0] * 8, pa.int32()),
        "source_offset": list(range(8)),
    }
    view = pa.table({"transaction_id": [one.transaction_id for one in payments], "value": list(range(8)), **place})
    features = open_files(f"{root}/features")
    features.put(f"{features.root}/account_spending/event_date=2026-01-01/data.parquet", view)
    accounts = [one.account_id for one in payments]
    put_table(
        f"{root}/labels",
        "identity_graph",
        "as_of=2026-01-02",
        pa.table({"account_id": accounts, "entity_id": [one.device_id for one in payments]}),
    )
    chosen = pa.table(
        {
            "row_account_id": accounts,
            "row_transaction_id": [one.transaction_id for one in payments],
            "f": list(range(8)),
        }
    )
    put_table(f"{root}/training", "training_set", "as_of=2026-01-02", chosen.replace_schema_metadata({"digest": "abc"}))
    ids = [f"{one.account_id}\x00{one.transaction_id}" for one in payments]
    put_table(f"{root}/training", "holdout", "model=v1", pa.table({"row_id": ids, "row_score": list(range(8))}))
    put_table(f"{root}/training", "validation_scores", "as_of=2026-01-02", pa.table({"score": [0.5]}))


def fill_store(url: str) -> OnlineStore:
    """States of the person's account and pairs under the published epoch and one before, of others, and label cases."""
    store = OnlineStore.connect(url, registry())
    for epoch in ("e0", "e1"):
        store.load(epoch, "account", [(PERSON, b"planted"), ("other", b"o"), (f"{PERSON}-2x", b"o")])
        store.load(
            epoch,
            "account_device",
            [(f"{PERSON}|d-{PERSON}", b"planted"), ("other|d-other", b"o"), (f"{PERSON}-2x|d", b"o")],
        )
        store.load(epoch, "device", [("d-other", b"o")])
    store.publish_epoch("e1", log="l", resume={}, now_ms=T0)
    with redis.Redis.from_url(url) as client:
        client.set(f"lf:{PERSON}\x00t-0", b"planted")
        client.set("lf:other\x00t-0", b"o")
        client.zadd("lf-due:0", {msgspec.json.encode((name, "t-0")): 1 for name in (PERSON, "other")})
    return store


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts_of(folder: Path) -> dict[str, str]:
    """What every file says: its bytes, and, since Parquet packs, its rows and footer."""
    found = dict[str, str]()
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path)] = repr(path.read_bytes())
            if path.suffix == ".parquet":
                table = pq.read_table(path, partitioning=None)
                found[str(path)] += repr((table.to_pylist(), table.schema))
    return found


def keys_of(url: str) -> dict[bytes, object]:
    with redis.Redis.from_url(url) as client:
        reads: dict[bytes, Any] = {
            b"string": client.get,
            b"zset": lambda name: client.zrange(name, 0, -1),
            b"hash": client.hgetall,
        }
        return {name: reads[client.type(name)](name) for name in client.scan_iter()}
