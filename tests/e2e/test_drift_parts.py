"""The drift demo's parts that need no servers: what its logs add up to, and when that is no success."""

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from rich.console import Console

from deploy.local.drift_log import Check, Served, Training, served_by
from deploy.local.drift_print import print_summary
from deploy.local.drift_settings import WORLD, Pace, catalogue, settings_of
from deploy.local.drift_summary import DriftSummary, Seen, bad_of, figures_of, summary_of
from deploy.local.services import CATALOGUE, Context
from deploy.local.written import write_json
from fraud_assets.models.artifact import Champion
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import Appoint, BeginShadow, Halt, Rollout, Step, ToCanary, ToFull, apply
from fraud_assets.settings import Settings
from simulator.results import PurchaseResult
from streaming.settings import WorkerSettings

SHIFT_MS = 1_000_000
OLD, NEW, BAD = (Champion(f"fraud-00000000000{n}", str(n) * 64) for n in (1, 2, 3))


def entries(*steps: Step) -> list[Entry]:
    """As the promotion log has them, but for the chain."""
    rollout, found = Rollout(), []
    for step in steps:
        rollout = apply(rollout, step)
        found.append(Entry(previous_sha256=None, step=step, rollout=rollout))
    return found


def said(at_s: float, who: str = "rollout_guard") -> dict[str, Any]:
    return {"at_ms": SHIFT_MS + round(at_s * 1000), "who": who, "why": "it is time", "evidence": {"seen": 1}}


def closed(who: str = "rollout_guard") -> list[Step]:
    return [
        Appoint(**said(-200, "champion_model"), champion=OLD),
        BeginShadow(**said(230, "champion_model"), challenger=NEW),
        ToCanary(**said(310)),
        ToFull(**said(400, who)),
        BeginShadow(**said(480, "anna"), challenger=BAD),
        ToCanary(**said(481, "anna")),
        Halt(**said(520)),
    ]


def purchase(at_s: float, **changed: object) -> PurchaseResult:
    usual = PurchaseResult(
        transaction_id=f"t{at_s}", account_id="a", event_time_ms=SHIFT_MS + round(at_s * 1000), offset_s=0.0, amount_minor=10_000,
        currency="EUR", is_fraud=False, campaign=None, kind=None, persona="regular", decision="approve", outcome="approved",
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changed)


def ghost(at_s: float, decision: str) -> PurchaseResult:
    return purchase(at_s, is_fraud=True, kind="ghost_events", attacks=True, decision=decision)


def seen(**changed: object) -> Seen:
    """A loop that closed: found after 60 s, a second training, full after 400 s, the last old decision a second later."""
    usual = Seen(
        shifted_ms=SHIFT_MS,
        ended_ms=SHIFT_MS + 600_000,
        checks=[
            Check(SHIFT_MS - 30_000, passed=True, is_error=False, share_drifted=0.07, score_psi=0.1),
            Check(SHIFT_MS + 60_000, passed=False, is_error=True, share_drifted=0.31, score_psi=0.1),
            Check(SHIFT_MS + 120_000, passed=False, is_error=True, share_drifted=0.4, score_psi=0.1),
        ],
        trainings=[
            Training(SHIFT_MS - 250_000, SHIFT_MS - 230_000, succeeded=True, sensor=""),
            Training(SHIFT_MS + 100_000, SHIFT_MS + 130_000, succeeded=False, sensor="retrain_on_drift"),
            Training(SHIFT_MS + 190_000, SHIFT_MS + 231_000, succeeded=True, sensor="retrain_on_drift"),
        ],
        steps=entries(*closed()),
        served=[
            Served(OLD.version, 9_000, SHIFT_MS - 100_000, SHIFT_MS + 401_000),
            Served(NEW.version, 4_000, SHIFT_MS + 312_000, SHIFT_MS + 600_000),
            Served(BAD.version, 150, SHIFT_MS + 482_000, SHIFT_MS + 521_000),
        ],
        purchases=[
            purchase(-10),
            ghost(100, "approve"),
            ghost(200, "approve"),
            ghost(300, "deny"),
            ghost(450, "deny"),
            purchase(460, decision="deny"),
            ghost(500, "approve"),
        ],
        bad=BAD.version,
    )
    return msgspec.structs.replace(usual, **changed)


def test_the_time_line_is_that_of_the_logs() -> None:
    found = summary_of(seen(), 900.0)

    assert msgspec.structs.asdict(found.seconds_from_shift) == {
        "detected": 60.0, "asked": 190.0, "trained": 231.0, "shadow": 230.0, "canary": 310.0, "full": 400.0, "recovered": 401.0,
    }  # fmt: skip
    assert (found.trainings, found.trainings_failed) == (2, 1)
    assert (found.drift_before, found.drift_at_detection) == (0.07, 0.31)
    assert found.hands == []
    assert found.problems() == []


def test_the_figures_are_of_the_time_before_of_the_old_and_of_the_new_champion() -> None:
    """The purchases under the bad candidate are in none of them."""
    found = summary_of(seen(), 900.0)

    assert (found.before.decided, found.before.recall) == (1, None)
    assert (found.during.decided, found.during.new_fraud_recall) == (3, 0.3333)
    assert (found.after.decided, found.after.new_fraud_recall, found.after.honest_denied) == (2, 1.0, 1.0)


def test_what_is_missed_and_who_is_refused_costs_what_the_table_says() -> None:
    """Two missed of 100 € and a fee of 15 €, one refused for 25 €, one look for 3 €; of five payments."""
    found = figures_of(
        [
            ghost(1, "approve"),
            ghost(2, "approve"),
            ghost(3, "review"),
            purchase(4, decision="deny"),
            purchase(5),
            ghost(6, "none"),
        ]
    )

    assert found.decided == 5
    assert found.recall == 0.3333
    assert found.euros_per_1000 == pytest.approx((2 * 115 + 25 + 3) / 5 * 1_000)


def test_a_bad_candidate_is_judged_by_what_it_decided() -> None:
    found = bad_of(seen())

    assert found is not None
    assert (found.decisions, found.after_s, found.is_reverted) == (150, 39.0, True)
    assert found.payments_in_canary == 1


Change = Callable[[Seen], Mapping[str, object]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: {"checks": s.checks[:1]}, "not detected"),
        (lambda s: {"steps": s.steps[:1], "bad": None}, "not shadow"),
        (lambda s: {"steps": s.steps[:3], "bad": None}, "not full"),
        (lambda s: {"served": s.served[1:]}, "not recovered"),
        (lambda s: {"steps": entries(*closed("anna"))}, "a person took part: full by anna"),
        (
            lambda s: {"trainings": [*s.trainings, Training(SHIFT_MS + 9, None, succeeded=False, sensor="")]},
            "a person took part: a training",
        ),
        (
            lambda s: {"checks": [msgspec.structs.replace(s, shifted_ms=0) and Check(1, False, True, 0.3, None)]},
            "before anything had shifted",
        ),
        (lambda s: {"checks": s.checks[1:]}, "no drift check came before the shift"),
        (lambda s: {"purchases": s.purchases[:4]}, "recall did not rise"),
        (lambda s: {"bad": None, "steps": s.steps[:4]}, "never tried"),
        (lambda s: {"steps": s.steps[:-1]}, "was not halted"),
        (lambda s: {"served": [*s.served[:2], Served(BAD.version, 1_001, 1, 2)]}, "decided 1001 payments"),
        (lambda s: {"served": s.served[:2]}, "decided nothing"),
    ],
)
def test_a_loop_that_did_not_close_is_no_success(change: Change, problem: str) -> None:
    usual = seen()

    problems = summary_of(msgspec.structs.replace(usual, **change(usual)), 1.0).problems()

    assert any(problem in one for one in problems), problems


def test_a_version_that_was_halted_before_the_one_that_became_champion_is_not_the_answer() -> None:
    """A first rollout ends badly, the second one closes the loop: its times count."""
    first: list[Step] = [BeginShadow(**said(90, "champion_model"), challenger=BAD), Halt(**said(120))]
    appointed, *rest = closed()[:4]

    found = summary_of(seen(steps=entries(appointed, *first, *rest), bad=None), 1.0)

    assert found.seconds_from_shift.shadow == 230.0


def test_decisions_are_counted_by_the_version_that_made_them() -> None:
    rows = pa.table({"decided_at_ms": [5, 3, 9], "model_version": ["b", "a", "b"]})

    assert sorted(served_by(rows), key=lambda one: one.version) == [Served("a", 1, 3, 3), Served("b", 2, 5, 9)]


def test_the_summary_is_printed_whole_and_written_as_it_is(tmp_path: Path) -> None:
    console = Console(width=150, record=True, file=StringIO())
    found = summary_of(seen(), 900.0)

    print_summary(console, found, seen().steps, {})
    write_json(found, tmp_path / "summary.json")

    text = console.export_text()
    for words in (
        "a drift check failed",
        "60 s",
        "33%",
        "150",
        "full     by rollout_guard",
        "halt     by rollout_guard",
    ):
        assert words in text
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=DriftSummary) == found


def test_what_never_happened_is_printed_as_never() -> None:
    console = Console(width=150, record=True, file=StringIO())
    usual = seen()

    print_summary(console, summary_of(seen(steps=usual.steps[:1], bad=None), 1.0), usual.steps[:1], {})

    assert console.export_text().count("never") == 6


def test_the_settings_of_the_demo_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read by a process of the platform, and its label delay is half a minute."""
    given = settings_of(Pace(), WORLD)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    known = {str(field.validation_alias) for kind in (Settings, WorkerSettings) for field in kind.model_fields.values()}

    assert set(given) - known == {"FRAUD_STORE_TIMEOUT_MS", "FRAUD_SHARED_TIMEOUT_MS"}  # the scorer's
    assert Settings().label_delay_ms == WorkerSettings().label_delay_ms == 30_000


def test_dagster_is_not_in_the_background_where_its_speed_is_measured(tmp_path: Path) -> None:
    context = Context(tmp_path, dict.fromkeys(CATALOGUE, 1), {})

    for name, service in catalogue().items():
        assert "nice" not in service.argv(context), name
