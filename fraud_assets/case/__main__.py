"""`python -m fraud_assets.case TRANSACTION`: why this payment was decided as it was, for the person who is asked."""

import argparse
import sys
from datetime import UTC, datetime

from rich.bar import Bar
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from fraud_assets.case.find import Case, Earlier, Moved, NoCase, as_json, find_case
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.policy.reasons import TEXTS, ReasonCode
from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.stores.lake import Lake

SHOWN = 10


def main(arguments: list[str] | None = None) -> int:
    """0 with the case; 2, and one line that says why, without."""
    parser = argparse.ArgumentParser(prog="python -m fraud_assets.case", description=__doc__)
    parser.add_argument("transaction", help="its id, as the shop gave it")
    parser.add_argument("--account", help="whose it is, where two accounts have a payment of that id")
    parser.add_argument("--days", type=int, default=30, help="how far back its history goes (30)")
    parser.add_argument("--json", action="store_true", help="everything, for a tool")
    chosen = parser.parse_args(arguments)
    try:
        lake = Lake(read_settings(Settings).lake_uri)
        case = find_case(lake, registry(), chosen.transaction, chosen.account, chosen.days)
    except (BadSettings, NoCase) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if chosen.json:
        sys.stdout.write(f"{as_json(case).decode()}\n")
    else:
        Console().print(shown(case))
    return 0


def shown(case: Case) -> Group:
    """What a person reads: the decision, its reasons, what moved the score, what came before, what is known since."""
    return Group(_decision(case), _moved(case.moved), _earlier(case), _since(case))


def _decision(case: Case) -> Panel:
    decision, asked = case.decision, case.asked
    bought = escape(
        f"{asked.get('ticket_count')} × {asked.get('tier')} ({asked.get('category')}) by {asked.get('payment_method')}"
    )
    lines = [
        f"[bold]{decision.action}[/bold]  score {decision.fraud_score:.3f} of {decision.model_version}, in {decision.latency_ms:.1f} ms",
        f"{_money(asked)} for {bought}, at {_at(decision.event_time_ms)}, account {escape(decision.account_id)}",
    ]
    if decision.ruled:
        lines.append(f"rules alone ask for: {decision.ruled}")
    lines += [f"{code:<22}{_text(code)}" for code in decision.reason_codes]
    if decision.degraded_reasons:
        lines.append(f"decided without its history: {', '.join(decision.degraded_reasons)}")
    if case.decided > 1:
        lines.append(f"the newest of {case.decided} decisions of this payment")
    return Panel("\n".join(lines), title=escape(decision.transaction_id), title_align="left")


def _moved(moved: tuple[Moved, ...]) -> Table | str:
    if not moved:
        return "What moved the score is not there yet: the explainer comes a second or two after the decision, its row with the sink."
    table = Table(title="what moved the score, in log odds (exact)", title_justify="left")
    for name in ("feature", "value", "by", ""):
        table.add_column(name, justify="right" if name in ("value", "by") else "left")
    largest = abs(moved[0].by)
    for one in moved[:SHOWN]:
        value = "unknown" if one.value is None else f"{one.value:,.6g}"
        bar = Bar(largest, 0, abs(one.by), width=16, color="red" if one.by > 0 else "green")
        table.add_row(one.feature, value, f"{one.by:+.2f}", bar)
    return table


def _earlier(case: Case) -> Table | str:
    if not case.earlier:
        return "Nothing before it shares its account, card, device or network."
    title = f"what came before: {len(case.earlier)} payments that share something with it"
    table = Table(title=title, title_justify="left")
    for name in ("when", "shares", "account", "amount", "outcome", "verdict"):
        table.add_column(name)
    for one in case.earlier[:SHOWN]:
        payment = one.payment
        table.add_row(
            _at(payment.event_time_ms),
            ", ".join(one.shares),
            escape(payment.account_id),
            f"{payment.amount_minor / 100:,.2f} {payment.currency}",
            str(payment.outcome.value),
            _verdict(one),
        )
    return table


def _since(case: Case) -> str:
    said = [
        f"{_at(label.event_time_ms)}  {label.source.value}: {'fraud' if label.is_fraud else 'legitimate'}"
        for label in case.labels
    ]
    if said:
        return "\n".join(["said of it since:", *said])
    return "Nobody has said yet what it was. Say it: POST /labels (docs/scorer.md#labels)."


def _text(code: str) -> str:
    """Codes are kept for ever; one of a later version than this is shown alone."""
    return TEXTS[ReasonCode(code)] if code in {*ReasonCode} else ""


def _verdict(one: Earlier) -> str:
    if one.is_fraud is None:
        return "open"
    return "[red]fraud[/red]" if one.is_fraud else "legitimate"


def _money(asked: dict[str, object]) -> str:
    minor = asked.get("amount_minor")
    return escape(f"{minor / 100:,.2f} {asked.get('currency')}") if isinstance(minor, int) else "an unknown amount"


def _at(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
