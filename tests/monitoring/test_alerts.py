"""An alert is told once, a flood is told as one, and what a channel did not take waits for it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fraud_assets.monitoring.alerts import AT_ONCE, LEDGER, WAITS_MS, Alert, Alerts, Ledger, Limits, admit, settled
from fraud_assets.monitoring.channels import alert_channel

HOUR_MS = 3_600_000
LIMITS = Limits(per_hour=3, repeat_ms=24 * HOUR_MS)


def alert(key: str = "check/drift_report/x/2026-10-14", at_ms: int = 0) -> Alert:
    return Alert(key, f"{key} failed", {"what": "it moved"}, at_ms)


class Channel:
    """Takes alerts while it is open."""

    def __init__(self) -> None:
        self.is_open = True
        self.taken: list[Alert] = []
        self.asked = 0

    def __call__(self, one: Alert) -> bool:
        self.asked += 1
        if self.is_open:
            self.taken.append(one)
        return self.is_open


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def clock() -> list[int]:
    return [0]


@pytest.fixture
def made(tmp_path: Path, clock: list[int]) -> Callable[..., Alerts]:
    """The alerts of a process; a second one goes on with the first one's ledger."""

    def make(*channels: Channel, limits: Limits = LIMITS) -> Alerts:
        return Alerts(tmp_path / "alerts", channels, limits, lambda: clock[0])

    return make


def test_the_same_alert_is_told_once_and_again_after_its_time(
    made: Callable[..., Alerts], channel: Channel, clock: list[int]
) -> None:
    news = []
    for at in (0, HOUR_MS, 24 * HOUR_MS - 1, 24 * HOUR_MS):
        clock[0] = at
        news.append(len(made(channel).tell([alert(at_ms=at)])[0]))

    assert news == [1, 0, 0, 1]
    assert [one.at_ms for one in channel.taken] == [0, 24 * HOUR_MS]


def test_other_partitions_and_checks_are_other_alerts(made: Callable[..., Alerts], channel: Channel) -> None:
    made(channel).tell([alert("check/a/x/1"), alert("check/a/x/2"), alert("check/a/y/1")])

    assert len(channel.taken) == len({one.id for one in channel.taken}) == 3


def test_of_a_flood_so_many_an_hour_are_sent_and_the_rest_as_one(
    made: Callable[..., Alerts], channel: Channel, clock: list[int]
) -> None:
    flood = [alert(f"check/a/x/{day}") for day in range(30)]

    news, _ = made(channel).tell(flood)
    before = len(channel.taken)
    clock[0] = HOUR_MS
    made(channel).tell([])

    assert (len(news), before) == (30, 3)
    (summary,) = channel.taken[3:]
    assert summary.title == "27 more alerts were held back"
    assert "check/a/x/3 failed" in summary.fields["alerts"] and "and 7 more" in summary.fields["alerts"]
    assert "check/a/x/29" not in summary.fields["alerts"]


def test_what_a_channel_did_not_take_waits_in_order_and_keeps_nobody_else_waiting(
    made: Callable[..., Alerts], channel: Channel
) -> None:
    down = Channel()
    down.is_open = False
    one, other = alert("a"), alert("b")

    _, failed = made(down, channel).tell([one, other])
    asked = down.asked
    down.is_open = True
    _, then = made(down, channel).tell([])

    assert (failed, asked, then) == ([0], 1, [])
    assert channel.taken == down.taken == [one, other]


def test_a_process_that_died_before_it_told_is_followed_by_one_that_tells(
    made: Callable[..., Alerts], channel: Channel
) -> None:
    class Killed(BaseException):
        pass

    def dies(one: Alert) -> bool:
        raise Killed

    with pytest.raises(Killed):
        made(dies).tell([alert()])
    made(channel).tell([])

    assert channel.taken == [alert()]


def test_a_look_sends_a_few_and_the_next_one_the_rest(made: Callable[..., Alerts], channel: Channel) -> None:
    limits = Limits(100, HOUR_MS)
    count = AT_ONCE + 2

    made(channel, limits=limits).tell([alert(str(n)) for n in range(count)])
    first = len(channel.taken)
    made(channel, limits=limits).tell([])

    assert (first, len(channel.taken)) == (AT_ONCE, count)


def test_yesterdays_news_is_not_sent_when_a_channel_answers_again(
    made: Callable[..., Alerts], channel: Channel, clock: list[int], tmp_path: Path
) -> None:
    channel.is_open = False
    made(channel).tell([alert()])
    channel.is_open, clock[0] = True, WAITS_MS

    made(channel).tell([])

    assert channel.taken == []
    assert msgspec.json.decode((tmp_path / "alerts" / LEDGER).read_bytes(), type=Ledger) == Ledger()


def test_without_a_channel_an_alert_is_news_once_and_waits_for_nobody(made: Callable[..., Alerts]) -> None:
    news = [made().tell([alert()])[0] for _ in range(2)]

    assert news == [[alert()], []]


def test_a_channel_that_is_gone_from_the_settings_is_waited_for_no_longer() -> None:
    ledger = admit(Ledger(), alert(), LIMITS, channels=2, now_ms=0)

    assert [one.channel for one in settled(ledger, LIMITS, channels=1, now_ms=1).outbox] == [0]


def test_a_url_that_apprise_does_not_know_takes_nothing() -> None:
    assert not alert_channel("nonsense://user:hush@somewhere")(alert())
