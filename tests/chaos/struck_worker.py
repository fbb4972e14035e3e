r"""The worker with blows that come at a step of its own choosing: the process takes them itself, between two instructions.

python tests/chaos/struck_worker.py [router|folder|…]      otherwise as `python -m streaming`

A file `<CHAOS_STRIKES>/<role>` holds `<signal>\t<step>\t<n>`: after the n-th time that the role has done this step it
sends itself the signal, having added the line to `<CHAOS_STRIKES>/struck`.
"""

import functools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# What each role does in a round, in order: whom to ask for it, and the name of the function. Between any two something may end.
STEPS = {
    "router": {
        "firsts remembered": ("streaming.edges.seen:RedisSeen", "write"),
        "records sent": ("streaming.edges.broker:Sender", "send"),
        "hidden file written": ("fraud_assets.stores.files:", "_write_flushed"),
        "file of the lake in place": ("fraud_assets.stores.files:LocalFiles", "put"),
        "batch in the lake": ("fraud_assets.stores.lake:Lake", "append"),
        "deliveries asked for": ("streaming.edges.broker:Sender", "is_delivered"),
        "offsets committed": ("streaming.edges.broker:WorkerApp", "commit"),
    },
    "folder": {
        "states read": ("fraud_assets.stores.online:OnlineStore", "read_many"),
        "states written": ("fraud_assets.stores.online:OnlineStore", "compare_and_set"),
        "letters delivered": ("streaming.edges.broker:Sender", "flush"),
        "store told how far": ("fraud_assets.stores.online:OnlineStore", "advance"),
        "offsets committed": ("quixstreams.checkpointing:Checkpoint", "commit"),
    },
    "labels": {
        "cases written": ("streaming.edges.cases:RedisCases", "write"),
        "facts sent": ("streaming.edges.broker:Sender", "send"),
        "facts delivered": ("streaming.edges.broker:Sender", "flush"),
        "offsets committed": ("quixstreams.checkpointing:Checkpoint", "commit"),
    },
}
# Those of the roles that follow decisions, which need a scorer.
STEPS_OF_DECISIONS = {
    "explainer": {
        "explanations sent": ("streaming.edges.broker:Sender", "send"),
        "explanations delivered": ("streaming.edges.broker:Sender", "flush"),
        "offsets committed": ("quixstreams.checkpointing:Checkpoint", "commit"),
    },
    "database": {
        "rows written": ("streaming.edges.database:Database", "write"),
        "letters delivered": ("streaming.edges.broker:Sender", "flush"),
        "offsets committed": ("quixstreams.checkpointing:Checkpoint", "commit"),
    },
    "notifier": {
        "somebody told": ("streaming.edges.targets:Targets", "deliver"),
        "letters delivered": ("streaming.edges.broker:Sender", "flush"),
        "offsets committed": ("quixstreams.checkpointing:Checkpoint", "commit"),
    },
}
LONGEST_PAUSE_S = 0.5  # of the supervisor: who is struck twenty times need not wait half a minute each time


def main() -> int:
    from streaming import __main__, supervise
    from streaming.settings import WorkerSettings

    strikes, play = Path(os.environ["CHAOS_STRIKES"]), __main__._play

    def play_struck(role: str, settings: WorkerSettings) -> NoReturn:
        _listen(role, strikes)
        play(role, settings)

    __main__._play = play_struck
    supervise.LONGEST_PAUSE_S = LONGEST_PAUSE_S
    return __main__.main()


def _listen(role: str, strikes: Path) -> None:
    for step, (place, name) in {**STEPS, **STEPS_OF_DECISIONS}[role].items():
        module, _, kind = place.partition(":")
        owner: Any = import_module(module)
        if kind:
            owner = getattr(owner, kind)
        setattr(owner, name, _struck(getattr(owner, name), role, step, strikes))


def _struck(done: Callable[..., Any], role: str, step: str, strikes: Path) -> Callable[..., Any]:
    plan, times = strikes / role, 0

    @functools.wraps(done)
    def step_then_blow(*given: Any, **named: Any) -> Any:
        nonlocal times
        found = done(*given, **named)
        try:
            signal_number, wanted, count = plan.read_text().split("\t")
            times = times + 1 if wanted == step else 0
            if times >= int(count):
                # The name can be taken away once: of several threads at this step, one strikes.
                plan.rename(plan.with_name(f".{role}"))
                times = 0
                with (strikes / "struck").open("a") as told:
                    told.write(f"{signal_number}\t{role}\t{step}\n")
                os.kill(os.getpid(), int(signal_number))
        except FileNotFoundError:
            pass
        return found

    return step_then_blow


if __name__ == "__main__":
    sys.exit(main())
