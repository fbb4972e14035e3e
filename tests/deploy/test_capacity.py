"""What docs/capacity.md says is what its costs say."""

from pathlib import Path

import pytest

from deploy.capacity import Costs, Shop, lines, need


def test_the_page_shows_the_table_as_it_is_computed(root: Path) -> None:
    assert "\n".join(lines()) in (root / "docs" / "capacity.md").read_text()


def test_a_thousand_a_second_by_hand() -> None:
    costs = Costs(decisions_per_s=500, raw_events_per_s=2_000, explain_us=2_000, entities_bytes=2**20, dedupe_bytes=100)
    shop = Shop(raw_events=3, payments_per_account_month=2_592, dedupe_hours=1, replicas=2, retention_days=1)

    one = need(1_000, costs, shop)

    assert (one.scorers, one.workers, one.explainer_cores) == (3, 2, 2.0)
    assert one.accounts_m == 1.0
    assert one.states_tib == pytest.approx(1e6 * 2**20 / 2**40)
    assert one.dedupe_gib == pytest.approx(1_000 * 3 * 3_600 * 100 / 2**30)
    assert one.broker_tib == pytest.approx(1_000 * 4_600 * 2 * 86_400 / 2**40)
