"""What of a challenger is watched, and how much of it is tolerated. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.rollout.evidence import MeanTest
from fraud_assets.rollout.windows import Span
from fraud_assets.settings import Settings

# Where validation scores are compared: the middle, the top tenth, and the tail that thresholds lie in.
LEVELS = (0.5, 0.9, 0.99)
# Fewer reference scores than this beyond a level, and its share is known too badly to be held against anybody.
MIN_BEYOND = 100
QUESTIONS = 9  # eight plain ones, and drift: each has its part of alpha
# Of what comes in bursts. As many payments as a burst has; and longer than a stall of the machine, for at a thousand payments a
# second that is more than a burst.
BURST = Span(payments=50, ms=2_000)
# A scorer that restarts, or loads the challenger, is without it for seconds, a fleet that restarts one by one for minutes.
ABSENCE = Span(payments=50, ms=60_000)


class Basis(StrEnum):
    """What an observation rests on."""

    PAIRED = "both models on the same payment"
    PROXY = "payments, until labels mature"
    LABELS = "matured labels"
    SERVING = "what the scorer did"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """As the settings of the same names say."""

    alpha: float = 0.01
    min_payments: int = 1_000
    denial_tolerance: float = 0.01
    max_fpr: float = 0.02
    max_deny_rate: float = 0.05
    max_missed_share: float = 0.02
    value_cap_minor: int = 50_000
    drift_tolerance: float = 0.5
    latency_budget_ms: float = 10.0
    max_slow_share: float = 0.05
    max_error_share: float = 0.01
    max_absent_share: float = 0.25

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(**{name: getattr(settings, f"rollout_{name}") for name in cls.__struct_fields__})


class Level(msgspec.Struct, frozen=True):
    """share: of the reference's scores that are above `score`. name: `q90` for the ninth tenth's end."""

    name: str
    score: float
    share: float


def levels_of(validation_scores: npt.ArrayLike, levels: Sequence[float] = LEVELS) -> tuple[Level, ...]:
    """Where and how often the challenger's scores should exceed: from scores of days that it had not learnt from.

    Levels are left out that too few scores lie beyond (`MIN_BEYOND`), and those that ties make one.
    """
    scores = np.asarray(validation_scores, np.float64)
    found: dict[float, Level] = {}
    for level in levels if len(scores) else ():
        at = float(np.quantile(scores, level))
        above = int((scores > at).sum())
        if min(above, len(scores) - above) >= MIN_BEYOND:
            found[at] = Level(f"q{100 * level:g}", at, above / len(scores))
    return tuple(found.values())


@dataclass(frozen=True)
class Watch:
    """A test, and the words for it. span: of the windows whose shares are its observations; None where each payment is one."""

    test: MeanTest
    basis: Basis
    what: str  # completes "the challenger …"
    span: Span | None = None


def plain_watches(limits: Limits) -> list[Watch]:
    """All but drift."""
    alpha = limits.alpha / QUESTIONS

    def watch(name: str, basis: Basis, at_most: float, what: str, low: float = 0.0, span: Span | None = None) -> Watch:
        return Watch(MeanTest(name, low, 1.0, at_most, alpha), basis, what, span)

    tolerance = limits.denial_tolerance
    return [
        watch("excess_denials", Basis.PAIRED, tolerance, "denies {} more of all payments than the champion", low=-1.0),
        watch("fewer_denials", Basis.PAIRED, tolerance, "denies {} fewer of all payments than the champion", low=-1.0),
        watch("false_positive_rate", Basis.LABELS, limits.max_fpr, "denies {} of legitimate payments"),
        watch("deny_rate", Basis.PROXY, limits.max_deny_rate, "denies {} of all payments"),
        watch("missed_value_share", Basis.LABELS, limits.max_missed_share, "lets through money of which {} is fraud"),
        watch("latency", Basis.SERVING, limits.max_slow_share,
              f"takes more than {limits.latency_budget_ms:g} ms for {{}} of payments", span=BURST),
        watch("errors", Basis.SERVING, limits.max_error_share, "is asked and gives {} of payments no score", span=BURST),
        watch("absences", Basis.SERVING, limits.max_absent_share, "is not asked about {} of payments", span=ABSENCE),
    ]  # fmt: skip


def drift_watches(limits: Limits, levels: Sequence[Level]) -> list[Watch]:
    """Two tests a level: more above it than expected, and fewer."""
    watches = []
    for level in levels:
        alpha = limits.alpha / QUESTIONS / (2 * len(levels))
        by = limits.drift_tolerance * min(level.share, 1 - level.share)
        here = f"of its validation scores it was {level.share:.2%}"
        over = f"scores {{}} of payments above {level.score:.4g}; {here}"
        under = f"scores {{}} of payments at or below {level.score:.4g}; of its validation scores it was {1 - level.share:.2%}"
        watches += [
            Watch(MeanTest(above_name(level), 0.0, 1.0, level.share + by, alpha), Basis.PROXY, over),
            Watch(MeanTest(below_name(level), 0.0, 1.0, 1 - level.share + by, alpha), Basis.PROXY, under),
        ]
    return watches


def above_name(level: Level) -> str:
    return f"scores_above_{level.name}"


def below_name(level: Level) -> str:
    return f"scores_below_{level.name}"
