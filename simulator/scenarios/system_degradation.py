"""The online store is slow, then hangs, then is gone, and after it the broker: every purchase still gets its decision, in time and for good."""

from simulator.scenarios.scenario import Outage, Scenario
from simulator.scenarios.tolerances import KEPT, Tolerance

SCENARIO = Scenario(
    name="system-degradation",
    summary="The online store, then the broker: each slowed, hung and refused, one after the other, with rests between.",
    outages=(
        Outage("store", "slow", start=0.05, length=0.07, delay_ms=50),
        Outage("store", "hung", start=0.19, length=0.07),
        Outage("store", "refused", start=0.33, length=0.07),
        Outage("broker", "slow", start=0.47, length=0.07, delay_ms=200),
        Outage("broker", "hung", start=0.61, length=0.07),
        Outage("broker", "refused", start=0.75, length=0.07),
    ),
    # A rest has to be longer than a recovery may be, or none could be too late.
    least_s=60.0,
    tolerances=(
        Tolerance("errors_5xx", at_most=0),
        Tolerance("unanswered", at_most=0),
        Tolerance("latency_p99_ms", at_most=150),
        # A fifth of the run the store cannot be read; that its decisions say so is the point. A broker that is gone takes nothing from one.
        Tolerance("degraded", at_least=0.15, at_most=0.45),
        Tolerance("recovery_s", at_most=2.5),
        Tolerance("honest_denied", at_most=0.05),
        *KEPT,
    ),
)
