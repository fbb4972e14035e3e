"""A rollout with decisions and label facts in a lake, for tests of its guard."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fraud_assets.contracts.events import Category, Decision, LabelFact
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import champion_of, publish_champion, write_artifact
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import BeginShadow, Plan, Step
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.training.gathered import Place
from fraud_assets.training.guarded import Looked, look
from fraud_assets.training.trial import FOLLOWED_MS
from tests.models.made import Trained

T0 = 1_790_000_000_000 // DAY_MS * DAY_MS
PLAN = Plan(shadow_ms=DAY_MS, canary_ms=DAY_MS, watch_ms=DAY_MS)
LABEL_DELAY_DAYS = 2


def decision(number: int, at_ms: int, score: float, shadow: dict[str, float], **changed: object) -> Decision:
    """Of v1, an approval; one for each number."""
    usual = Decision(
        event_time_ms=at_ms,
        decision_id=f"d{number}",
        transaction_id=f"t{number}",
        account_id="a1",
        request={},
        decided_at_ms=at_ms,
        service="fraud_scoring",
        service_digest="",
        policy_digest="",
        model_version="v1",
        model_sha256="",
        epoch="e1",
        states=[],
        fraud_score=score,
        shadow_scores=shadow,
        action="deny" if score >= 0.8 else "approve",
        reason_codes=[],
        degraded_reasons=[],
        latency_ms=1.0,
    )
    return msgspec.structs.replace(usual, **changed)


def fact(number: int, known_ms: int, *, is_fraud: bool, sign: int = 1) -> LabelFact:
    return LabelFact(
        event_time_ms=known_ms,
        fact_id=f"f{number}{is_fraud}{sign}",
        transaction_id=f"t{number}",
        account_id="a1",
        event_id="e",
        promoter_id="p",
        device_id="d",
        ip_token="i",
        category=next(iter(Category)),
        amount_minor=5_000,
        is_fraud=is_fraud,
        sign=sign,
    )


@dataclass
class Trial:
    """v1 is champion, v2 began a shadow at T0. place: where the last look came to."""

    settings: Settings
    log: PromotionLog
    lake: Lake
    place: Place | None = None
    written: int = field(default=0)

    @classmethod
    def made(cls, var: Path, trained: Trained, **settings: object) -> "Trial":
        settings = {"label_delay_days": LABEL_DELAY_DAYS, "rollout_min_payments": 100, **settings}
        found = Settings(var_dir=var, **settings)  # type: ignore[arg-type]
        for version in ("v1", "v2"):
            write_artifact(found.model_dir / version, trained.booster_json, trained.manifest(version))
        publish_champion(found.model_dir, "v1")
        made = cls(found, PromotionLog(found.model_dir), Lake(found.lake_uri))
        challenger = champion_of(found.model_dir, "v2")
        made.move(BeginShadow(at_ms=T0, who="a test", why="a test", challenger=challenger, plan=PLAN))
        return made

    @staticmethod
    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    def move(self, step: Step) -> None:
        self.log.move(self.log.settle(step.at_ms), step)

    def decided(self, decisions: Sequence[Decision], partition: int = 0) -> None:
        """As the sink writes a batch of one partition."""
        self._append("decisions", Decision, decisions, partition)

    def labelled(self, facts: Sequence[LabelFact], partition: int = 0) -> None:
        self._append("label_facts", LabelFact, facts, partition)

    def _append(self, table: str, kind: type, events: Sequence[Decision] | Sequence[LabelFact], partition: int) -> None:
        at = [
            LogPosition(one.event_time_ms, f"{table}.v1", partition, self.written + place)
            for place, one in enumerate(events)
        ]
        name = append_name(f"{table}.v1", partition, self.written, "writer")
        self.lake.append(table, from_events(kind, events, at), name)
        self.written += len(events)

    def look(self, at_ms: int) -> Looked:
        """The place goes through JSON, as a cursor does."""
        found = look(self.log, self.place, self.lake, f"{self.settings.var_dir}/training", self.settings, at_ms)
        self.place = msgspec.json.decode(msgspec.json.encode(found.place), type=Place | None)
        return found

    def seen(self, test: str) -> int:
        assert self.place is not None
        return self.place.gathered.tests[test].n


def calm(count: int, first: int = 0, at_ms: int = T0 + FOLLOWED_MS) -> list[Decision]:
    """Payments that both let through."""
    return [decision(first + n, at_ms + n, 0.01, {"v2": 0.02}) for n in range(count)]
