"""Every scenario of the simulator against one platform, each judged by the tolerances beside it.

    python -m deploy.local.scenarios [--only NAME ...] [--seconds 30] [--rate 20] [--var var/scenarios]

A history that ends at the scenarios' rate, a model of its last minutes, worker and scorer with a fault proxy before the online store; then
one scenario after the other, small. In the end every served vector is recomputed. Prints one line of JSON for each; exits with 1 if a
tolerance is broken or unmeasured. Everything it started is stopped.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace

from deploy.local.demo_command import conduct, demo_parser
from deploy.local.scenarios_run import LEFT_OUT, PACE, RECORDED, REPLAY, Scenarios, everybody, run
from deploy.local.services import ADDRESSES, BROKER
from deploy.local.world import World
from simulator.scenarios.registry import SCENARIOS

# So that people, cards and devices have a past; what a model learns from comes after it.
WORLD = World(days=16, per_day=1_500)


def main() -> None:
    asked = _parse_arguments(sys.argv[1:])
    conduct(asked.var_dir, lambda folder, console, began_s: run(replace(asked, var_dir=folder), console, began_s))


def breaking_the_broker(names: Iterable[str]) -> list[str]:
    return [name for name in names if any(one.dependency == BROKER.name for one in SCENARIOS[name].outages)]


def _parse_arguments(arguments: list[str]) -> Scenarios:
    parser = demo_parser("deploy.local.scenarios", __doc__, "scenarios")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these, in this order")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of traffic, each; those with a drift check take a minute"
    )
    parser.add_argument("--rate", type=float, default=PACE.rate_per_s, help="purchases per second, before surges")
    parser.add_argument("--seed", type=int, default=WORLD.seed)
    chosen = parser.parse_args(arguments)
    for name in chosen.only:
        if name in LEFT_OUT:
            parser.error(f"{name} is not run here: {LEFT_OUT[name]}")
        if name not in SCENARIOS:
            parser.error(f"{name} is none. Known: {', '.join(everybody())}")
        if name == REPLAY and RECORDED not in chosen.only[: chosen.only.index(name)]:
            parser.error(f"{REPLAY} plays {RECORDED} again: name that before it")
    names = tuple(chosen.only) or everybody()
    if (broken := breaking_the_broker(names)) and os.environ.get(ADDRESSES[BROKER.name]):
        parser.error(
            f"{', '.join(broken)} breaks the broker, and the one of {ADDRESSES[BROKER.name]} does not advertise our proxy:"
            " name the others with --only"
        )
    world, pace = replace(WORLD, seed=chosen.seed), replace(PACE, rate_per_s=chosen.rate)
    return Scenarios(chosen.var, world, names, chosen.seconds, pace)


if __name__ == "__main__":
    main()
