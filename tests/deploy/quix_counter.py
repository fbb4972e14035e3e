"""`quix_counter.py BOOTSTRAP GROUP SOURCE SINK STATE_DIR`: counts per key in Quix state, one row out for each in."""

import sys
from pathlib import Path
from typing import Any

from quixstreams import Application, State


def main() -> None:
    bootstrap_servers, group, source, sink, state_dir = sys.argv[1:]
    app = Application(
        broker_address=bootstrap_servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=Path(state_dir),
        processing_guarantee="at-least-once",
        commit_interval=0.2,
        consumer_extra_config={"session.timeout.ms": 6000, "group.instance.id": "worker-0"},
    )
    rows = app.dataframe(app.topic(source, value_deserializer="json"))
    rows.apply(count, stateful=True).to_topic(app.topic(sink, value_serializer="json"))
    app.run()


def count(value: dict[str, Any], state: State[str, int]) -> dict[str, Any]:
    seen = state.get("seen", 0) + 1
    state.set("seen", seen)
    return {"i": value["i"], "key": value["key"], "seen": seen}


if __name__ == "__main__":
    main()
