"""The models in service, and the watcher that replaces them while requests go on."""

import asyncio
import dataclasses
from pathlib import Path

import structlog

from api.contract import Model
from api.judge import Lineup, Serving
from api.metrics import Metrics
from api.tasks import ended
from fraud_assets.models.artifact import Champion, load_champion
from fraud_assets.models.manifest import Definitions, RefusedModel
from fraud_assets.models.verifier import Verifier
from fraud_assets.policy.policy import DEFAULT_POLICY, Policy
from fraud_assets.rollout.machine import Rollout
from fraud_assets.rollout.pointer import follow

WATCH_S = 1.0
JOIN_AGAIN_S = 10.0
# Said of the moment, not of the model: files still being copied, a machine out of memory.
PASSING = frozenset({"unreadable", "parser_hung", "parser_died"})

log = structlog.get_logger()


class LineupSlot:
    """`lineup` is what requests use: None, or verified models. A refused one leaves the old ones; a refused challenger, the champion alone."""

    def __init__(
        self, model_dir: Path, definitions: Definitions, metrics: Metrics, policy: Policy = DEFAULT_POLICY
    ) -> None:
        self.lineup: Lineup | None = None
        self._model_dir = model_dir
        self._definitions = definitions
        self._metrics = metrics
        self._policy = policy
        self._judged: Rollout | None = None
        self._loaded: dict[Champion, Serving] = {}
        self._refusal = ""
        self._challenger_refusal = ""
        self._verifier = Verifier()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None

    @property
    def champion(self) -> Serving | None:
        return self.lineup.champion if self.lineup else None

    async def start(self) -> None:
        """Load what is there now, then watch."""
        await asyncio.to_thread(self._verifier.start)
        await self.refresh()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        await ended(self._task, self._joining)
        await asyncio.to_thread(self._verifier.close)

    async def refresh(self, *, again: bool = False) -> None:
        """Load what the pointer names if it is another than the last one judged; with `again` also if it is not."""
        async with self._lock:
            rollout = None
            try:
                rollout = await asyncio.to_thread(follow, self._model_dir)
                if rollout.champion is None or (rollout == self._judged and not again):
                    return
                self._judged = rollout
                champion = await self._load(rollout.champion, again=again)
            except (RefusedModel, OSError) as error:
                self._refuse(error if isinstance(error, RefusedModel) else RefusedModel("unreadable", str(error)))
                self._end_trial_of_before(rollout)
                return
            # At once, with a challenger that is here already; one that is not joins when it is verified, however long that takes.
            beside = rollout.beside
            self._swap(Lineup(rollout, champion, self._loaded.get(beside) if beside else None))
            await ended(self._joining)
            self._joining = None
            if beside is not None and self.lineup is not None and self.lineup.challenger is None:
                self._joining = asyncio.get_running_loop().create_task(self._join(rollout, beside))

    async def _join(self, rollout: Rollout, named: Champion) -> None:
        """Verify a challenger, in a child of its own, and let it join what serves. What is said of the moment is tried again."""
        while True:
            try:
                model = await asyncio.to_thread(load_champion, self._model_dir, named, self._definitions)
                break
            except RefusedModel as refused:
                if str(refused) != self._challenger_refusal:
                    self._metrics.reloads.labels("challenger_refused").inc()
                    log.error("challenger_refused", detail=str(refused))
                self._challenger_refusal = str(refused)
                if refused.reason not in PASSING:
                    return
                await asyncio.sleep(JOIN_AGAIN_S)
        self._loaded[named] = joined = Serving.of(model, self._policy)
        if self.lineup is not None and self.lineup.rollout == rollout:
            self._swap(dataclasses.replace(self.lineup, challenger=joined))

    def _end_trial_of_before(self, rollout: Rollout | None) -> None:
        """A challenger that the pointer no longer names decides nothing more, though the new champion is refused."""
        old = self.lineup
        if rollout is not None and old is not None and old.challenger and rollout.beside != old.rollout.beside:
            self.lineup = dataclasses.replace(old, challenger=None)

    async def _load(self, named: Champion, *, again: bool) -> Serving:
        """Raises RefusedModel. Who was challenger a moment ago, or champion, is here already."""
        if again or named not in self._loaded:
            model = await asyncio.to_thread(load_champion, self._model_dir, named, self._definitions, self._verifier)
            self._loaded[named] = Serving.of(model, self._policy)
        return self._loaded[named]

    def info(self) -> Model:
        """For the people who operate it."""
        if self.lineup is None:
            return Model(refused=self._refusal)
        rollout, challenger = self.lineup.rollout, self.lineup.challenger
        model, decider = self.lineup.champion.model, self.lineup.champion.decider
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
            rollout_sequence=rollout.sequence,
            rollout_phase=rollout.phase.value,
            challenger_version=challenger.model.version if challenger else "",
            challenger_share=rollout.share,
            challenger_refused=self._challenger_refusal,
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self.refresh()

    def _swap(self, lineup: Lineup) -> None:
        """One assignment: a request sees the old lineup or the new one."""
        self.lineup = lineup
        self._refusal = self._challenger_refusal = ""
        named = (lineup.rollout.champion, lineup.rollout.challenger, lineup.rollout.previous)
        self._loaded = {one: serving for one, serving in self._loaded.items() if one in named}
        self._tell(lineup)

    def _tell(self, lineup: Lineup) -> None:
        model, rollout = lineup.champion.model, lineup.rollout
        challenger = lineup.challenger.model.version if lineup.challenger else ""
        digest = model.manifest.service_digest
        self._metrics.model.clear()
        self._metrics.model.labels(model.version, digest, lineup.champion.decider.digest).set(1)
        self._metrics.rollout.clear()
        self._metrics.rollout.labels(rollout.phase.value, model.version, challenger).set(rollout.sequence)
        self._metrics.reloads.labels("loaded").inc()
        log.info(
            "model_loaded", model_version=model.version, service_digest=digest, phase=rollout.phase.value,
            challenger_version=challenger, share=rollout.share,
        )  # fmt: skip

    def _refuse(self, refused: RefusedModel) -> None:
        """Said once, not each second."""
        if refused.reason in PASSING:
            self._judged = None
        if str(refused) == self._refusal:
            return
        self._refusal = str(refused)
        self._metrics.reloads.labels(refused.reason).inc()
        kept = self.lineup.champion.model.version if self.lineup else None
        log.error("model_refused", reason=refused.reason, detail=str(refused), still_serving=kept)
