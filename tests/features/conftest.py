"""One right view, for tests that change or combine it."""

import pytest

from fraud_assets.features.language import FeatureView, count, mean
from fraud_assets.features.windows import hours, minutes
from tests.domains.orders import AMOUNT, view_of


@pytest.fixture
def card_orders() -> FeatureView:
    return view_of(count(windows=(minutes(5), hours(1))), mean(AMOUNT, windows=(hours(1),)))
