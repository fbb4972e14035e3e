"""What rules would have done to a file without verdicts, by hand; and the way back from a token to a line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.audit.__main__ import main
from fraud_assets.audit.model import NEVER, SEVERITY, severities
from fraud_assets.audit.rules import holds
from fraud_assets.policy.policy import DEFAULT_POLICY, Action

RULES = DEFAULT_POLICY.rules
READ = tuple(sorted({item.feature for rule in RULES for item in rule.conditions}))
PAN, OTHER_PAN = "4111111111111111", "5555555555554444"
HEADER = "order,when,amount,customer,pan,status"
# A card is declined six times in five minutes, each time of another customer, and then goes through.
BURST = (
    f"t7,2026-03-02 10:30:00,99.00,g,{PAN},approved",
    f"t0,2026-03-02 10:31:00,5.00,bob,{OTHER_PAN},approved",
    *(f"t{n},2026-03-02 10:0{n - 1}:00,{n}.00,c{n},{PAN},declined_by_issuer" for n in range(1, 7)),
)
MAPPING = """
[transactions]
table = "transactions"
[transactions.columns]
transaction_id = "order"
event_time_ms = { from = "when", as = "time" }
amount_minor = { from = "amount", as = "money" }
currency = { value = "EUR" }
account_id = "customer"
card_token = "pan"
outcome = "status"
"""

pytestmark = pytest.mark.usefixtures("var_dir")


def _audited(folder: Path, mapping: str = MAPPING, rows: tuple[str, ...] = BURST) -> dict[str, Any]:
    (folder / "mine.toml").write_text(mapping)
    (folder / "payments.csv").write_text("\n".join((HEADER, *rows)) + "\n")
    command = ["--mapping", str(folder / "mine.toml"), str(folder / "payments.csv"), "--out", str(folder / "out")]
    assert main(command) == 0
    found: dict[str, Any] = json.loads((folder / "out" / "summary.json").read_text())
    return found


def _rule(summary: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in summary["rules"]["rules"] if one["name"] == name)


def test_a_file_without_verdicts_says_what_rules_would_have_done(tmp_path: Path) -> None:
    """Five declines within the hour stand before the sixth and before the one that goes through: 6.00 and 99.00 are denied."""
    summary = _audited(tmp_path)

    burst, actions = _rule(summary, "card_decline_burst"), summary["rules"]["actions"]
    assert (burst["action"], burst["payments"], burst["money_minor"], burst["silent"]) == ("deny", 2, 10_500, None)
    assert [one["money_minor"] for one in burst["examples"]] == [9_900, 600]
    assert (actions["deny"]["payments"], actions["deny"]["money_minor"]) == (2, 10_500)
    assert (actions["review"]["payments"], actions["review"]["money_minor"]) == (0, 0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "together deny 2 payments" in page and burst["examples"][0]["transaction_id"] in page


def test_what_a_rule_cannot_say_is_said_with_the_fields_that_it_lacks(tmp_path: Path) -> None:
    mapping = MAPPING.replace('outcome = "status"', 'tier = { value = "vip" }')

    summary = _audited(tmp_path, mapping)

    silent = {one["name"]: one["silent"] for one in summary["rules"]["rules"]}
    assert silent == {
        "card_decline_burst": "outcome is not mapped",
        "device_card_testing": "device_id, outcome are not mapped",
        "ip_card_testing": "ip_token, outcome are not mapped",
        "account_card_testing": "outcome is not mapped",
        "card_velocity": None,
        "impossible_travel": "lat_e6, lon_e6 are not mapped",
    }
    page = (tmp_path / "out" / "report.html").read_text()
    assert "card_decline_burst says nothing: outcome is not mapped." in page


def test_a_column_that_is_blank_in_every_row_is_as_good_as_none(tmp_path: Path) -> None:
    rows = tuple(row.rpartition(",")[0] + "," for row in BURST)

    assert _rule(_audited(tmp_path, rows=rows), "card_decline_burst")["silent"] == "outcome is blank in every row"


def test_a_token_leads_back_to_the_lines_of_the_file(tmp_path: Path) -> None:
    """Lines as an editor counts them, whatever the order of events; and no value of the file."""
    summary = _audited(tmp_path)

    written = (tmp_path / "out" / "rows.csv").read_text()
    rows = pl.read_csv(tmp_path / "out" / "rows.csv")
    line_of = dict(rows.filter(field="transaction_id").select("token", "line").iter_rows())
    through, sixth = (one["transaction_id"] for one in _rule(summary, "card_decline_burst")["examples"])
    assert line_of == {through: 2, sixth: 9}
    assert not [value for value in ("t7", "bob", PAN) if value in written]


def test_who_had_more_than_one_fraud_is_found_by_all_his_lines(tmp_path: Path) -> None:
    """Of a customer both frauds and the good payment; and the card by the same lines."""
    labels = (
        '[labels]\ntable = "label_facts"\nis_fraud = "status"\ndelay_days = 1\nfraud = ["CB"]\nlegitimate = ["ok"]\n'
    )
    mapping = MAPPING.replace('outcome = "status"', "") + labels
    (tmp_path / "mine.toml").write_text(mapping)
    rows = (f"{n},2026-03-0{n} 10:00:00,9.00,{who},{PAN},{what}" for n, who, what in (
        (4, "ann", "CB"), (1, "ann", "ok"), (2, "bob", "ok"), (3, "ann", "CB"),
    ))  # fmt: skip
    (tmp_path / "payments.csv").write_text("\n".join((HEADER, *rows)) + "\n")

    command = ["--mapping", str(tmp_path / "mine.toml"), str(tmp_path / "payments.csv"), "--out", str(tmp_path)]
    assert main([*command, "--no-model"]) == 0

    offenders = json.loads((tmp_path / "summary.json").read_text())["pattern"]["repeat_offenders"]
    found = pl.read_csv(tmp_path / "rows.csv").rows()
    (ann,), (card,) = offenders["account_id"], offenders["card_token"]
    assert [row for row in found if row[1] == "account_id"] == [(ann["entity"], "account_id", at) for at in (2, 3, 5)]
    assert [row for row in found if row[1] == "card_token"] == [
        (card["entity"], "card_token", at) for at in (2, 3, 4, 5)
    ]


def test_rules_one_by_one_do_together_what_the_decider_does() -> None:
    """On vectors about every bound, nulls among them: the strictest action that any rule asks for."""
    rng = np.random.default_rng(3)
    bounds = {item.feature: item.value for rule in RULES for item in rule.conditions}
    features = np.array([bounds[name] for name in READ]) * rng.choice(
        [0.5, 1, 2, np.nan], (500, len(READ)), p=[0.2, 0.4, 0.3, 0.1]
    )
    vectors = features.astype(np.float32)

    fired = {
        action: np.logical_or.reduce([holds(rule, READ, vectors) for rule in RULES if rule.action is action])
        for action in (Action.DENY, Action.REVIEW)
    }
    by_action = fired | {Action.REVIEW: fired[Action.REVIEW] & ~fired[Action.DENY]}

    severity = severities(READ, vectors, np.zeros(500), NEVER)
    for action in (Action.DENY, Action.REVIEW):
        assert 0 < by_action[action].sum() < 500
        assert (by_action[action] == (severity == SEVERITY[action])).all()
