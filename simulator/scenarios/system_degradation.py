"""The online store is slow, then hangs, then is gone: every purchase still gets its decision, and in time."""

from simulator.scenarios.scenario import Outage, Scenario
from simulator.scenarios.tolerances import Tolerance

SCENARIO = Scenario(
    name="system-degradation",
    summary="The online store is slowed by 50 ms, hangs, and refuses, one after the other, with rests between.",
    outages=(
        Outage("store", "slow", start=0.15, length=0.15, delay_ms=50),
        Outage("store", "hung", start=0.42, length=0.15),
        Outage("store", "refused", start=0.7, length=0.15),
    ),
    tolerances=(
        Tolerance("errors_5xx", at_most=0),
        Tolerance("unanswered", at_most=0.01),
        Tolerance("latency_p99_ms", at_most=150),
        # A third and more of the run nothing can be read; that it says so is the point.
        Tolerance("degraded", at_least=0.2, at_most=0.7),
        Tolerance("recovery_s", at_most=2.5),
        Tolerance("honest_denied", at_most=0.05),
        Tolerance("skew_mismatches", at_most=0),
    ),
)
