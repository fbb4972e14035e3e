"""The event views of a simulated market in an online store, as the worker would fold them, without a broker."""

from collections.abc import Sequence

from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Activity, ActivityKind, Outcome, PaymentMethod, Tier, Transaction
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import ACTIVITY, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.features.sources import StreamSource
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import Write
from simulator.pricing_market import Selling

_FIVE_MINUTES_IN_AN_HOUR = 12
_PROMOTER = "market"


class Feed:
    """Says each hour what was sold, what is left and who looks; one writer, so versions are its own."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        plan = EnginePlan(registry())
        self._plan, self._group = plan, plan.group("event")
        self._engine = StateEngine(plan, self._group)
        self._packed: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._offset = 0

    def publish(self, selling: Sequence[Selling], at_ms: int) -> None:
        """What is known at the beginning of an hour."""
        writes = []
        for one in selling:
            key = self._fold(one, at_ms)
            version = self._versions.get(key, 0)
            writes.append(Write(key, version, self._packed[key]))
            self._versions[key] = version + 1
        written = self._store.compare_and_set(self._group.name, writes)
        assert all(written), "somebody else writes to this store"

    def _fold(self, one: Selling, at_ms: int) -> str:
        seen = _activity(one, at_ms)
        key = entity_key(self._group.group.entity, seen[0])
        assert key is not None
        packed = self._packed.get(key)
        batches: list[tuple[StreamSource, str, Sequence[Transaction | Activity]]] = [
            (TRANSACTIONS, topics.TRANSACTIONS.name, _sales(one, at_ms)),
            (ACTIVITY, topics.ACTIVITY.name, seen),
        ]
        for source, topic, events in batches:
            if events:
                positions = [(topic, 0, self._offset + place) for place in range(len(events))]
                self._offset += len(events)
                arrived = [event.event_time_ms for event in events]
                columns = columns_from_events(self._plan, source, events, positions, arrived)
                packed = self._engine.fold(packed, rows_of(self._plan, self._group, columns)).packed[0]
        assert packed is not None
        self._packed[key] = packed
        return key


def _activity(one: Selling, at_ms: int) -> list[Activity]:
    """Those who look during the last five minutes, and the count of what is left."""
    name = one.event.event_id
    viewers = round(one.visitors_last / _FIVE_MINUTES_IN_AN_HOUR)
    views = [
        Activity(
            activity_id=f"{name}-{at_ms}-{number}", kind=ActivityKind.VIEW, event_id=name, promoter_id=_PROMOTER,
            device_id=f"{at_ms}-{number}", event_time_ms=at_ms - 200_000 + number,
        )
        for number in range(viewers)
    ]  # fmt: skip
    count = Activity(
        activity_id=f"{name}-{at_ms}", kind=ActivityKind.INVENTORY, event_id=name, promoter_id=_PROMOTER,
        inventory=one.inventory, event_time_ms=at_ms - 1_000,
    )  # fmt: skip
    return [*views, count]


def _sales(one: Selling, at_ms: int) -> list[Transaction]:
    """The hour's tickets, in one payment: the views count tickets."""
    if not one.sold_last:
        return []
    name = f"{one.event.event_id}-{at_ms}"
    return [
        Transaction(
            transaction_id=name, account_id=name, event_id=one.event.event_id, promoter_id=_PROMOTER, device_id=name,
            ip_token="dev:00", ip_country="DE", billing_country="DE", currency="EUR", ticket_count=one.sold_last,  # noqa: S106  # no password
            tier=Tier.STANDARD, category=one.event.category, outcome=Outcome.APPROVED, payment_method=PaymentMethod.CARD,
            amount_minor=one.sold_last * one.price_minor, event_time_ms=at_ms - 2_000,
        )
    ]  # fmt: skip
