"""The whole platform once through, on one machine, from an empty folder to its own verdict on itself.

    python -m deploy.local.demo [--seconds 120] [--rate 50] [--days 45] [--per-day 2000] [--var var/demo] [--quick]

History with fraud in it, the asset graph over that history, a model and its promotion, then live
traffic with an attack against worker and scorer; in the end every served vector is recomputed from
the log. Exits with 0 if all of that worked and no vector differs. Everything it started is stopped.
"""

import sys
from dataclasses import replace

from deploy.local.demo_command import conduct, demo_parser
from deploy.local.demo_run import Demo, Traffic, run
from deploy.local.world import World

# A model needs more history than the warm-up and two label delays: one for verdicts to come in, one between training
# and validation.
QUICK_WORLD = World(days=32, per_day=600)
QUICK_TRAFFIC = Traffic(seconds=10, rate_per_s=30)


def main() -> None:
    demo = _parse_arguments(sys.argv[1:])
    conduct(demo.var_dir, lambda folder, console, began_s: run(replace(demo, var_dir=folder), console, began_s))


def _parse_arguments(arguments: list[str]) -> Demo:
    parser = demo_parser("deploy.local.demo", __doc__, "demo")
    parser.add_argument("--seconds", type=float, help="of live traffic")
    parser.add_argument("--rate", type=float, help="purchases per second")
    parser.add_argument("--days", type=int, help="of history")
    parser.add_argument("--per-day", type=int, help="purchases per day of history")
    parser.add_argument("--quick", action="store_true", help="everything small, as the tests run it")
    chosen = parser.parse_args(arguments)
    world, traffic = (QUICK_WORLD, QUICK_TRAFFIC) if chosen.quick else (World(), Traffic())
    return Demo(
        chosen.var,
        world.resized(chosen.days, chosen.per_day),
        Traffic(seconds=chosen.seconds or traffic.seconds, rate_per_s=chosen.rate or traffic.rate_per_s),
    )


if __name__ == "__main__":
    main()
