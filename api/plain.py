"""What an ASGI handler does for itself: Litestar's requests and responses cost many times what it needs of them."""

from typing import TYPE_CHECKING, Any

from litestar.exceptions import MethodNotAllowedException

from api.body import header
from api.errors import UnsupportedMedia

if TYPE_CHECKING:
    from litestar.types import Send

JSON = "application/json"
_JSON = JSON.encode()


def require_post(scope: Any) -> None:
    """Raises MethodNotAllowedException: Litestar hands such a handler every method."""
    if scope["method"] != "POST":
        raise MethodNotAllowedException(headers={"Allow": "POST"})


def require_json(scope: Any) -> None:
    """Raises UnsupportedMedia."""
    given = header(scope, b"content-type") or b""
    if given.partition(b";")[0].strip().lower() != _JSON:
        raise UnsupportedMedia


async def answer(send: "Send", raw: bytes, *more: tuple[bytes, bytes]) -> None:
    """JSON, 200. more: headers."""
    headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(raw)), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": raw, "more_body": False})
