"""A scorer that decides by amount over real HTTP, as slow or as broken as a test wants."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class FakeApi:
    """Serves `POST /predict` on a free loopback port. `status`, `delay_s` and `garbage` break it.

    idle_s: connections that wait longer for a request are closed. connections: how many there were.
    """

    status: int = 200
    delay_s: float = 0.0
    garbage: bool = False
    close_each: bool = False
    idle_s: float | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def __aenter__(self) -> "FakeApi":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                async with asyncio.timeout(self.idle_s):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = int(
                    next(line for line in head.split("\r\n") if line.lower().startswith("content-length"))[15:]
                )
                body = msgspec.json.decode(await reader.readexactly(length))
                self.requests.extend(body["transactions"])
                await asyncio.sleep(self.delay_s)
                writer.write(self._answer(body["transactions"]))
                if self.close_each:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        writer.close()

    def _answer(self, transactions: list[dict[str, object]]) -> bytes:
        body = (
            b"<html>" if self.garbage else msgspec.json.encode({"decisions": [_decided(one) for one in transactions]})
        )
        close = "Connection: close\r\n" if self.close_each else ""
        return f"HTTP/1.1 {self.status} X\r\n{close}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _decided(transaction: dict[str, object]) -> dict[str, object]:
    """Large amounts are denied; the answer has fields a simulator does not know."""
    deny = int(str(transaction["amount_minor"])) > 30_000
    return {
        "transaction_id": transaction["transaction_id"],
        "fraud_score": 0.9 if deny else 0.1,
        "is_fraud": deny,
        "decision": "deny" if deny else "approve",
        "reason_codes": ["LARGE_AMOUNT"] if deny else [],
        "model_version": "fake-1",
        "degraded_reasons": [],
    }


if __name__ == "__main__":

    async def main() -> None:
        async with FakeApi() as api:
            print(api.url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
