"""A learning loop whose weeks are half minutes: what the drift demo sets, and why.

Only what takes time, or what one busy machine cannot promise, differs from the defaults. Gates, tests of the guard and what a drift is
are those of everybody, but for the bounds in `_tolerances`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy.local.services import CATALOGUE, Service
from deploy.local.world import World

MINUTES_PER_DAY = 1_440


@dataclass(frozen=True)
class Pace:
    """week_s: within which as many labels come as in a week elsewhere. window_min: of payments that a model learns from."""

    rate_per_s: float = 20.0
    week_s: float = 30.0
    window_min: float = 6.0
    rush_min: float = 65.0
    # The first training that it asks for knows a minute and a half of the new fraud with its labels, and can show it on the next.
    retrain_wait_min: float = 2.0
    shadow_s: float = 60.0
    canary_s: float = 60.0
    canary_share: float = 0.2


# A hundred purchases a minute for three weeks, so that people, cards and devices have a past.
WORLD = World(days=16, per_day=1_500)
ACCOUNTS = 20_000
EVERYDAY_FRAUD = 0.01


def settings_of(pace: Pace, world: World) -> Mapping[str, str]:
    """Environment of every process of the demo."""
    return {name: str(value) for name, value in {**_clocks(pace, world), **_tolerances()}.items()}


def learning_settings(pace: Pace, world: World) -> Mapping[str, object]:
    """What lets a model learn from minutes, and a drift check look at one."""
    return {
        "FRAUD_HISTORY_START": world.first_day.isoformat(),
        "FRAUD_LABEL_DELAY_DAYS": pace.week_s / 60 / MINUTES_PER_DAY,
        "FRAUD_TRAINING_WINDOW_DAYS": pace.window_min / MINUTES_PER_DAY,
        "FRAUD_TRAINING_AS_OF": "log_end",
        "FRAUD_TUNING_TRIALS": 0,
        "FRAUD_DRIFT_WINDOW_MINUTES": 1,
        "FRAUD_LAKE_FLUSH_S": 1,
    }


def _clocks(pace: Pace, world: World) -> Mapping[str, object]:
    return {
        **learning_settings(pace, world),
        "FRAUD_LIVE_DRIFT_CRON": "* * * * *",
        "FRAUD_SENSOR_INTERVAL_S": 5,
        "FRAUD_RETRAIN_WAIT_MINUTES": pace.retrain_wait_min,
        # A candidate that failed its gates is tried again as soon as the drift is reported again.
        "FRAUD_RETRAIN_COOLDOWN_DAYS": 0,
        "FRAUD_ROLLOUT": "shadow",
        "FRAUD_ROLLOUT_SHADOW_HOURS": pace.shadow_s / 3600,
        "FRAUD_ROLLOUT_CANARY_HOURS": pace.canary_s / 3600,
        "FRAUD_ROLLOUT_CANARY_SHARE": pace.canary_share,
        "FRAUD_ROLLOUT_MIN_PAYMENTS": 500,
    }


def _tolerances() -> Mapping[str, object]:
    return {
        # Three payments in ten are the new fraud. Who is right about them denies that many more than the champion.
        "FRAUD_ROLLOUT_DENIAL_TOLERANCE": 0.4,
        "FRAUD_ROLLOUT_MAX_DENY_RATE": 0.5,
        "FRAUD_ROLLOUT_DRIFT_TOLERANCE": 0.9,
        # Of that much more fraud a good model misses more too; and a minute's payments measure a share less well than three days'.
        "FRAUD_ROLLOUT_MAX_MISSED_SHARE": 0.1,
        "FRAUD_ROLLOUT_MAX_FPR": 0.05,
        # Dagster's runs share the scorer's cores here.
        "FRAUD_ROLLOUT_LATENCY_BUDGET_MS": 200,
        "FRAUD_ROLLOUT_MAX_SLOW_SHARE": 0.3,
        "FRAUD_ROLLOUT_MAX_ABSENT_SHARE": 0.5,
        "FRAUD_STORE_TIMEOUT_MS": 250,
        "FRAUD_SHARED_TIMEOUT_MS": 200,
        "FRAUD_ROW_BUDGET_US": 200,
    }


def catalogue() -> Mapping[str, Service]:
    """Dagster not in the background: how soon it answers is what is measured."""
    return {name: _promptly(service) if name.startswith("dagster") else service for name, service in CATALOGUE.items()}


def _promptly(service: Service) -> Service:
    return replace(service, argv=lambda context: service.argv(context)[len(("nice", "-n", "10")) :])


def history_arguments(pace: Pace) -> list[str]:
    """A history that ends with an hour at the rate of the live traffic, which is then nothing new."""
    return [
        *("--accounts", str(ACCOUNTS), "--everyday-fraud", str(EVERYDAY_FRAUD), "--label-week", str(pace.week_s)),
        *("--rush-minutes", str(pace.rush_min), "--rush-rate", str(pace.rate_per_s)),
    ]
