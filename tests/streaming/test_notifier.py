"""Who asked to be told is told, at least once and under one id; of a person nothing leaves but ids, the amount and reasons."""

import email
import json
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DEAD_LETTERS, DECISIONS
from fraud_assets.monitoring.channels import ID_HEADER
from streaming.core.notices import BadRules, notices, read_rules
from streaming.core.records import Headers, Record, Refusal, Send
from streaming.edges.targets import Targets
from streaming.notifier import NotifySink
from tests.contracts.test_chain import decision as any_decision
from tests.streaming.events import T0, record
from tests.streaming.live import Log, Worker, wait_for

REQUEST = {
    "amount_minor": 24_000, "currency": "EUR", "ip_token": "dev:1f", "card_token": "dev:c4", "email_token": "dev:e2",
    "user_agent": "Mozilla", "billing_country": "DE", "device_id": "annas-phone",
}  # fmt: skip
ALLOWED = {
    "notification_id", "decision", "decision_id", "transaction_id", "account_id", "amount_minor", "currency", "reason_codes",
    "event_time_ms",
}  # fmt: skip
APPRISES_OWN = {"version", "title", "message", "attachments", "type"}


def decision(number: int = 1, **changes: object) -> Decision:
    usual = {"action": "deny", "reason_codes": ["CARD_TESTING", "MANY_CARDS"], "request": REQUEST, "decided_at_ms": T0}
    return any_decision(number, **usual | changes)


def rule(*urls: str, **fields: Any) -> str:
    """A [[notify]] of the file."""
    values = {"name": "ops", "urls": list(urls) or ["json://127.0.0.1/"]} | fields
    return "[[notify]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


class Hook(ThreadingHTTPServer):
    """A webhook's receiver. refusals: how many posts it refuses first. gate: while it is closed, nobody is answered. answer: to those it takes."""

    daemon_threads = True

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Posts)
        self.refusals = refusals
        self.asked = 0
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.paths: list[str] = []
        self.answer = b""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/hook?+X-Secret=hush"

    def ids(self) -> set[str]:
        return {one["notification_id"] for one in self.taken}


class _Posts(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        self.server.gate.wait(30)
        is_refused = self.server.asked <= self.server.refusals
        if not is_refused:
            self.server.taken.append(body)
            self.server.headers.append(dict(self.headers))
            self.server.paths.append(self.path)
        said = b"" if is_refused else self.server.answer
        self.send_response(503 if is_refused else 200 if said else 204)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's word
        """Not on the test's output."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        yield server
        server.gate.set()
        server.shutdown()


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's word
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 taken"


@pytest.fixture
def mailbox(free_port: int) -> Iterator[tuple[Mailbox, str]]:
    """A mail server, and the URL of a mailbox there."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port)
    controller.start()
    yield box, f"mailto://127.0.0.1:{free_port}?from=fraud@shop.example&to=ops@shop.example&mode=insecure"
    controller.stop()


class Letters:
    """The producer, with what it was given."""

    def __init__(self) -> None:
        self.sent: list[Send] = []
        self.is_flushed = False

    def send(self, records: Any) -> None:
        self.sent += records

    def flush(self) -> None:
        self.is_flushed = True

    def said(self) -> list[tuple[bytes | None, bytes | None]]:
        return [(dict(one.headers)["reason"], dict(one.headers)["field"]) for one in self.sent]


def sink(file: str, letters: Letters, attempts: int = 3, now_ms: int = T0) -> NotifySink:
    rules = read_rules(file.encode())
    return NotifySink(rules, Targets(rules, attempts, 0.001), letters, 3_600_000, lambda: now_ms)


def told(file: str, *decisions: Decision, **options: Any) -> Letters:
    """One checkpoint of these decisions."""
    return told_of(file, *(record(one, offset) for offset, one in enumerate(decisions)), **options)


def told_of(file: str, *records: Record, **options: Any) -> Letters:
    letters = Letters()
    made = sink(file, letters, **options)
    for one in records:
        made.take(one)
    made.flush()
    assert letters.is_flushed
    return letters


def test_a_webhook_gets_ids_amount_and_reasons_and_nothing_else_of_a_person(hook: Hook) -> None:
    """Not the network, the card, the mail address, the device or the browser, not even as tokens."""
    letters = told(rule(hook.url), decision())

    (posted,), (headers,) = hook.taken, hook.headers
    assert set(posted) - APPRISES_OWN == ALLOWED
    assert (posted["decision"], posted["transaction_id"], posted["account_id"]) == ("deny", "t1", "a1")
    assert (posted["amount_minor"], posted["currency"]) == ("24000", "EUR")
    assert posted["reason_codes"] == "CARD_TESTING MANY_CARDS"
    assert (headers[ID_HEADER], headers["X-Secret"]) == (posted["notification_id"], "hush")
    assert [value for value in ("dev:", "Mozilla", "annas-phone") if value in json.dumps(posted)] == []
    assert letters.sent == []


def test_a_mailbox_gets_the_same_as_a_text(mailbox: tuple[Mailbox, str]) -> None:
    box, url = mailbox

    letters = told(rule(url), decision())

    (mail,) = box.mails
    text = "".join(part.get_payload(decode=True).decode() for part in mail.walk() if not part.is_multipart())
    assert (mail["To"], mail["Subject"]) == ("ops@shop.example", "Payment t1: deny")
    for line in (
        "transaction_id: t1",
        "amount_minor: 24000",
        "reason_codes: CARD_TESTING MANY_CARDS",
        "notification_id: ",
    ):
        assert line in text
    assert letters.sent == []


def test_a_phone_gets_the_same_as_an_sms(hook: Hook) -> None:
    """Through the HTTP interface of an SMS gateway, as Apprise calls it: to the number, with the gateway's token; one that refuses is
    asked again. A webhook's secret fields and headers are not in it.
    """
    hook.answer, hook.refusals = b'{"result": [{"message_id": 1, "status": "ok"}]}', 1

    letters = told(rule(f"smseagle://gateway-token@127.0.0.1:{hook.server_port}/+491701234567"), decision())

    (posted,), (path,) = hook.taken, hook.paths
    assert (path, posted["method"], hook.asked) == ("/jsonrpc/sms", "sms.send_sms", 2)
    sms = posted["params"]
    assert (sms["to"], sms["access_token"], sms["message_type"]) == ("+491701234567", "gateway-token", "sms")
    said = [line for line in sms["message"].replace("\r", "").splitlines() if ": " in line]
    assert {line.partition(": ")[0] for line in said} - ALLOWED == {"Payment t1"}
    assert {"transaction_id: t1", "amount_minor: 24000", "reason_codes: CARD_TESTING MANY_CARDS"} <= set(said)
    assert letters.sent == []


def test_a_gateway_that_takes_no_sms_costs_its_notice(hook: Hook) -> None:
    """It answers 200, and says in the body that it did not."""
    hook.answer = b'{"result": [{"message_id": 1, "status": "error"}]}'

    letters = told(rule(f"smseagle://gateway-token@127.0.0.1:{hook.server_port}/+491701234567"), decision())

    assert (hook.asked, letters.said()) == (3, [(Refusal.NOT_NOTIFIED.encode(), b"ops/0")])


@pytest.mark.parametrize(
    ("fields", "changes", "is_told"),
    [
        ({}, {}, True),
        ({}, {"action": "review"}, True),
        ({}, {"action": "approve"}, False),
        ({"actions": ["deny"]}, {"action": "review"}, False),
        ({"actions": ["approve"]}, {"action": "approve"}, True),
        ({"accounts": ["box-*", "a1"]}, {}, True),
        ({"accounts": ["box-*"]}, {}, False),
        ({"accounts": ["box-*"]}, {"account_id": "box-7"}, True),
        ({"min_amount_minor": 24_000}, {}, True),
        ({"min_amount_minor": 24_001}, {}, False),
    ],
)
def test_a_rule_says_who_is_told_of_what(fields: dict[str, Any], changes: dict[str, Any], is_told: bool) -> None:
    rules = read_rules(rule(**fields).encode())

    assert bool(list(notices(rules, decision(**changes)))) is is_told


@pytest.mark.parametrize(
    ("headers", "is_told"),
    [([("client", b"shop")], True), ([("client", b"shop-2")], False), ([("client", None)], False), ([], False)],
)
def test_a_client_is_told_of_its_own_decisions_alone(hook: Hook, headers: Headers, is_told: bool) -> None:
    """Who asked is in the record's headers; a decision without is nobody's. A rule without a client takes all."""
    with Hook() as team:
        letters = told_of(
            rule(hook.url, client="shop") + rule(team.url, name="team"), record(decision(), headers=headers)
        )
        team.shutdown()

    assert (len(hook.taken), len(team.taken), letters.sent) == (is_told, 1, [])


def test_an_id_is_a_targets_and_a_decisions_and_the_same_again() -> None:
    rules = read_rules(rule("json://one/", "json://two/").encode())

    first, again, other = ([one.id for one in notices(rules, decision(number))] for number in (1, 1, 2))

    assert first == again
    assert len({*first, *other}) == 4


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("[[notify]]\nname = 'ops'\n", "urls"),
        (rule("nonsense://secret@place/"), "url 0 of ops"),
        (rule() + rule(), "ops: names"),
        (rule(actions=["explode"]), "actions"),
        (rule(action=["deny"]), "action"),
        (rule(urls=[]), "urls"),
    ],
)
def test_a_file_that_cannot_be_followed_stops_the_start(file: str, said: str) -> None:
    """And the message repeats no URL: it is a secret."""
    with pytest.raises(BadRules, match=said) as refused:
        Targets(read_rules(file.encode()), 1, 0.1)

    assert "secret" not in str(refused.value)


def test_a_target_that_refuses_is_asked_again(hook: Hook) -> None:
    hook.refusals = 2

    letters = told(rule(hook.url), decision())

    assert (hook.asked, len(hook.taken), letters.sent) == (3, 1, [])


def test_a_target_that_goes_on_refusing_costs_its_notice_and_nobody_elses(hook: Hook) -> None:
    """A dead letter with the decision's own bytes, the reason and the target's name, without its URL."""
    with Hook(refusals=10**6) as broken:
        letters = told(rule(broken.url, hook.url), decision())
        broken.shutdown()

    assert (broken.asked, len(hook.taken)) == (3, 1)
    assert letters.said() == [(Refusal.NOT_NOTIFIED.encode(), b"ops/0")]
    assert letters.sent[0].value == encode(decision())
    assert b"hush" not in b"".join(value or b"" for _, value in letters.sent[0].headers)
    assert str(broken.server_port).encode() not in b"".join(value or b"" for _, value in letters.sent[0].headers)


def test_a_target_that_is_gone_is_left_alone_for_a_while() -> None:
    """Each notice becomes a dead letter; only the first few wait for their attempts."""
    with Hook(refusals=10**6) as broken:
        made = sink(rule(broken.url), letters := Letters())
        for offset in range(3):
            made.take(record(decision(offset), offset))
            made.flush()
        broken.shutdown()

    assert broken.asked == 3
    assert len(letters.sent) == 3


def test_old_decisions_and_what_is_none_are_nobodys_news(hook: Hook) -> None:
    letters = Letters()
    made = sink(rule(hook.url), letters, now_ms=T0 + 3_600_001)

    made.take(record(decision()))
    made.take(Record(DECISIONS.name, 0, 1, T0, b"a1", b"{"))
    made.take(Record(DECISIONS.name, 0, 2, T0, b"a1", None))
    made.flush()

    assert (hook.taken, letters.sent) == ([], [])


def test_many_are_told_before_more_is_read(hook: Hook) -> None:
    """Slow targets must not hold a checkpoint for minutes."""
    made = sink(rule(hook.url), Letters())

    for offset in range(64):
        made.take(record(decision(offset), offset))

    assert len(hook.ids()) == 64


@pytest.mark.e2e
def test_a_killed_notifier_loses_nothing(broker: str, valkey_server: str, hook: Hook, tmp_path: Path) -> None:
    """SIGKILL with notices under way and more unread: its successor tells all of them, those again under their ids."""
    account = f"n-{uuid.uuid4().hex[:8]}"
    file = tmp_path / "notify.toml"
    file.write_text(rule(hook.url, accounts=[account]))
    ensure_platform_topics(broker)
    log, now_ms = Log(broker), time.time_ns() // 1_000_000
    made = [decision(n, account_id=account, decision_id=f"{account}-{n}", decided_at_ms=now_ms) for n in range(150)]
    expected = {one.id for each in made for one in notices(read_rules(file.read_bytes()), each)}
    worker = Worker(
        {
            "KAFKA_BOOTSTRAP_SERVERS": broker, "REDIS_URL": valkey_server, "FRAUD_VAR_DIR": str(tmp_path / "var"),
            "FRAUD_NOTIFICATIONS_FILE": str(file), "FRAUD_WORKER_ID": account,
        },
        tmp_path / "worker.log",
    )  # fmt: skip
    hook.gate.clear()
    worker.start()
    try:
        for one in made:
            log.send(DECISIONS.name, account.encode(), encode(one))
        log.flush()
        wait_for(lambda: hook.asked > 0, "the first notices are under way")

        worker.kill_one("notifier")
        hook.gate.set()
        wait_for(lambda: hook.ids() >= expected, "all are told")
        wait_for(lambda: log.has_caught_up("fraud-worker-notify", [DECISIONS.name]), "and committed")
    finally:
        worker.kill()

    assert hook.ids() == expected
    assert len(hook.taken) > len(expected), "nobody was told again, so nothing was under way when it was killed"
    letters = [dict(one.headers) for one in log.read(DEAD_LETTERS.name)]
    assert [one for one in letters if one.get("reason") == Refusal.NOT_NOTIFIED.encode()] == []


def test_the_file_of_the_handbook_can_be_followed(root: Path) -> None:
    """docs/operations.md shows it."""
    section = (root / "docs" / "operations.md").read_text().split("## Who is told of a decision\n")[1].split("\n## ")[0]
    file = "\n".join(line.strip() for line in section.splitlines() if line.startswith("    "))

    rules = read_rules(file.encode())

    Targets(rules, 1, 0.1)
    assert [rule.name for rule in rules.notify] == ["fraud-ops", "box-office"]
