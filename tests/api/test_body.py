"""A request's body: what came, in order, up to its bound."""

import asyncio
from typing import Any

import pytest
from litestar.exceptions import ClientException, HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from api.body import body_of
from api.errors import BodyCutOff

LEAVES = {"type": "http.disconnect"}


def read(*messages: dict[str, Any], announced: bytes | None = None, max_bytes: int = 8) -> tuple[object, int]:
    """(the body or the refusal, how many messages were left unread)."""
    coming = list(messages)

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    scope = {"headers": [] if announced is None else [(b"host", b"us"), (b"content-length", announced)]}
    try:
        return asyncio.run(body_of(scope, receive, max_bytes)), len(coming)
    except HTTPException as refused:
        return type(refused), len(coming)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("announced", [None, b"8"])
def test_a_body_is_all_its_parts_in_order(announced: bytes | None) -> None:
    """Also of exactly the size that is allowed, with an empty part, and with a last one that says nothing at all."""
    assert read(part(b"1234"), part(b""), part(b"5678", more=False), announced=announced) == (b"12345678", 0)
    assert read(part(b"1"), {"type": "http.request"}) == (b"1", 0)


def test_what_is_announced_too_large_is_not_read() -> None:
    assert read(part(b"1", more=False), announced=b"9") == (RequestEntityTooLarge, 1)


def test_what_becomes_too_large_is_read_no_further() -> None:
    """Whatever was announced."""
    assert read(part(b"12345678"), part(b"9"), part(b"", more=False), announced=b"1") == (RequestEntityTooLarge, 1)


def test_a_client_that_leaves_before_the_end_has_sent_no_body() -> None:
    assert read(part(b"1234"), LEAVES) == (BodyCutOff, 0)


def test_an_announcement_that_is_no_number_is_refused() -> None:
    """A server before us would have."""
    assert read(part(b"1", more=False), announced=b"many") == (ClientException, 1)
