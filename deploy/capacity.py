"""What so many payments a second take: `python -m deploy.capacity` prints the table of docs/capacity.md, from costs that were measured.

Sustained rates. Cores and bytes, not prices: what a core costs is each cloud's own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

RATES = (1_000, 10_000, 100_000)
DAY_S = 86_400


@dataclass(frozen=True)
class Costs:
    """Measured on two cores; docs/capacity.md names command, machine and date of each.

    *_per_s: of one process at the load it is planned for. *_us: of a core. *_bytes: of memory, disk or wire.
    """

    decisions_per_s: float = 1_100  # three quarters of what an evenly asked scorer holds its latency at
    cores_per_scorer: float = 1.2  # with its recorder
    raw_events_per_s: float = 1_500  # of a worker on two cores
    cores_per_worker: float = 2.0
    explain_us: float = 1_000
    database_rows_per_s: float = 1_860
    entities_bytes: float = 7_460  # of an account, with its devices, cards, addresses and pairs
    dedupe_bytes: float = 130
    training_row_us: float = 17.6
    chain_core_hours: float = 1.8 / 500  # of a night, for a decision a second
    decision_bytes: float = 4_600


@dataclass(frozen=True)
class Shop:
    """What a payment brings with it; assumptions, to be replaced by one's own."""

    raw_events: float = 4.0  # itself, its decision, two page views or other events
    payments_per_account_month: float = 30.0
    dedupe_hours: float = 1.0
    replicas: int = 3
    retention_days: float = 7.0


@dataclass(frozen=True)
class Need:
    """For one rate."""

    per_s: int
    scorers: int
    workers: int
    explainer_cores: float
    databases: float
    accounts_m: float
    states_tib: float
    dedupe_gib: float
    broker_mib_per_s: float
    broker_tib: float
    training_core_hours: float
    chain_core_hours: float

    @property
    def cores(self) -> float:
        """Of what answers and follows all day, without servers that are not ours."""
        costs = Costs()
        return self.scorers * costs.cores_per_scorer + self.workers * costs.cores_per_worker + self.explainer_cores


def need(per_s: int, costs: Costs | None = None, shop: Shop | None = None) -> Need:
    costs, shop = costs or Costs(), shop or Shop()
    accounts = per_s * 30 * DAY_S / shop.payments_per_account_month
    written = per_s * costs.decision_bytes
    return Need(
        per_s=per_s,
        scorers=math.ceil(per_s / costs.decisions_per_s) + 1,  # one may be away
        workers=math.ceil(per_s * shop.raw_events / costs.raw_events_per_s),
        explainer_cores=per_s * costs.explain_us / 1e6,
        databases=per_s / costs.database_rows_per_s,
        accounts_m=accounts / 1e6,
        states_tib=accounts * costs.entities_bytes / 2**40,
        dedupe_gib=per_s * shop.raw_events * shop.dedupe_hours * 3_600 * costs.dedupe_bytes / 2**30,
        broker_mib_per_s=written * shop.replicas / 2**20,
        broker_tib=written * shop.replicas * shop.retention_days * DAY_S / 2**40,
        training_core_hours=per_s * DAY_S * costs.training_row_us / 1e6 / 3_600,
        chain_core_hours=per_s * costs.chain_core_hours,
    )


def lines(rates: Sequence[int] = RATES) -> Iterator[str]:
    """The table, in Markdown."""
    needs = [need(rate) for rate in rates]
    rows: list[tuple[str, list[str]]] = [
        ("scorers, one spare", [f"{one.scorers}" for one in needs]),
        ("workers", [f"{one.workers}" for one in needs]),
        ("explainers beside them, cores", [f"{one.explainer_cores:.0f}" for one in needs]),
        ("**cores, all day**", [f"**{one.cores:,.0f}**" for one in needs]),
        ("PostgreSQL sinks", [f"{one.databases:.1f}" for one in needs]),
        ("accounts of a month, millions", [f"{one.accounts_m:,.0f}" for one in needs]),
        ("their states, TiB", [f"{one.states_tib:,.1f}" for one in needs]),
        ("dedupe of an hour, GiB", [f"{one.dedupe_gib:,.1f}" for one in needs]),
        (
            "decisions on three brokers, MiB/s; TiB of a week",
            [f"{one.broker_mib_per_s:,.0f}; {one.broker_tib:,.0f}" for one in needs],
        ),
        ("a night: vectors of a day, core hours", [f"{one.training_core_hours:,.1f}" for one in needs]),
        ("a night: decision chains, core hours", [f"{one.chain_core_hours:,.0f}" for one in needs]),
    ]
    yield f"| Payments a second | {' | '.join(f'{rate:,}' for rate in rates)} |"
    yield f"|---|{'---|' * len(rates)}"
    yield from (f"| {name} | {' | '.join(found)} |" for name, found in rows)


if __name__ == "__main__":
    print("\n".join(lines()))
