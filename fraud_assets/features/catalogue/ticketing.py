"""The ticketing domain: its views, its request features, its services, its registry."""

from functools import cache

from fraud_assets.features.catalogue import named, request, spending, velocity
from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry

VIEWS = (*velocity.VIEWS, *named.VIEWS, *spending.VIEWS)

FRAUD_SCORING = FeatureService(
    name="fraud_scoring",
    scored=TRANSACTIONS,
    views=VIEWS,
    request=(*request.FEATURES, *spending.FEATURES),
    # The outcome is what the decision leads to; no feature of the scored payment may read it.
    unseen=("outcome",),
    description="What the fraud model sees of a payment.",
)

EVENT_PRICING = FeatureService(
    name="event_pricing",
    scored=TRANSACTIONS,  # whose keys name an event and its promoter; pricing scores no payment
    views=(named.EVENT_REALTIME_METRICS, named.EVENT_HISTORICAL_METRICS),
    description="What the pricing service sees of an event: nothing of any person.",
)


@cache
def registry() -> Registry:
    """The built-in registry; made once a process, for digests of some fifty declarations take time."""
    return Registry(VIEWS, (FRAUD_SCORING, EVENT_PRICING))
