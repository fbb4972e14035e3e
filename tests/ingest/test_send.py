"""Labels from files: into the lake as history, or to the broker of a platform that runs."""

import uuid
from pathlib import Path

import pytest

from deploy.local.topics import ensure_topics
from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.events import Label, LabelSource
from fraud_assets.ingest.__main__ import main
from fraud_assets.ingest.send import NotSent, send_labels
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events
from tests.streaming.live import Log

MAPPING = """
[transactions]
table = "labels"
identity = ["label_id"]

[transactions.columns]
label_id = { from = "case", prefix = "cb-" }
transaction_id = "order"
account_id = "customer"
event_time_ms = { from = "notified", as = "time" }
source = { value = "chargeback" }
is_fraud = { from = "fraud", as = "flag" }
"""
HEADER = "case,order,customer,notified,fraud"
OCTOBER_3 = 1_790_985_600_000


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "chargebacks.toml"
    path.write_text(MAPPING)
    return str(path)


def file_of(folder: Path, *lines: str) -> str:
    path = folder / "chargebacks.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return str(path)


def expected(case: str) -> Label:
    return Label(
        label_id=f"cb-{case}", transaction_id="order-1", account_id="anna", event_time_ms=OCTOBER_3,
        source=LabelSource.CHARGEBACK, is_fraud=True,
    )  # fmt: skip


def test_a_file_of_chargebacks_becomes_labels_of_the_lake(tmp_path: Path, var_dir: Path, mapping: str) -> None:
    """A time that is none is refused alone, with its line."""
    file = file_of(tmp_path, "17,order-1,anna,2026-10-03T00:00:00,yes", "18,order-2,bert,never,no")

    assert main(["--mapping", mapping, file]) == 0

    rows = Lake(var_dir / "lake").scan("labels")
    assert to_events(Label, rows) == [expected("17")]
    assert rows["ingested_at_ms"].to_pylist() == [OCTOBER_3]
    (rejects,) = (var_dir / "ingest").glob("*.csv")
    assert "event_time_ms: not readable as time" in rejects.read_text()


def test_a_sent_file_is_in_the_log_as_the_scorer_would_have_put_it_there(
    tmp_path: Path, var_dir: Path, mapping: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker)
    ensure_topics(broker, [topics.LABELS])
    case = uuid.uuid4().hex
    file = file_of(tmp_path, f"{case},order-1,anna,2026-10-03T00:00:00,yes", f"{case}-2,order-2,bert,never,no")

    assert main(["--mapping", mapping, file, "--send"]) == 0

    ours = [record for record in Log(broker).read(topics.LABELS.name) if record.value and case.encode() in record.value]
    assert [(record.key, record.value) for record in ours] == [(b"anna", codec.encode(expected(case)))]
    assert not (var_dir / "lake").exists()
    assert len(list((var_dir / "ingest").glob("*.csv"))) == 1


def test_a_file_is_sent_only_if_it_holds_labels(
    tmp_path: Path, var_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--mapping", "handbook", str(tmp_path / "any.csv"), "--send"])

    assert code == 2
    assert "--send is for labels, and handbook fills handbook_transactions" in " ".join(capsys.readouterr().err.split())


def test_without_a_broker_the_sender_is_told_to_send_again(no_broker: str) -> None:
    with pytest.raises(NotSent, match=r"1 of 1 labels: .* Send the file again"):
        send_labels(no_broker, [expected("17")], within_s=0.3)
