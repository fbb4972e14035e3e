"""`python -m deploy.grafana` writes the dashboards that Grafana loads, from deploy/grafana/boards.py."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards import BOARDS

FOLDER = Path(__file__).parent / "dashboards"


def text_of(board: Dashboard) -> str:
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    for uid, made in BOARDS.items():
        (FOLDER / f"{uid}.json").write_text(text_of(made))
