"""`python -m fraud_assets.engine`: compile every kernel now, so that nothing waits for it later.

Machine code is kept beside the sources (jit.py), and a second run only loads it. Two processes that
start cold would both compile: half a minute of work each.
"""

import sys
import time

from fraud_assets.contracts.events import Category, Outcome, PaymentMethod, Tier, Transaction
from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.jit import cache_folder
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import columns_from_events, rows_of
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import EVENT_PRICING, FRAUD_SCORING, registry

PAYMENT = Transaction(
    transaction_id="t", account_id="a", event_id="e", promoter_id="p", device_id="d", ip_token="dev:00", ip_country="DE",
    billing_country="DE", currency="EUR", ticket_count=1, tier=Tier.STANDARD, category=Category.CONCERT,
    outcome=Outcome.APPROVED, payment_method=PaymentMethod.CARD, amount_minor=1_00, event_time_ms=1_790_856_000_000,
)  # fmt: skip


def run_everything() -> None:
    """One payment through state, request and batch: kernels take arrays of any length and meaning."""
    plan = EnginePlan(registry())
    service = ServicePlan(plan, FRAUD_SCORING)
    columns = columns_from_events(plan, TRANSACTIONS, [PAYMENT], [("transactions.v1", 0, 0)], [PAYMENT.event_time_ms])
    account = plan.group("account")
    engine, rows = StateEngine(plan, account), rows_of(plan, account, columns)
    engine.fold(engine.fold(None, rows).packed[0], rows)
    for read in (service, ServicePlan(plan, EVENT_PRICING)):
        reader = RequestReader(read)
        reader.read([None] * len(reader.groups), PAYMENT, PAYMENT.event_time_ms, PAYMENT.transaction_id)
    log = Log(plan, [columns])
    vectors(service, log, Spine.of_events(log, TRANSACTIONS.name))


def main() -> int:
    started = time.perf_counter()
    run_everything()
    print(f"kernels of {cache_folder().name} ready in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
