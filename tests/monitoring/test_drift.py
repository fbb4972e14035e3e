"""What moved and how much of it is too much; and whether Evidently shows what we decided."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.monitoring.day import Origin, vectors_of_day
from fraud_assets.monitoring.drift import (
    DRIFTED,
    MAX_DRIFTED_SHARE,
    MIN_ROWS,
    Drift,
    OtherFeatures,
    Sample,
    drift_between,
    of_the_clock,
)
from fraud_assets.stores.history import HistoryReader
from tests.history import END_MS, Past

NAMES = tuple(f"amount_{place}" for place in range(20))


def sample(rows: int = 2_000, seed: int = 0, moved: int = 0, scores: int = 2_000, shift: float = 0.0) -> Sample:
    """Skewed amounts of which the first `moved` are 0.6 sigma larger; scores shifted by `shift`."""
    rng = np.random.default_rng(seed)
    features = rng.lognormal(8, 1, (rows, len(NAMES))).astype(np.float32)
    features[:, :moved] *= np.float32(np.exp(0.6))
    return Sample(NAMES, features, rng.beta(1, 50, scores) + shift)


def test_no_drift_is_found_where_there_is_none() -> None:
    found = drift_between(sample(), sample(seed=1))

    assert (found.drifted, found.share, found.judged, found.within_bounds) == (0, 0.0, True, True)
    assert found.score_psi is not None
    assert found.score_psi < 0.05
    assert len(found.psi) == len(NAMES)


def test_the_features_that_moved_are_named_first_with_what_a_person_can_see() -> None:
    found = drift_between(sample(), sample(seed=1, moved=2))

    assert {moved.name for moved in found.moved[:2]} == set(NAMES[:2])
    assert found.drifted == 2
    first, second = found.moved[0].median
    assert second / first == pytest.approx(np.exp(0.6), rel=0.1)
    assert found.moved[0].null_share == (0.0, 0.0)


@pytest.mark.parametrize(("moved", "within"), [(2, True), (3, False)])
def test_more_than_a_tenth_of_the_features_is_too_much(moved: int, within: bool) -> None:
    assert len(NAMES) * MAX_DRIFTED_SHARE == 2

    assert drift_between(sample(), sample(seed=1, moved=moved)).within_bounds is within


def test_a_score_that_moved_is_too_much_by_itself() -> None:
    found = drift_between(sample(), sample(seed=1, shift=0.02))

    assert found.score_psi is not None
    assert found.score_psi > DRIFTED
    assert found.drifted == 0
    assert not found.within_bounds


def test_too_few_rows_are_measured_and_not_judged() -> None:
    found = drift_between(sample(), sample(rows=MIN_ROWS - 1, seed=1, moved=20))

    assert found.share > 0.9
    assert not found.judged
    assert found.within_bounds


def test_too_few_scores_say_nothing_about_the_score() -> None:
    assert drift_between(sample(), sample(scores=MIN_ROWS - 1, shift=0.5)).score_psi is None


def test_an_empty_day_has_nothing_to_tell() -> None:
    found = drift_between(sample(), sample(rows=0, scores=0))

    assert (found.psi, found.moved, found.share, found.score_psi, found.chance) == ({}, (), 0.0, None, None)
    assert not found.judged


def test_a_column_of_nulls_has_no_median_and_is_no_error() -> None:
    day = sample(seed=1)
    day.features[:, 3] = np.nan

    found = drift_between(sample(), day)

    assert found.moved[0].name == NAMES[3]
    assert found.moved[0].null_share == (0.0, 1.0)
    assert np.isnan(found.moved[0].median[1])


def test_other_features_are_refused_by_name() -> None:
    other = Sample((*NAMES[:-1], "brand_new"), sample().features, sample().scores)

    with pytest.raises(OtherFeatures, match="brand_new"):
        drift_between(sample(), other)


def test_the_same_rows_give_the_same_report() -> None:
    assert drift_between(sample(60_000), sample(seed=1)) == drift_between(sample(60_000), sample(seed=1))


def test_the_calendar_does_not_drift(past: Past) -> None:
    clock = of_the_clock(past.service.service)

    assert {"hour_of_day", "weekday"} <= clock
    assert not any(name.startswith(("account_", "device_")) for name in clock)
    assert clock.isdisjoint(drift_between(sample(), sample(), clock).psi)
    assert NAMES[0] not in drift_between(sample(), sample(), frozenset(NAMES[:1])).psi


def test_a_day_without_decisions_is_recomputed_from_history(past: Past) -> None:
    day = vectors_of_day(HistoryReader(past.lake, past.plan), past.service, END_MS - DAY_MS, END_MS)

    rows = past.lake.scan("transactions", END_MS - DAY_MS, END_MS, columns=["transaction_id"]).num_rows
    assert day.origin is Origin.RECOMPUTED
    assert day.model_version is None
    assert len(day.sample) == rows
    assert len(day.sample.scores) == 0


Page = tuple[Drift, int, Path]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    from fraud_assets.monitoring.drift_page import write_drift_page  # takes seconds, and every worker reads this file

    reference, day = sample(), sample(seed=1, moved=2)
    day.features[:, 5] = np.nan
    day.features[:, 6] = 1.0
    reference.features[:, 6] = 1.0
    found = drift_between(reference, day)
    path = tmp_path_factory.mktemp("page") / "drift" / "2026-10-14.html"
    return found, write_drift_page(found, reference, day, path), path


def test_the_page_shows_the_score_and_every_column_that_has_values(page: Page) -> None:
    _, shown, path = page

    html = path.read_text()
    assert shown == 20  # twenty features and the score, less the one that is all null
    assert "fraud_score" in html
    assert NAMES[0] in html
    assert 1_000_000 < path.stat().st_size < 8_000_000
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_the_page_decides_by_our_index_and_not_by_evidentlys(page: Page) -> None:
    found, _, path = page

    html = path.read_text()
    for name in NAMES[:2]:
        assert f"PSI over quantiles of the reference. Drift score: {round(found.psi[name], 3)}" in html


def test_the_page_says_nothing_of_the_share_of_columns_that_were_chosen_for_having_moved(page: Page) -> None:
    html = page[2].read_text()

    assert "Dataset Drift" not in html
    assert "Share of Drifted Columns" not in html


def test_writing_a_page_loads_no_telemetry_and_importing_the_definitions_no_evidently(root: Path) -> None:
    program = (
        "import sys; import fraud_assets.definitions as d; d.defs(); assert not {'evidently'} & set(sys.modules);"
        "import fraud_assets.monitoring.drift_page;"
        "assert 'evidently' in sys.modules; assert not [m for m in sys.modules if m.startswith(('evidently.telemetry', 'iterative_telemetry'))]"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
