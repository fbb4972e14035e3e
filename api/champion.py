"""The model in service, and the watcher that replaces it while requests go on."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from api.contract import Model
from api.metrics import Metrics
from api.tasks import ended
from fraud_assets.models.artifact import Champion, load_champion, read_champion
from fraud_assets.models.manifest import Definitions, RefusedModel
from fraud_assets.models.served import ServedModel
from fraud_assets.models.verifier import Verifier
from fraud_assets.policy.policy import DEFAULT_POLICY, Decider, Policy

WATCH_S = 1.0
# Said of the moment, not of the model: files still being copied, a machine out of memory.
PASSING = frozenset({"unreadable", "parser_hung", "parser_died"})

log = structlog.get_logger()


@dataclass(frozen=True)
class Serving:
    """A model with the policy compiled for its vector and thresholds: swapped as one."""

    model: ServedModel
    decider: Decider

    @classmethod
    def of(cls, model: ServedModel, policy: Policy) -> Self:
        thresholds = model.thresholds
        return cls(model, Decider(policy, model.manifest.feature_names, thresholds.review, thresholds.deny))


class ChampionSlot:
    """`serving` is what requests use: None, or a verified model. A refused model leaves the old one."""

    def __init__(
        self, model_dir: Path, definitions: Definitions, metrics: Metrics, policy: Policy = DEFAULT_POLICY
    ) -> None:
        self.serving: Serving | None = None
        self._model_dir = model_dir
        self._definitions = definitions
        self._metrics = metrics
        self._policy = policy
        self._judged: Champion | None = None
        self._refusal = ""
        self._verifier = Verifier()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is there now, then watch."""
        await asyncio.to_thread(self._verifier.start)
        await self.refresh()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        await ended(self._task)
        await asyncio.to_thread(self._verifier.close)

    async def refresh(self, *, again: bool = False) -> None:
        """Load the champion if it is another than the last one judged; with `again` also if it is not."""
        async with self._lock:
            try:
                champion = read_champion(self._model_dir)
                if champion is None or (champion == self._judged and not again):
                    return
                self._judged = champion
                model = await asyncio.to_thread(
                    load_champion, self._model_dir, champion, self._definitions, self._verifier
                )
            except RefusedModel as refused:
                if refused.reason in PASSING:
                    self._judged = None
                self._refuse(refused)
                return
            self._swap(Serving.of(model, self._policy))

    def info(self) -> Model:
        """For the people who operate it."""
        if self.serving is None:
            return Model(refused=self._refusal)
        model, decider = self.serving.model, self.serving.decider
        return Model(
            model_version=model.version,
            model_sha256=model.sha256,
            created_at_ms=model.manifest.created_at_ms,
            service=model.manifest.service,
            service_digest=model.manifest.service_digest,
            policy_version=decider.version,
            policy_digest=decider.digest,
            review_from=model.thresholds.review,
            deny_from=model.thresholds.deny,
            refused=self._refusal,
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self.refresh()

    def _swap(self, serving: Serving) -> None:
        """One assignment: a request sees the old pair or the new one."""
        self.serving = serving
        self._refusal = ""
        digest = serving.model.manifest.service_digest
        self._metrics.model.clear()
        self._metrics.model.labels(serving.model.version, digest, serving.decider.digest).set(1)
        self._metrics.reloads.labels("loaded").inc()
        log.info("model_loaded", model_version=serving.model.version, service_digest=digest)

    def _refuse(self, refused: RefusedModel) -> None:
        """Said once, not each second."""
        if str(refused) == self._refusal:
            return
        self._refusal = str(refused)
        self._metrics.reloads.labels(refused.reason).inc()
        kept = self.serving.model.version if self.serving else None
        log.error("model_refused", reason=refused.reason, detail=str(refused), still_serving=kept)
