"""Settings of the pricing service."""

from typing import Literal

from pydantic import Field, model_validator

from api.settings import EdgeSettings

HOUR_S = 3_600


class PricingSettings(EdgeSettings):
    """One frozen object per process, read once in `python -m api.pricing`."""

    interval_s: int = Field(HOUR_S, ge=60, le=86_400, validation_alias="FRAUD_PRICE_INTERVAL_S")
    """How long a price holds: within it everybody who asks for an event gets the same one."""

    multipliers: tuple[float, ...] = Field(
        (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5), min_length=2, max_length=32, validation_alias="FRAUD_PRICE_MULTIPLIERS"
    )  # fmt: skip
    """JSON list, rising: the prices that are tried, as multiples of an event's base price; the first and the last are floor and
    cap. Others forget what was learned of these."""

    max_change: float = Field(0.15, gt=0, le=1, validation_alias="FRAUD_PRICE_MAX_CHANGE")
    """By how much of the price now the next interval's may differ."""

    step_minor: int = Field(10, ge=1, validation_alias="FRAUD_PRICE_STEP_MINOR")
    """Prices are multiples of it."""

    explore: float = Field(0.02, ge=0, le=0.5, validation_alias="FRAUD_PRICE_EXPLORE")
    """Share of intervals that any permitted price gets alike: what is never tried can be judged by no log."""

    draws: int = Field(4, ge=1, le=64, validation_alias="FRAUD_PRICE_DRAWS")
    """Demands whose mean a price is the best of: 1 is Thompson sampling, more tries less."""

    half_life_days: float = Field(14.0, gt=0, validation_alias="FRAUD_PRICE_HALF_LIFE_DAYS")
    """After so long an event's outcome counts for half."""

    category_half_life_days: float = Field(60.0, gt=0, validation_alias="FRAUD_PRICE_CATEGORY_HALF_LIFE_DAYS")
    """The same of what it says of its category."""

    dispersion: float = Field(2.0, ge=1, validation_alias="FRAUD_PRICE_DISPERSION")
    """Variance of an interval's tickets over their mean: people come in company, so tickets say less than as many buyers."""

    seed: int = Field(0, ge=0, validation_alias="FRAUD_PRICE_SEED")
    """With the event and the interval it decides what is drawn: one for all processes."""

    learn_from: Literal["both", "posted", "stream"] = Field("both", validation_alias="FRAUD_PRICE_LEARN_FROM")
    """Where outcomes come from: `POST /price/outcome`, the event's own counters in the online store, or whichever is first."""

    posteriors_timeout_ms: float = Field(250.0, gt=0, le=5_000, validation_alias="FRAUD_PRICE_TIMEOUT_MS")
    """How long a request waits for posteriors; without them the price stays as it is."""

    @model_validator(mode="after")
    def _multipliers_rise(self) -> "PricingSettings":
        rising = all(a < b for a, b in zip(self.multipliers, self.multipliers[1:], strict=False))
        if not rising or self.multipliers[0] <= 0 or 1.0 not in self.multipliers:
            raise ValueError("FRAUD_PRICE_MULTIPLIERS: give rising numbers above 0, with 1.0 among them.")
        return self
