"""The learning loop closed, with nobody watching: fraud shifts under live traffic, and the platform finds its way back.

    python -m deploy.local.drift_demo [--rate 20] [--var var/drift-demo]

A drift check fails, a model is trained, passes its gates, goes through shadow and canary and becomes champion; the scorers follow. Then
the reverse: a person puts a bad candidate into a canary, and the guard throws it out. Prints the time line and what was caught before,
during and after. Exits with 0 if the loop closed and the bad candidate was halted in time. Everything it started is stopped.
"""

import sys
from dataclasses import replace

from deploy.local.demo_command import conduct, demo_parser
from deploy.local.drift_run import DriftDemo, run
from deploy.local.drift_settings import WORLD, Pace


def main() -> None:
    demo = _parse_arguments(sys.argv[1:])
    conduct(demo.var_dir, lambda folder, console, began_s: run(replace(demo, var_dir=folder), console, began_s))


def _parse_arguments(arguments: list[str]) -> DriftDemo:
    parser = demo_parser("deploy.local.drift_demo", __doc__, "drift-demo")
    parser.add_argument("--rate", type=float, default=Pace.rate_per_s, help="purchases per second")
    chosen = parser.parse_args(arguments)
    return DriftDemo(chosen.var, WORLD, replace(Pace(), rate_per_s=chosen.rate))


if __name__ == "__main__":
    main()
