"""A live run from a scenario's name to its result, and what it is pointed at."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from fraud_assets.contracts.tokens import TokenKey
from simulator.build import World, build_world, name_world
from simulator.catalogue import SOLD_AFTER_DAYS, SOLD_BEFORE_DAYS
from simulator.faults import HttpFaults, NobodyBreaks, NoFaults
from simulator.history import WorldFile
from simulator.http_client import HttpClient
from simulator.kafka_source import KafkaSource, ensure_topics
from simulator.labels import Pace
from simulator.live import LiveRun, RunSettings, unwatched
from simulator.live_plan import plan_live
from simulator.ports import ApiLabels, ApiScorer, NoScorer, NoSource, Source
from simulator.results import RunResult
from simulator.scenarios.registry import scenario_named
from simulator.scenarios.scenario import Scenario
from simulator.script import Script, read_recording, record, script_of
from simulator.spec import DAY_MS, WorldSpec
from simulator.world import Ints, Names

API, KAFKA = "api", "kafka"
# Preparing a plan takes about this long; a slower machine starts late, and its event times lag.
_HEAD_START_MS = 1_500
_HEAD_START_MS_PER_PURCHASE = 0.15


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, against what. `world`: the file a history left, `<lake>/../truth/world.json`.

    api_key_file: holds what the scorer wants to see from its callers. pace: of labels. labels_to: kafka, or api for `POST /labels`.
    realtime: at the hours of the world's people, `rate_per_s` being the mean of their days (`plan_live`).
    level, weights: of the scenarios that have them. log: to be replayed. record: where to write what was done. faults_url: of the fault proxy, where a scenario breaks something.
    """

    scenario: str
    rate_per_s: float
    duration_s: float
    seed: int
    realtime: bool = False
    targets: tuple[str, ...] = (API, KAFKA)
    api_url: str = "http://127.0.0.1:8000"
    api_key_file: Path | None = None
    bootstrap: str = "127.0.0.1:9092"
    world: Path | None = None
    timeout_s: float = 2.0
    max_in_flight: int = 2_000
    pace: Pace | None = None
    labels_to: str = KAFKA
    level: float | None = None
    weights: dict[str, float] = {}
    faults_url: str = ""
    log: Path | None = None
    record: Path | None = None


class BadTarget(ValueError):
    """A target that is neither api nor kafka, or none, or an API that no URL names."""


class BadWorld(ValueError):
    """A file that holds no world, or one that has nothing to sell by now."""


def run_scenario(request: RunRequest, key: TokenKey, on_tick: Callable[[int, int, int], None] = unwatched) -> RunResult:
    """Drive the scenario and return what came of it. Raises BadTarget, BadRecording, BadWorld, NoFaults, UnknownScenario,
    KafkaException.
    """
    unknown = set(request.targets) - {API, KAFKA}
    if unknown or not request.targets:
        raise BadTarget(f"BadTarget: {', '.join(sorted(unknown)) or 'none'}. Known: {API}, {KAFKA}.")
    scenario = scenario_named(request.scenario, level=request.level, weights=request.weights, log=request.log)
    client = _client(request.api_url, request.timeout_s, _credential(request))
    proxy = _client(request.faults_url, request.timeout_s) if request.faults_url else None
    if scenario.outages and proxy is None:
        raise NoFaults(
            f"NoFaults: {scenario.name} breaks {scenario.outages[0].dependency!r} through a fault proxy. Name one with --faults;"
            " make scenarios starts a platform that has it."
        )
    world, names, sold = open_world(request, key)
    source = _source(request)
    head_start = _HEAD_START_MS + _HEAD_START_MS_PER_PURCHASE * request.rate_per_s * request.duration_s
    start_ms = int(time.time() * 1000 + head_start)
    _check_on_sale(world.spec, start_ms, request)
    script = _script(request, scenario, world, names, start_ms)
    seconds = script.duration_ms / 1000
    rate = request.rate_per_s if request.log is None else round(len(script.purchases) / seconds, 3)
    settings = RunSettings(rate, seconds, request.seed, request.targets, request.max_in_flight, request.realtime)

    def starts_in_s() -> float:
        return start_ms / 1000 - time.time()

    async def drive() -> RunResult:
        async with client, proxy or nullcontext():
            scorer = ApiScorer(client) if API in request.targets else NoScorer()
            case_system = ApiLabels(client) if request.labels_to == API else None
            faults = HttpFaults(proxy) if proxy is not None else NobodyBreaks()
            live = LiveRun(
                world, names, script, settings, scorer, source, sold, on_tick, case_system, starts_in_s, faults
            )
            # Whoever ends a run wants what came of it.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, live.stop)
            try:
                return await live.run()
            finally:
                if request.record is not None:
                    record(live.made(), request.record)

    return asyncio.run(drive())


def _script(request: RunRequest, scenario: Scenario, world: World, names: Names, start_ms: int) -> Script:
    """Planned, or read."""
    if request.log is not None:
        return read_recording(request.log, scenario, start_ms)
    plan = plan_live(
        world,
        scenario,
        request.rate_per_s,
        request.duration_s,
        request.seed,
        start_ms,
        request.pace,
        realtime=request.realtime,
    )
    return script_of(world, names, plan)


def _client(url: str, timeout_s: float, credential: str = "") -> HttpClient:
    try:
        return HttpClient(url, timeout_s=timeout_s, credential=credential)
    except ValueError as error:
        raise BadTarget(f"BadTarget: {url!r} is not http://host:port.") from error


def _check_on_sale(spec: WorldSpec, start_ms: int, request: RunRequest) -> None:
    first, last = spec.start_ms - SOLD_BEFORE_DAYS * DAY_MS, spec.end_ms + SOLD_AFTER_DAYS * DAY_MS
    if not first <= start_ms + request.duration_s * 1000 < last:
        day = datetime.fromtimestamp(spec.end_ms / 1000, UTC).date()
        raise BadWorld(
            f"BadWorld: the history of {request.world} ends on {day} and has nothing to sell today."
            " Write a newer one: python -m simulator history."
        )


def _credential(request: RunRequest) -> str:
    """The scorer's key, which no command line shows; none where there is no such file."""
    path = request.api_key_file
    return path.read_text().strip() if path is not None and path.exists() else ""


def _source(request: RunRequest) -> Source:
    if KAFKA not in request.targets:
        return NoSource()
    ensure_topics(request.bootstrap)
    return KafkaSource(request.bootstrap)


def open_world(request: RunRequest, key: TokenKey) -> tuple[World, Names, Ints]:
    """The history's world as it left it, or a fresh one that ends at midnight. Raises BadWorld."""
    if request.world is not None and request.world.exists():
        try:
            stored = msgspec.json.decode(request.world.read_bytes(), type=WorldFile)
        except (OSError, msgspec.DecodeError) as error:
            raise BadWorld(
                f"BadWorld: {request.world}: {error}. Give the world.json that `python -m simulator history` wrote."
            ) from error
        world = build_world(stored.spec)
        return world, name_world(world, key), np.array(stored.tickets_sold, dtype=np.int64)
    today = int(time.time() * 1000) // DAY_MS * DAY_MS
    spec = WorldSpec(seed=request.seed, start_ms=today - 30 * DAY_MS, days=30, rate_per_day=10_000, accounts=20_000)
    world = build_world(spec)
    return world, name_world(world, key), world.events.sold_before
