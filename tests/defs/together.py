"""Commands of Dagster in one process, which loads once: a JSON list of arguments a line in, a JSON string a line out, empty where all went well.

Each goes in by the door of the `dagster` that a person calls; what it and the processes that it starts print goes to the standard error.
"""

import json
import os
import sys
import traceback

from dagster._cli import ENV_PREFIX, cli


def main() -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                cli(json.loads(line), auto_envvar_prefix=ENV_PREFIX, standalone_mode=False)
                told = ""
            except BaseException:  # noqa: BLE001  # whatever it was, who asked is told
                told = traceback.format_exc()
            print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
