"""What Prometheus sees of Dagster: read from its storage at an interval, told from memory to whoever scrapes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import dagster as dg
import structlog
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from fraud_assets.exporter.assets import beats, judged, materialized
from fraud_assets.exporter.runs import Ended, newest, waiting

log = structlog.get_logger()


@dataclass(frozen=True)
class Watched:
    """What a code location consists of. groups: of each asset."""

    groups: Mapping[dg.AssetKey, str]
    checks: Sequence[dg.AssetCheckKey]
    jobs: Sequence[str]

    @classmethod
    def of(cls, definitions: dg.Definitions) -> Self:
        repository = definitions.get_repository_def()
        graph = repository.asset_graph
        return cls(
            groups={key: graph.get(key).group_name for key in graph.get_all_asset_keys()},
            checks=tuple(graph.asset_check_keys),
            jobs=tuple(sorted(name for name in repository.job_names if not name.startswith("__"))),
        )


class Exporter(Collector):
    """`look` reads an instance; a scrape gets what the last look found, and nothing of a storage that did not answer it."""

    def __init__(
        self, instance: dg.DagsterInstance, watched: Watched, registry: CollectorRegistry, now_s: Callable[[], float]
    ) -> None:
        self._instance, self._watched, self._now_s = instance, watched, now_s
        self._ended = Ended(watched.jobs, registry, now_s())
        self._looks = Counter("fraud_dagster_reads", "Looks at Dagster's storage.", ["result"], registry=registry)
        for result in ("read", "failed"):
            self._looks.labels(result)
        self._found: tuple[Metric, ...] = ()
        self._is_up = False
        registry.register(self)

    def look(self) -> None:
        """A storage that does not answer is asked again at the next look."""
        try:
            self._found, self._is_up = tuple(self._read()), True
            self._looks.labels("read").inc()
        except (SQLAlchemyError, OSError) as error:
            self._found, self._is_up = (), False
            self._looks.labels("failed").inc()
            log.error("dagster_not_read", error=type(error).__name__, detail=str(error).partition("\n")[0])

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("fraud_dagster_up", "1 while Dagster's storage answers.", float(self._is_up))
        yield from self._found

    def _read(self) -> Iterator[Metric]:
        now_s = self._now_s()
        self._ended.look(self._instance, now_s)
        yield from waiting(self._instance, now_s)
        yield from newest(self._instance, self._watched.jobs)
        yield from materialized(self._instance, self._watched.groups)
        yield from judged(self._instance, self._watched.checks)
        yield from beats(self._instance)
