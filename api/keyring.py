"""The keys that are good now, read again when their file changes: no key needs a restart to come or go."""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog

from api.access import Caller
from api.keys import ApiKey, BadKeys, digest_of, now_utc, read_keys
from api.metrics import EdgeMetrics
from api.tasks import ended

WATCH_S = 1.0

log = structlog.get_logger()


class KeyRing:
    """Callers by their key. A file that cannot be read leaves the keys that were; one that is gone, none."""

    def __init__(self, path: Path, metrics: EdgeMetrics, now: Callable[[], datetime] = now_utc) -> None:
        self._path = path
        self._now = now
        self._metrics = metrics
        self._known: dict[str, tuple[ApiKey, bytes, Caller]] = {}
        self._nobody = secrets.token_bytes(32)
        self._seen: object = ()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Raises BadKeys: a scorer does not begin with keys that nobody can read."""
        self._seen = self._look()
        self._take(read_keys(self._path))
        if not self._known:
            log.warning("no_api_keys", path=str(self._path), fix="python -m api keys new --client NAME --scope score")
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        await ended(self._task)

    def caller(self, credential: str) -> Caller | None:
        """An unknown id costs the same comparison as a wrong secret."""
        key_id, _, secret = credential.partition(".")
        known = self._known.get(key_id)
        matches = hmac.compare_digest(digest_of(secret), known[1] if known else self._nobody)
        if known is None or not matches or not known[0].is_live(self._now()):
            return None
        return known[2]

    def refresh(self) -> None:
        """Read the file if it is another than the last one read."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(read_keys(self._path))
        except BadKeys as error:
            self._metrics.key_reloads.labels("refused").inc()
            log.error("api_keys_refused", detail=str(error), still_known=len(self._known))
            return
        self._metrics.key_reloads.labels("loaded").inc()
        log.info("api_keys_loaded", n=len(self._known))

    def _take(self, keys: list[ApiKey]) -> None:
        self._known = {
            key.id: (
                key,
                bytes.fromhex(key.sha256),
                Caller(key.client, key.id, frozenset(key.scopes), key.rate_per_s),
            )
            for key in keys
        }

    def _look(self) -> object:
        """What changes whenever the file does."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self.refresh()
