"""MLflow's alias `champion`, followed: whoever moves it there, on its page too, moves the scorers.

What the alias names is brought to the model folder, verified, and only then made its champion, by a step of the promotion log, which
`api/lineup.py` follows. Only a move counts, and none back to what was halted or rolled back last: MLflow is told of a rollback
after everybody else, and until then still names what had to go. MLflow that is slow, gone or wrong costs nothing
but news of it: the folder holds what was verified last.
"""

import asyncio
import contextlib
import time
from enum import StrEnum
from typing import Any, NamedTuple

import httpx
import structlog

from api.lineup import PASSING
from api.metrics import Metrics
from api.settings import ApiSettings
from api.tasks import ended
from fraud_assets.models.artifact import (
    MAX_FILE_BYTES,
    install_artifact,
    load_champion,
    read_champion,
    replace_file,
)
from fraud_assets.models.manifest import MANIFEST_FILE, Definitions, RefusedModel, parse_manifest
from fraud_assets.rollout.log import BrokenLog, Busy, Overtaken, PromotionLog
from fraud_assets.rollout.machine import Appoint, ended_by
from fraud_assets.rollout.standing import CHAMPION, MODEL_NAME

SEEN_FILE = "registry_alias"
# Of each part of an answer. A scorer that is told to stop waits for it.
ANSWER_WITHIN_S = 3.0
# What MLflow serves itself; a scorer holds no keys to the stores behind it.
SERVED = "mlflow-artifacts:/"

# What MLflow says while there is no such model, and while nothing has the alias.
NOBODY = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})

log = structlog.get_logger()


class Look(StrEnum):
    """What a look at the alias found."""

    UNCHANGED = "unchanged"
    NONE = "none"
    BROUGHT = "brought"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class Named(NamedTuple):
    """What the alias names. number: MLflow's own; version: ours."""

    number: str
    version: str


class MlflowModels:
    """The few questions of MLflow's REST API that a scorer has. Raises httpx.HTTPError, RefusedModel."""

    def __init__(self, settings: ApiSettings) -> None:
        self._client = httpx.Client(
            base_url=settings.mlflow_tracking_uri,
            timeout=ANSWER_WITHIN_S,
            auth=_auth(settings),
            headers=_headers(settings),
        )

    def close(self) -> None:
        self._client.close()

    def named(self) -> Named | None:
        """None while nothing has the alias."""
        asked = {"name": MODEL_NAME, "alias": CHAMPION}
        answer = self._client.get("/api/2.0/mlflow/registered-models/alias", params=asked)
        if answer.is_client_error and _code(answer) in NOBODY:
            return None
        found = _json(answer)["model_version"]
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return Named(str(found["version"]), tags.get("model_version", ""))

    def artifact(self, number: str) -> tuple[bytes, dict[str, bytes]]:
        """(manifest, the files it names)."""
        asked = {"name": MODEL_NAME, "version": number}
        place = _json(self._client.get("/api/2.0/mlflow/model-versions/get-download-uri", params=asked))["artifact_uri"]
        if not place.startswith(SERVED):
            scheme = place.partition(":")[0]
            raise RefusedModel(
                "not_served", f"MLflow keeps version {number} in {scheme}; start it with --artifacts-destination"
            )
        manifest = self._file(place, MANIFEST_FILE)
        return manifest, {name: self._file(place, name) for name in parse_manifest(manifest).files}

    def _file(self, place: str, name: str) -> bytes:
        path = place.removeprefix(SERVED).strip("/")
        raw = bytearray()
        with self._client.stream("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}/{name}") as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                raw += part
                if len(raw) > MAX_FILE_BYTES:
                    raise RefusedModel("oversized", f"{name} has more than {MAX_FILE_BYTES} bytes")
        return bytes(raw)


class AliasFollower:
    """Looks now and then; a look takes milliseconds of another thread, one that brings a model some seconds."""

    def __init__(self, settings: ApiSettings, definitions: Definitions, metrics: Metrics) -> None:
        self._models = MlflowModels(settings)
        self._model_dir = settings.model_dir
        self._every_s = settings.registry_watch_s
        self._definitions = definitions
        self._reads = metrics.alias_reads
        self._refused: Named | None = None
        self._last: Look | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow. Nobody waits for MLflow."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        await ended(self._task)
        self._models.close()

    async def _follow(self) -> None:
        while True:
            found = await asyncio.to_thread(self.look)
            self._reads.labels(found).inc()
            self._last = found
            await asyncio.sleep(self._every_s)

    def look(self) -> Look:
        """Ask once, and bring what has come to be named. Never raises for MLflow's sake or a model's."""
        named = None
        try:
            named = self._models.named()
            if named is None:
                return Look.NONE
            if named.number == self._seen() or named == self._refused:
                return Look.UNCHANGED
            if not self._bring(named):
                return Look.UNCHANGED
        except (Overtaken, Busy):
            return Look.UNCHANGED  # somebody takes a step at this moment: the next look sees what came of it
        except (RefusedModel, BrokenLog) as refused:
            if isinstance(refused, BrokenLog) or refused.reason not in PASSING:
                self._refused = named
            log.error("registry_alias_refused", detail=str(refused))
            return Look.REFUSED
        except (httpx.HTTPError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            if self._last is not Look.UNREACHABLE:  # said once, not at each look
                log.warning("registry_unreachable", detail=f"{type(error).__name__}: {error}"[:200])
            return Look.UNREACHABLE
        log.info("registry_alias_followed", model_version=named.version, mlflow_version=named.number)
        return Look.BROUGHT

    def _bring(self, named: Named) -> bool:
        """To the folder, verified as a scorer does, and then champion; False if it is what was just thrown out.

        Raises RefusedModel, httpx.HTTPError, and what `PromotionLog.move` does.
        """
        if self._champion() != named.version:
            promotions = PromotionLog(self._model_dir)
            seen = promotions.settle(_now_ms())
            if _thrown_out_last(promotions) == named.version:
                self._note(named.number)
                return False
            manifest, files = self._models.artifact(named.number)
            brought = install_artifact(self._model_dir, manifest, files)
            if brought.version != named.version:
                raise RefusedModel(
                    "other_version",
                    f"MLflow's version {named.number} holds {brought.version}, and is tagged {named.version!r}",
                )
            load_champion(self._model_dir, brought, self._definitions)
            why = f"the alias {CHAMPION} was moved to version {named.number}"
            promotions.move(seen, Appoint(at_ms=_now_ms(), who="mlflow", why=why, champion=brought))
        self._note(named.number)
        return True

    def _champion(self) -> str:
        """The folder's, or nothing where there is none or its file is no pointer."""
        with contextlib.suppress(RefusedModel):
            if (champion := read_champion(self._model_dir)) is not None:
                return champion.version
        return ""

    def _seen(self) -> str:
        try:
            return (self._model_dir / SEEN_FILE).read_text()
        except FileNotFoundError:
            return ""

    def _note(self, number: str) -> None:
        replace_file(self._model_dir / SEEN_FILE, number.encode())


def follower(settings: ApiSettings, definitions: Definitions, metrics: Metrics) -> AliasFollower | None:
    """None where there is no server to ask: a run on SQLite moves the folder's champion itself."""
    is_server = settings.mlflow_tracking_uri.startswith(("http://", "https://"))
    return AliasFollower(settings, definitions, metrics) if is_server and settings.registry_watch_s else None


def _code(answer: httpx.Response) -> str:
    """MLflow's word for what is wrong; nothing where somebody else answered."""
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return str(answer.json().get("error_code", "")) if is_json else ""


def _thrown_out_last(promotions: PromotionLog) -> str:
    """The version that the newest step threw out, if it did so."""
    steps = promotions.entries()[-2:]
    gone = ended_by(steps[1].step, steps[0].rollout) if len(steps) == 2 else None
    return gone.version if gone else ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _json(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


def _auth(settings: ApiSettings) -> tuple[str, str] | None:
    if not (settings.registry_user and settings.registry_password):
        return None
    return settings.registry_user, settings.registry_password.get_secret_value()


def _headers(settings: ApiSettings) -> dict[str, str]:
    token = settings.registry_token
    return {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
