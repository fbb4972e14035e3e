"""The report shows a run's figures, opens offline, and trusts no text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from simulator.charts import Band, Series, stacked_bars
from simulator.metrics import metrics_of, percent, percentiles
from simulator.report import Skew, render, write_report
from simulator.results import AttackBand, Move, OutageBand, PurchaseResult, RunResult, read_jsonl, write_jsonl
from simulator.scenarios.tolerances import Tolerance


def purchase(i: int, decision: str, kind: str | None = None, **more: object) -> PurchaseResult:
    usual = PurchaseResult(
        transaction_id=f"txn_{i}", account_id=f"acct_{i}", event_time_ms=1_000 * i, offset_s=float(i),
        amount_minor=12_345, currency="EUR", amount_usd=123.45, is_fraud=kind is not None, campaign=kind, kind=kind,
        attacks=kind in ("card_testing", "cash_out"),
        persona="casual", decision=decision, outcome="approved", score=0.9 if decision == "deny" else 0.1,
        latency_ms=float(i + 1), lag_ms=0.1, reason_codes=["CARD_VELOCITY"] if decision != "approve" else [],
    )  # fmt: skip
    return msgspec.structs.replace(usual, **more)


def run(purchases: list[PurchaseResult]) -> RunResult:
    return RunResult(
        scenario="card-testing", summary="Stolen cards.", seed=7, rate_per_s=1.0, duration_s=10.0, elapsed_s=10.0,
        started_ms=1_795_000_000_000, targets=["api", "kafka"],
        bands=[AttackBand(name="card_testing_0000", kind="card_testing", start_s=3, end_s=7)],
        purchases=purchases, published={"transactions.v1": len(purchases)}, delivery_failures=0, in_flight_peak=2,
    )  # fmt: skip


MIXED = [
    purchase(0, "approve"),
    purchase(1, "deny"),
    purchase(2, "approve"),
    purchase(3, "deny", "card_testing"),
    purchase(4, "review", "cash_out"),
    purchase(5, "approve", "card_testing"),
    purchase(6, "approve"),
    purchase(7, "approve", "account_takeover"),
    purchase(8, "none", score=None, latency_ms=None, error="timeout"),
]


def test_recall_and_precision_are_those_counted_by_hand() -> None:
    """Three of the attack, two flagged; one honest purchase flagged; the takeover belongs to neither."""
    metrics = metrics_of(run(MIXED))

    assert (metrics.attack.recall, metrics.attack.precision) == (0.6667, 0.6667)
    assert metrics.everyday_fraud.recall == 0.0
    assert metrics.attack.first_caught_after_s == 0.0
    assert metrics.honest_flagged == 0.25
    assert metrics.errors == {"timeout": 1}
    assert metrics.decisions == 8
    assert metrics.held_rate is False


def test_a_kind_that_the_scenario_attacks_with_is_judged_by_its_own_campaigns() -> None:
    """An everyday card test before it, that nobody caught, is neither a miss of the attack nor its beginning."""
    everyday = purchase(0, "approve", "card_testing", attacks=False)
    found = metrics_of(run([everyday, *MIXED[3:]])).by_kind

    assert (found["card_testing"].purchases, found["card_testing"].first_caught_after_s) == (2, 0.0)
    assert found["account_takeover"].purchases == 1


def test_shares_of_nothing_are_null() -> None:
    metrics = metrics_of(run([]))

    assert metrics.attack.recall is None
    assert metrics.attack.precision is None
    assert metrics.latency_ms == percentiles([])


@pytest.mark.parametrize(
    ("share", "decimals", "printed"),
    [
        (346 / 347, 0, "99.7%"),
        (0.995, 0, "99.5%"),
        (0.99999, 0, "99.999%"),
        (0.004, 0, "0.4%"),
        (0.0004, 1, "0.04%"),
        (0.67, 0, "67%"),
        (1.0, 0, "100%"),
        (0.0, 1, "0.0%"),
        (None, 0, "–"),
    ],
)
def test_a_share_is_printed_as_all_or_nothing_only_if_it_is(share: float | None, decimals: int, printed: str) -> None:
    assert percent(share, decimals) == printed


def test_one_of_very_many_is_neither_none_nor_all() -> None:
    """Neither as a figure, which is rounded before it is printed, nor on the page."""
    honest = [purchase(i, "approve") for i in range(30_000)]
    attack = [purchase(i, "deny", "card_testing") for i in range(346)]
    rows = [*honest, purchase(0, "review"), *attack, purchase(0, "approve", "card_testing")]

    metrics, text = metrics_of(run(rows)), render(run(rows))

    assert metrics.honest_flagged == pytest.approx(1 / 30_001, rel=0.2)
    assert "99.7% of the attack was stopped" in text and "at the price of 0.003% of the honest buyers" in text
    assert "<b>99.7%</b>" in text


class Outside(HTMLParser):
    """Collects whatever a browser would fetch or execute."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "iframe", "img", "object"}:
            self.found.append(tag)
        self.found += [f"{name}={value}" for name, value in attrs if name in {"src", "href", "onload", "onclick"}]


def test_the_page_fetches_and_executes_nothing() -> None:
    page = Outside()
    text = render(run(MIXED), Skew(checked=120, mismatches=0, stale_reads=0, pending=0))

    page.feed(text)

    assert page.found == []
    assert "url(" not in text and "@import" not in text


def test_the_page_shows_tolerances_outages_and_what_an_adversary_learnt() -> None:
    result = msgspec.structs.replace(
        run(MIXED),
        outages=[OutageBand(dependency="store", fault="hung", start_s=1.0, end_s=2.0)],
        moves=[Move(at_s=4.2, camouflage=0.35, why="4 of its last 6 purchases were denied")],
        tolerances=[Tolerance("recall", at_least=0.9), Tolerance("skew_mismatches", at_most=0)],
    )

    text = render(result)

    assert re.search(r"recall</code>.*>at least 0.9</td>.*0.6667.*>broken<", text)
    assert re.search(r"skew_mismatches</code>.*>at most 0</td>.*–.*>unmeasured<", text)
    assert 'class="band outage"' in text and "store hung" in text
    assert "4 of its last 6 purchases were denied" in text
    assert "<b>$123</b><span>$370 of fraud was let pass" in text


def test_the_page_shows_figures_skew_band_reasons_and_examples() -> None:
    skew = Skew(checked=1_234, mismatches=0, stale_reads=5, pending=6)

    text = render(run(MIXED), skew, notes=["Model fraud@champion, version 3."])

    assert "67% of the attack" in text
    assert "mismatches of 1,234 checked · 5 stale reads · 6 pending" in text
    assert 'class="band attack"' in text
    assert "CARD_VELOCITY" in text
    assert "Model fraud@champion, version 3." in text
    for title in ("Caught", "Missed", "False alarms"):
        assert f"<h3>{title}</h3>" in text


def test_what_got_no_answer_or_a_degraded_one_is_shown_with_its_reasons() -> None:
    degraded = purchase(1, "review", degraded_reasons=["online_store_timeout"])
    shed = purchase(2, "not_sent", score=None, latency_ms=None)
    rows = [purchase(0, "approve"), degraded, shed, MIXED[8]]

    metrics = metrics_of(run(rows))
    text = render(run(rows))

    assert metrics.unanswered == {"not_sent": 1, "timeout": 1}
    assert metrics.decisions + sum(metrics.unanswered.values()) == metrics.purchases
    assert "of 4 purchases (1× not_sent, 1× timeout)" in text
    assert (metrics.degraded, metrics.degraded_reasons) == (1, {"online_store_timeout": 1})
    assert "of 2 decisions (1× online_store_timeout)" in text


def test_text_from_outside_is_escaped() -> None:
    """Reason codes come from the API; a page must not run them."""
    hostile = purchase(1, "deny", reason_codes=["<script>alert(1)</script>"])

    text = render(run([hostile]), notes=["<b>bold</b>"])

    assert "<script>" not in text
    assert "<b>bold</b>" not in text


@pytest.mark.parametrize("rows", [[], MIXED[:1], [MIXED[8]]])
def test_runs_with_little_in_them_are_rendered_too(rows: list[PurchaseResult]) -> None:
    text = render(run(rows))

    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_results_survive_their_file(tmp_path: Path) -> None:
    write_jsonl(run(MIXED), tmp_path / "deep" / "results.jsonl")

    assert read_jsonl(tmp_path / "deep" / "results.jsonl") == MIXED
    assert (
        msgspec.json.decode((tmp_path / "deep" / "results.jsonl").read_bytes().splitlines()[3])["kind"]
        == "card_testing"
    )


def test_the_report_is_one_file(tmp_path: Path) -> None:
    page = write_report(run(MIXED), tmp_path / "report" / "run.html")

    assert [file.name for file in page.parent.iterdir()] == ["run.html"]


def test_the_page_says_first_whether_the_run_passed_and_by_what_not() -> None:
    kept, broken = Tolerance("unanswered", at_most=0.2), Tolerance("recall", at_least=0.9)
    unmeasured = Tolerance("drift_found", at_most=0)

    def top(*tolerances: Tolerance) -> str:
        return render(msgspec.structs.replace(run(MIXED), tolerances=list(tolerances))).partition('class="tiles"')[0]

    assert "2 of 3 tolerances kept, broken: recall" in top(kept, broken, kept)
    assert "not passed" in top(kept, broken)
    assert "1 of 2 tolerances kept, 1 not measured" in top(kept, unmeasured) and "not passed" not in top(
        kept, unmeasured
    )
    assert "tolerances" not in top()


def test_a_run_without_an_attack_says_what_broke_and_shows_no_figure_of_an_attack() -> None:
    outage = OutageBand(dependency="broker", fault="hung", start_s=1.0, end_s=2.0)
    calm = msgspec.structs.replace(run([purchase(0, "approve"), purchase(1, "deny")]), outages=[outage])
    html = render(calm)

    assert "While the broker broke down: 2 of 2 purchases decided, 50.0% of the honest buyers" in html
    assert "Recall on the attack" not in html and "Honest buyers stopped" in html


def test_labels_of_bands_share_a_row_unless_they_would_touch() -> None:
    def rows(*starts: float) -> list[str]:
        bands = [Band(start, start + 1, "store hung") for start in starts]
        drawn = stacked_bars([Series("x", "c", [1.0] * 100)], 1.0, "/s", bands)
        return re.findall(r'class="bandlabel attack" x="[^"]*" y="(\d+)"', drawn)

    assert len(set(rows(0, 30, 60))) == 1
    assert len(set(rows(0, 2, 60))) == 2
