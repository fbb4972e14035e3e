"""The command line of the embedded stack (`python -m deploy.local.stack`)."""

import argparse
import os
import sys
from pathlib import Path

from deploy.local import stack as stacks
from deploy.local.demo_steps import StepFailed
from deploy.local.given import UnfitServer, refuse_elsewhere, shown, take_servers
from deploy.local.scorer_key import key_path
from deploy.local.services import ADDRESSES, CATALOGUE, Service
from deploy.local.supervision import SupervisorGone
from deploy.local.topics import TopicMismatch
from deploy.local.valkey import NoSuchServer
from deploy.local.world import World


def main() -> None:
    arguments = _parse_arguments()
    var_dir: Path = arguments.var
    try:
        if arguments.command == "up":
            _up(var_dir, arguments)
        elif arguments.command == "down":
            print("stopped; data stays in" if stacks.down(var_dir) else "nothing was running in", var_dir)
        else:
            sys.exit(_status(var_dir))
    except (
        stacks.ServiceFailed,
        stacks.ServiceMissing,
        StepFailed,
        SupervisorGone,
        NoSuchServer,
        TopicMismatch,
        UnfitServer,
    ) as error:
        sys.exit(f"the stack did not start: {error}" if arguments.command == "up" else str(error))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.stack",
        description=stacks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--var", type=Path, default=Path(os.environ.get("FRAUD_VAR_DIR", "var")), help="all state")
    parser.add_argument(
        "--services", type=lambda text: text.split(","), default=list(CATALOGUE), help=f"of {', '.join(CATALOGUE)}"
    )
    parser.add_argument(
        "--days",
        type=int,
        help=f"of history, where `up` finds none (default {World.days}; fewer than 26 train no model)",
    )
    parser.add_argument("--per-day", type=int, help=f"purchases on each of them (default {World.per_day})")
    arguments = parser.parse_args()
    if unknown := set(arguments.services) - set(CATALOGUE):
        parser.error(f"no service {', '.join(sorted(unknown))}; there are {', '.join(CATALOGUE)}")
    return arguments


def _up(var_dir: Path, arguments: argparse.Namespace) -> None:
    refuse_elsewhere(os.environ)
    theirs = {name: variable for name, variable in ADDRESSES.items() if os.environ.get(variable)}
    given = {variable: os.environ[variable] for variable in theirs.values()}
    for name, variable in theirs.items():
        print(f"{name:<18} given  {variable}={shown(given[variable])}")
    if stacks.attach(var_dir) is None:
        take_servers(given, var_dir)
    chosen = [name for name in arguments.services if name not in theirs]
    from deploy.local.bootstrap import make_ready  # it loads the feature catalogue, which `down` has no use for

    world = World().resized(arguments.days, arguments.per_day)

    def prepare(stack: stacks.Stack) -> None:
        """A scorer without a model or without history's states would never be ready to serve."""
        if "scorer" in chosen and not make_ready(stack, world) and (arguments.days or arguments.per_day):
            print("the lake holds history already: --days and --per-day change nothing")

    stack = stacks.up(chosen, var_dir, given, tell=print, prepare=prepare)
    for service in stack.services:
        _say_if_moved(service, stack.context.ports[service.name])
    if "scorer" in chosen:
        print(f"the key of scorer and pricing is in {key_path(var_dir)}")
    # Under make there may be no `python` on PATH but the system's.
    stop = "make down" if "MAKELEVEL" in os.environ else f"python -m deploy.local.stack down --var {var_dir}"
    print(f"logs in {var_dir / 'logs'}; stop with: {stop}")


def _say_if_moved(service: Service, port: int) -> None:
    if service.preferred_port and port != service.preferred_port:
        print(f"{service.name}: port {service.preferred_port} was taken, it listens on {port}")


def _status(var_dir: Path) -> int:
    """0 if everything runs, 3 if nothing does, 1 in between."""
    stack = stacks.attach(var_dir)
    if stack is None:
        print(f"nothing is running in {var_dir}")
        return 3
    states = {service.name: stack.state(service.name) for service in stack.services}
    for service in stack.services:
        name = service.name
        print(
            f"{name:<18} {states[name]:<9} pid {stack.pid(name):<8} {service.url(stack.context):<32} {stack.log(name)}"
        )
    return 0 if set(states.values()) <= {"RUNNING", "STARTING"} else 1


if __name__ == "__main__":
    main()
