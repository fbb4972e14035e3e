"""A plan's rows as scoring requests and contract events."""

from dataclasses import dataclass

import msgspec
import numpy as np

from fraud_assets.contracts.events import Activity, ActivityKind, Event, Label, Outcome, Profile, Transaction
from fraud_assets.contracts.topics import ACTIVITY, LABELS, PROFILES, Topic
from simulator.build import World
from simulator.ids import hex_ids, numbers_from
from simulator.live_plan import LivePlan
from simulator.purchases import BANK
from simulator.spec import DAY_MS
from simulator.tables import (
    Columns,
    activity_columns,
    label_columns,
    profile_columns,
    transaction_columns,
)
from simulator.world import Ints, Names

# A shop knows these raw; the platform's edge turns them into what the contract carries.
_RAW_INSTEAD = ("ip_token", "ip_country", "card_token", "email_token", "outcome")
_NO_PURCHASE = -1


@dataclass(frozen=True)
class Due:
    """An event of the world around the purchases; `row`: the purchase a label speaks of, else -1."""

    time_ms: int
    topic: Topic
    event: Event
    row: int = _NO_PURCHASE


def _dicts(columns: Columns) -> list[dict[str, object]]:
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)]


def transactions(world: World, names: Names, plan: LivePlan) -> list[Transaction]:
    """Each purchase as it would be published were nobody to refuse it."""
    ids = hex_ids("txn_", plan.number, world.spec.seed)
    columns = transaction_columns(world, names, plan.rows, ids)
    return [msgspec.convert(row, Transaction) for row in _dicts(columns)]


def requests(names: Names, plan: LivePlan, events: list[Transaction]) -> list[dict[str, object]]:
    """Each purchase as the shop sends it before the outcome: raw card number, e-mail and address."""
    rows = plan.rows
    made = []
    for event, ip, account, card, method in zip(
        events, rows.ip.tolist(), rows.account.tolist(), rows.card.tolist(), rows.method.tolist(), strict=True
    ):
        fields = msgspec.structs.asdict(event)
        request = {name: value for name, value in fields.items() if name not in _RAW_INSTEAD and value is not None}
        request["ip"] = names.ip_text[ip].as_py()
        request["email"] = names.email[account].as_py()
        if method < BANK:
            request["card_number"] = names.card_number[card].as_py()
        made.append(request)
    return made


def with_outcome(event: Transaction, decision: str) -> Transaction:
    """What is published: a denied purchase was declined by us, whatever its issuer would have said."""
    return msgspec.structs.replace(event, outcome=Outcome.DECLINED_BY_US) if decision == "deny" else event


def surroundings(world: World, names: Names, plan: LivePlan) -> list[Due]:
    """Views, profile changes and labels in the order they are due."""
    block = int(plan.number[0]) if len(plan.number) else plan.start_ms << 20
    activity = activity_columns(world, names, plan.activity, numbers_from(block, len(plan.activity)))
    profiles = profile_columns(world, names, plan.profiles, numbers_from(block, len(plan.profiles)))
    labels = label_columns(names, plan.labels, world.spec.seed)
    around: list[tuple[Topic, Event]] = [(ACTIVITY, msgspec.convert(row, Activity)) for row in _dicts(activity)]
    around += [(PROFILES, msgspec.convert(row, Profile)) for row in _dicts(profiles)]
    due = [Due(event.event_time_ms, topic, event) for topic, event in around]
    for row, purchase in zip(_dicts(labels), plan.label_row.tolist(), strict=True):
        label = msgspec.convert(row, Label)
        due.append(Due(label.event_time_ms, LABELS, label, purchase))
    due.sort(key=lambda one: one.time_ms)
    return [one for one in due if one.time_ms < plan.start_ms + plan.duration_ms]


class Inventory:
    """Tickets left, following what was really sold; counts are taken on demand."""

    def __init__(self, world: World, names: Names, sold: Ints) -> None:
        self._left = np.maximum(world.events.capacity - sold, 0)
        self._promoter = world.events.promoter
        self._names = names
        self._touched: set[int] = set()
        self._counted = 0

    def sell(self, event: int, tickets: int) -> None:
        """Resale keeps a sold-out event on the market at 0 left."""
        self._left[event] = max(0, self._left[event] - tickets)
        self._touched.add(event)

    def counts(self, now_ms: int) -> list[Activity]:
        """One count for each event sold since the last call."""
        counted = [self._count(event, now_ms) for event in sorted(self._touched)]
        self._touched.clear()
        return counted

    def _count(self, event: int, now_ms: int) -> Activity:
        self._counted += 1
        return Activity(
            event_time_ms=now_ms,
            activity_id=f"act_live_{now_ms % (DAY_MS * 365):x}_{self._counted:x}",
            kind=ActivityKind.INVENTORY,
            event_id=self._names.event[event].as_py(),
            promoter_id=self._names.promoter[int(self._promoter[event])].as_py(),
            inventory=int(self._left[event]),
        )
