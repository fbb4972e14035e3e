"""What a run does, line by line: purchases as they are asked and published, and all that happens around them.

A plan becomes a script before its first second. A script can be written to a file and played again, at another time, against another
platform: the same people buy the same things, and only what the platform says differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from fraud_assets.contracts.codec import BadEvent, decode
from fraud_assets.contracts.events import Activity, Event, Label, Profile, Transaction
from fraud_assets.contracts.topics import RAW_TOPICS
from simulator.build import World
from simulator.live_events import Due, requests, surroundings, transactions
from simulator.live_plan import LivePlan
from simulator.results import AttackBand
from simulator.scenarios.scenario import Scenario
from simulator.truth import campaign_name
from simulator.world import Names, Persona

FORMAT = 1
_TOPICS = {topic.name: topic for topic in RAW_TOPICS}
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Scripted:
    """A purchase. event: its index in the world's catalogue. way: of an adversary, else -1. The rest is the truth, for results alone."""

    offset_ms: int
    request: dict[str, object]
    transaction: Transaction
    event: int
    is_fraud: bool
    campaign: str | None
    kind: str | None
    persona: str
    attacks: bool
    way: int = -1


@dataclass(frozen=True)
class Script:
    """purchases, around: in the order they are due; a label's `row` counts into the purchases."""

    scenario: Scenario
    start_ms: int
    duration_ms: int
    bands: tuple[AttackBand, ...]
    purchases: list[Scripted]
    around: list[Due]


def script_of(world: World, names: Names, plan: LivePlan) -> Script:
    """The plan, dressed."""
    events = transactions(world, names, plan)
    called = [campaign_name(campaign, i) for i, campaign in enumerate(plan.campaigns)]
    rows, truth = plan.rows, plan.truth

    def scripted(row: int, request: dict[str, object], transaction: Transaction) -> Scripted:
        origin = int(rows.origin[row])
        return Scripted(
            offset_ms=int(rows.time_ms[row]) - plan.start_ms,
            request=request,
            transaction=transaction,
            event=int(rows.event[row]),
            is_fraud=bool(truth.is_fraud[row]),
            campaign=called[origin] if origin >= 0 else None,
            kind=str(plan.campaigns[origin].kind) if origin >= 0 else None,
            persona=Persona(int(truth.persona[row])).name.lower(),
            attacks=origin >= 0 and plan.own[origin],
            way=plan.way[origin] if origin >= 0 else -1,
        )

    asked = requests(names, plan, events)
    return Script(
        scenario=plan.scenario,
        start_ms=plan.start_ms,
        duration_ms=plan.duration_ms,
        bands=plan.bands,
        purchases=[scripted(row, *pair) for row, pair in enumerate(zip(asked, events, strict=True))],
        around=surroundings(world, names, plan),
    )


def without(script: Script, unmade: set[int]) -> Script:
    """Less those purchases and what is said of them: what an adversary did, and not what it might have done."""
    kept = [row for row in range(len(script.purchases)) if row not in unmade]
    place = {row: i for i, row in enumerate(kept)}
    return replace(
        script,
        purchases=[script.purchases[row] for row in kept],
        around=[replace(due, row=place.get(due.row, due.row)) for due in script.around if due.row not in unmade],
    )


# ------------------------------------------------------------------------------------------------ a file of it


class BadRecording(ValueError):
    """A file that holds no script; the message names the line."""


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    scenario: str
    start_ms: int
    duration_ms: int
    bands: list[AttackBand]


class _Purchase(msgspec.Struct, frozen=True, kw_only=True, tag="purchase"):
    offset_ms: int
    request: dict[str, object]
    transaction: msgspec.Raw
    event: int
    is_fraud: bool
    campaign: str | None
    kind: str | None
    persona: str
    attacks: bool


class _Around(msgspec.Struct, frozen=True, kw_only=True, tag="around"):
    topic: str
    event: msgspec.Raw
    row: int


_LINE: "msgspec.json.Decoder[_Purchase | _Around]" = msgspec.json.Decoder(_Purchase | _Around)


def record(script: Script, path: Path) -> None:
    """JSON lines: a head, then purchases, then what happens around them. It holds card numbers, which are simulated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in _lines(script)))


def _lines(script: Script) -> Iterator[bytes]:
    encode = msgspec.json.encode
    yield encode(
        _Header(
            format=FORMAT,
            scenario=script.scenario.name,
            start_ms=script.start_ms,
            duration_ms=script.duration_ms,
            bands=list(script.bands),
        )
    )
    for one in script.purchases:
        facts = {name: value for name, value in vars(one).items() if name != "way"}
        yield encode(_Purchase(**facts | {"transaction": msgspec.Raw(encode(one.transaction))}))
    for due in script.around:
        yield encode(_Around(topic=due.topic.name, event=msgspec.Raw(encode(due.event)), row=due.row))


def read_recording(path: Path, scenario: Scenario, start_ms: int) -> Script:
    """To be played from `start_ms` on, as `scenario`: times are moved, and ids are new, for the platform has seen the old ones.

    Raises BadRecording.
    """
    lines = path.read_bytes().splitlines()
    try:
        head = msgspec.json.decode(lines[0] if lines else b"", type=_Header)
        if head.format != FORMAT:
            raise BadRecording(f"BadRecording: {path} has format {head.format}; this simulator reads {FORMAT}.")
    except msgspec.MsgspecError as error:
        raise BadRecording(f"BadRecording: {path} is not what `run --record` writes: {error}.") from error
    moved = _Moved(head.start_ms, start_ms)
    purchases: list[Scripted] = []
    around: list[Due] = []
    for number, line in enumerate(lines[1:], 2):
        try:
            read = _LINE.decode(line)
            if isinstance(read, _Purchase):
                purchases.append(moved.purchase(read))
            else:
                around.append(moved.around(read, len(purchases)))
        except (msgspec.MsgspecError, BadEvent, KeyError, IndexError) as error:
            raise BadRecording(f"BadRecording: {path}, line {number}: {error}.") from error
    summary = f"{scenario.summary} Recorded: {head.scenario}, {len(purchases):,} purchases."
    return Script(replace(scenario, summary=summary), start_ms, head.duration_ms, tuple(head.bands), purchases, around)


@dataclass(frozen=True)
class _Moved:
    """Times from `was_ms` on are as much later as the run is; ids are those of another run."""

    was_ms: int
    now_ms: int

    def purchase(self, read: _Purchase) -> Scripted:
        transaction = self._event(decode(Transaction, bytes(read.transaction)), "transaction_id")
        facts = {name: getattr(read, name) for name in read.__struct_fields__}
        request = read.request | {
            "transaction_id": transaction.transaction_id,
            "event_time_ms": transaction.event_time_ms,
        }
        return Scripted(**facts | {"transaction": transaction, "request": request})

    def around(self, read: _Around, purchases: int) -> Due:
        if read.row >= purchases:
            raise IndexError(f"it speaks of purchase {read.row} of {purchases}")
        topic = _TOPICS[read.topic]
        contract = topic.contract
        assert contract is not None  # every raw topic has one
        event = self._event(decode(contract, bytes(read.event)), *_IDS[contract])
        return Due(event.event_time_ms, topic, event, read.row)

    def _event(self, event: E, *ids: str) -> E:
        later = {
            name: value + self.now_ms - self.was_ms
            for name, value in msgspec.structs.asdict(event).items()
            if name.endswith("_ms") and value is not None and value >= self.was_ms
        }
        return msgspec.structs.replace(event, **later, **{name: self._id(getattr(event, name)) for name in ids})

    def _id(self, known: str) -> str:
        return f"{known.partition('_again_')[0]}_again_{self.now_ms // 1000:x}"


_IDS: dict[type[Event], tuple[str, ...]] = {
    Activity: ("activity_id",),
    Profile: ("profile_id",),
    Label: ("label_id", "transaction_id"),
}
