"""`Idempotency-Key`: a request sent twice is decided once, and answered with the same bytes.

In Redis, for a client's key: first a claim, then the answer. Neither the key nor the body is kept, only keyed
hashes of them: both may hold what nobody should read, and card numbers are few enough to be searched.
"""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from api.errors import BadIdempotencyKey, StillDeciding
from api.metrics import Metrics
from api.shared import NotAsked, Refused, Shared, SharedGone
from fraud_assets.contracts.tokens import TokenKey

PREFIX = b"fraud:idempotency:"
# Longer than the largest batch takes, so that a claim ends only with a process that died on it.
CLAIM_MS = 10_000
# How long the second waits for the first: a caller's own patience.
WAIT_S = 2.0
FIRST_LOOK_S, LAST_LOOK_S = 0.005, 0.05

_CLAIMED, _DONE = b"c", b"d"
_MAC_BYTES = 32
_GOOD = re.compile(r"[\x21-\x7e]{1,128}")

# Ours while it is, also if the claim has run out meanwhile; else what another has answered.
_KEEP = """
local held = redis.call('GET', KEYS[1])
if held == false or held == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return ARGV[2]
end
return held
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Given(NamedTuple):
    """status: `kept`, `replayed`, or `unguarded`: Redis was not there, and a repetition would be decided anew."""

    answer: bytes
    status: str


class Repeats:
    """Answers under the idempotency keys of clients, for `ttl_s`."""

    def __init__(self, shared: Shared, key: TokenKey, ttl_s: int, metrics: Metrics) -> None:
        self._shared = shared
        self._key = key.secret
        self._ttl_ms = ttl_s * 1_000
        self._count = metrics.repeats
        self._under_way: dict[bytes, tuple[bytes, asyncio.Future[Given]]] = {}

    async def once(self, client: str, given: str, body: bytes, decide: Callable[[], Awaitable[bytes]]) -> Given:
        """Raises BadIdempotencyKey, StillDeciding, and what `decide` raises; that is not remembered."""
        if not _GOOD.fullmatch(given):
            raise BadIdempotencyKey("send 1 to 128 visible ASCII characters, such as a UUID")
        name, mac = PREFIX + self._mac(f"{client}\0{given}".encode()), self._mac(body)
        under_way = self._under_way.get(name)
        found = await (self._follow(*under_way, mac) if under_way else self._lead(name, mac, decide))
        self._count.labels(found.status).inc()
        return found

    async def _follow(self, body: bytes, leader: "asyncio.Future[Given]", mac: bytes) -> Given:
        """A storm of repetitions in this process asks Redis once."""
        _check_same(body, mac)
        await asyncio.wait([leader], timeout=WAIT_S)
        if not leader.done() or leader.cancelled():
            raise StillDeciding
        answer, status = leader.result()
        return Given(answer, "replayed" if status == "kept" else status)

    async def _lead(self, name: bytes, mac: bytes, decide: Callable[[], Awaitable[bytes]]) -> Given:
        leader: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._under_way[name] = mac, leader
        try:
            found = await self._once(name, mac, decide)
            leader.set_result(found)
            return found
        except Exception as error:
            leader.set_exception(error)
            leader.exception()  # nobody may have waited for it
            raise
        finally:
            leader.cancel()  # nothing if it is done
            del self._under_way[name]

    async def _once(self, name: bytes, body: bytes, decide: Callable[[], Awaitable[bytes]]) -> Given:
        claim = _CLAIMED + body + secrets.token_bytes(16)
        try:
            answer = await self._claim(name, claim)
        except (NotAsked, Refused):
            return Given(await decide(), "unguarded")
        except SharedGone:
            try:
                return Given(await decide(), "unguarded")
            finally:
                await self._release(name, claim)  # it may have reached a Redis that answers too late
        if answer is not None:
            return Given(answer, "replayed")
        try:
            made = await decide()
        except BaseException:
            await self._release(name, claim)
            raise
        return await self._keep(name, claim, made)

    async def _claim(self, name: bytes, claim: bytes) -> bytes | None:
        """None once the claim is ours, else the answer of whoever has it."""
        deadline_s, pause_s = time.monotonic() + WAIT_S, FIRST_LOOK_S
        while True:
            held: Any = await self._shared.ask(
                lambda: self._shared.client.set(name, claim, nx=True, get=True, px=CLAIM_MS)
            )
            if held is None:
                return None
            _check_same(held[1 : 1 + _MAC_BYTES], claim[1 : 1 + _MAC_BYTES])
            if held[:1] == _DONE:
                return bytes(held[1 + _MAC_BYTES :])
            if time.monotonic() > deadline_s:
                raise StillDeciding
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_LOOK_S)

    async def _keep(self, name: bytes, claim: bytes, made: bytes) -> Given:
        """Before it is sent: an answer that is out and not kept could be answered otherwise."""
        done = _DONE + claim[1 : 1 + _MAC_BYTES] + made
        try:
            held = await self._shared.ask(lambda: self._shared.client.eval(_KEEP, 1, name, claim, done, self._ttl_ms))
        except SharedGone:
            self._give_back(name, claim)
            return Given(made, "unguarded")
        # Another took over a claim that had run out; what it answered is the answer.
        answered = held[:1] == _DONE and held != done and held[1 : 1 + _MAC_BYTES] == done[1 : 1 + _MAC_BYTES]
        return Given(bytes(held[1 + _MAC_BYTES :]), "replayed") if answered else Given(made, "kept")

    async def _release(self, name: bytes, claim: bytes) -> None:
        try:
            await self._shared.ask(lambda: self._shared.client.eval(_RELEASE, 1, name, claim))
        except SharedGone:
            self._give_back(name, claim)

    def _give_back(self, name: bytes, claim: bytes) -> None:
        """A claim that nobody will answer: else whoever asks again waits for it in vain, until it runs out by itself."""
        self._shared.when_back(lambda: self._shared.client.eval(_RELEASE, 1, name, claim))

    def _mac(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, raw, "sha256")


def _check_same(body: bytes, mac: bytes) -> None:
    if not hmac.compare_digest(body, mac):
        raise BadIdempotencyKey("it was used with another body; send a new key, or the same body")
