"""`python -m deploy.local.graph_process`: `dagster asset materialize`, loaded once and told one selection after the other.

Each start of Dagster's command costs seconds of imports, of the graph and of the engine's kernels. Here a line of
JSON on standard input is one run, and a line on standard output its answer; what Dagster says goes to standard
error. Runs are on the instance of DAGSTER_HOME, so its UI shows them. It ends when its input does.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import IO

import dagster as dg
import msgspec

from fraud_assets.definitions import defs

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
Numbers = dict[str, int | float]


class Order(msgspec.Struct, frozen=True):
    """select: as on Dagster's command line. first: of a range of days that ends with `last`; none for a single day."""

    select: str
    last: str
    first: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """numbers: what was measured, by asset and name, of a run that succeeded. problem: empty if it did."""

    problem: str = ""
    numbers: dict[str, Numbers] = msgspec.field(default_factory=dict)


class Graph:
    """The definitions and the instance, loaded."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        loaded = defs()
        self._repository = loaded.get_repository_def()

    def materialize(self, order: Order) -> Answer:
        """One run. A step that fails says why in the log; the answer names the steps."""
        keys = dg.AssetSelection.from_coercible(order.select.split(",")).resolve(self._repository.asset_graph)
        job = self._repository.get_implicit_job_def_for_assets(keys)
        if job is None:
            return Answer(f"{order.select}: these assets have different partitions")
        # Of a range, and of a single day as a range of one: the tags are what the command line sets.
        tags = {RANGE_START: order.first, RANGE_END: order.last} if order.first else None
        result = job.execute_in_process(
            instance=self._instance,
            asset_selection=sorted(keys),
            partition_key=None if tags else order.last,
            tags=tags,
            raise_on_error=False,
        )
        if not result.success:
            failed = [event.step_key for event in result.all_events if event.is_step_failure]
            return Answer(f"run {result.run_id} failed in {', '.join(map(str, failed)) or 'its start'}")
        return Answer(numbers=dict(_measured(result)))


def _measured(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, Numbers]]:
    for event in result.get_asset_materialization_events():
        made = event.step_materialization_data.materialization
        yield made.asset_key.to_user_string(), _numbers(made.metadata)


def _numbers(metadata: Mapping[str, dg.MetadataValue]) -> Numbers:
    return {name: value.value for name, value in metadata.items() if isinstance(value.value, int | float)}


def serve(orders: IO[bytes], answers: IO[bytes]) -> None:
    """Until the orders end. The first answer says that the graph is loaded."""
    with dg.DagsterInstance.get() as instance:
        graph = Graph(instance)
        _say(answers, Answer())
        for line in orders:
            _say(answers, graph.materialize(msgspec.json.decode(line, type=Order)))


def _say(answers: IO[bytes], answer: Answer) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")
    answers.flush()


def main() -> None:
    # Whatever else prints, an answer is a line of its own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
