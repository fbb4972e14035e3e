"""What went wrong, told once: an alert is repeated after a day, and of a flood only so many an hour are sent.

    <var>/alerts/ledger.json   what was told when, what is held back, and what waits for a channel; replaced as a whole

An alert is in the ledger before anybody is told of it, and leaves the outbox when its channel took it. A process that dies between the two
tells it again, under the same id.
"""

import contextlib
import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from fraud_assets.models.artifact import replace_file
from fraud_assets.rollout.machine import HOUR_MS

LEDGER = "ledger.json"
# Sensors have a minute for a look, and a channel that hangs takes eight seconds of it.
AT_ONCE = 5
# Of what is held back, so many are named in the one that says so.
NAMED = 20
# Nobody wants to be woken by yesterday's news when a channel answers again.
WAITS_MS = 24 * HOUR_MS
HELD_BACK = "held_back"


class Alert(msgspec.Struct, frozen=True):
    """key: what it is about; the same key again is the same alert. fields: what is told beside the title; nothing of a payment."""

    key: str
    title: str
    fields: dict[str, str]
    at_ms: int

    @property
    def id(self) -> str:
        return hashlib.blake2b(f"{self.key}/{self.at_ms}".encode(), digest_size=16).hexdigest()


class Waiting(msgspec.Struct, frozen=True):
    """An alert that a channel, by its place, has not taken yet."""

    alert: Alert
    channel: int
    since_ms: int


class Ledger(msgspec.Struct, frozen=True):
    """told: key to when it was last told. sent_ms: when alerts of the last hour were. held: titles of those that were one too many."""

    told: dict[str, int] = {}
    sent_ms: tuple[int, ...] = ()
    held: tuple[str, ...] = ()
    held_since_ms: int = 0
    outbox: tuple[Waiting, ...] = ()


@dataclass(frozen=True)
class Limits:
    """per_hour: alerts. repeat_ms: after which the same one is told again."""

    per_hour: int
    repeat_ms: int


def admit(ledger: Ledger, alert: Alert, limits: Limits, channels: int, now_ms: int) -> Ledger:
    """The ledger after an alert: the same one if it was told lately; held back if there were enough; else in the outbox."""
    last = ledger.told.get(alert.key)
    if last is not None and now_ms - last < limits.repeat_ms:
        return ledger
    told = {**ledger.told, alert.key: now_ms}
    recent = tuple(at for at in ledger.sent_ms if now_ms - at < HOUR_MS)
    if len(recent) >= limits.per_hour:
        since = ledger.held_since_ms if ledger.held else now_ms
        return msgspec.structs.replace(ledger, told=told, held=(*ledger.held, alert.title), held_since_ms=since)
    waiting = tuple(Waiting(alert, place, now_ms) for place in range(channels))
    return msgspec.structs.replace(ledger, told=told, sent_ms=(*recent, now_ms), outbox=(*ledger.outbox, *waiting))


def settled(ledger: Ledger, limits: Limits, channels: int, now_ms: int) -> Ledger:
    """The ledger without what is too old; and, once there is room again, with one alert for all that were held back."""
    kept = msgspec.structs.replace(
        ledger,
        told={key: at for key, at in ledger.told.items() if now_ms - at < limits.repeat_ms},
        sent_ms=tuple(at for at in ledger.sent_ms if now_ms - at < HOUR_MS),
        outbox=tuple(one for one in ledger.outbox if now_ms - one.since_ms < WAITS_MS and one.channel < channels),
    )
    if not kept.held or len(kept.sent_ms) >= limits.per_hour:
        return kept
    names, more = kept.held[:NAMED], len(kept.held) - NAMED
    fields = {"alerts": "; ".join(names) + (f"; and {more} more" if more > 0 else "")}
    key = f"{HELD_BACK}/{kept.held_since_ms}"
    summary = Alert(key, f"{len(kept.held)} more alerts were held back", fields, now_ms)
    return admit(msgspec.structs.replace(kept, held=(), held_since_ms=0), summary, limits, channels, now_ms)


class Sends(Protocol):
    """One channel. True if it took the alert."""

    def __call__(self, alert: Alert, /) -> bool: ...


class Alerts:
    """The ledger of a folder, and the channels of this process. Several processes may share the folder."""

    def __init__(self, folder: Path, channels: Sequence[Sends], limits: Limits, now_ms: Callable[[], int]) -> None:
        self._folder, self._channels, self._limits, self._now_ms = folder, channels, limits, now_ms

    def tell(self, alerts: Sequence[Alert]) -> tuple[list[Alert], list[int]]:
        """Those that are news, and the places of channels that did not take what they should. It waits for the next call."""
        with self._alone():
            ledger, news = self._read(), []
            for alert in alerts:
                after = admit(ledger, alert, self._limits, len(self._channels), self._now_ms())
                if after is not ledger:
                    news.append(alert)
                ledger = after
            ledger = settled(ledger, self._limits, len(self._channels), self._now_ms())
            self._write(ledger)
            return news, self._deliver(ledger)

    def _deliver(self, ledger: Ledger) -> list[int]:
        """Each channel's in order, at most AT_ONCE; one that fails is left alone until the next call."""
        failed = []
        for place, takes in enumerate(self._channels):
            for one in [item for item in ledger.outbox if item.channel == place][:AT_ONCE]:
                if not takes(one.alert):
                    failed.append(place)
                    break
                ledger = msgspec.structs.replace(ledger, outbox=tuple(item for item in ledger.outbox if item != one))
                self._write(ledger)
        return failed

    def _read(self) -> Ledger:
        path = self._folder / LEDGER
        return msgspec.json.decode(path.read_bytes(), type=Ledger) if path.exists() else Ledger()

    def _write(self, ledger: Ledger) -> None:
        replace_file(self._folder / LEDGER, msgspec.json.encode(ledger))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: two sensors look at once. A process that dies lets go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
