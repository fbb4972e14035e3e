"""docs/security.md says what the code says: which role opens which route, how long topics are kept; and its tests exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.handlers import HTTPRouteHandler

from api import edge, routes
from api.pricing import routes as pricing
from fraud_assets.contracts import topics
from fraud_assets.contracts.topics import DAY_MS, Topic
from fraud_assets.features.catalogue.ticketing import registry


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "security.md").read_text()


def route_rows() -> Iterator[str]:
    """What each handler declares; those that every service has are `api/edge.py`'s."""
    shared = [edge.live, edge.metrics, edge._schema(b"")]
    for service, handlers in (("both", shared), ("scorer", routes.HANDLERS), ("pricing", pricing.HANDLERS)):
        for handler in handlers:
            (path,) = handler.paths
            role = "anybody" if handler.opt.get("public") else f"`{handler.opt['scope']}`"
            # An ASGI handler declares no methods; this one takes no other.
            method = next(iter(handler.http_methods)) if isinstance(handler, HTTPRouteHandler) else "POST"
            yield f"| {service} | `{method} {path}` | {role} |"


def topic_rows() -> Iterator[str]:
    named = [value for value in vars(topics).values() if isinstance(value, Topic)]
    for topic in named:
        yield f"| `{topic.name}` | {topic.retention_ms // DAY_MS} days | `contracts/topics.py` |"
    days = {topics.entity_topic(group.name).retention_ms // DAY_MS for group in registry().groups}
    assert len(days) == 1
    yield f"| `entity.<group>.v1` | {days.pop()} days | `contracts/topics.py` |"


def rows_below(page: str, heading: str) -> list[str]:
    """Of the first table below a heading, without its head."""
    table = page.partition(f"## {heading}\n")[2].partition("|---|")[2].partition("\n\n")[0]
    return table.splitlines()[1:]


def test_the_table_of_routes_is_what_handlers_declare(page: str) -> None:
    assert rows_below(page, "Routes and roles") == list(route_rows())


def test_the_table_of_retention_has_every_topic_as_declared(page: str) -> None:
    said = [row for row in rows_below(page, "How long things are kept") if "contracts/topics.py" in row]

    assert said == list(topic_rows())


def test_every_test_that_the_page_names_exists(page: str, root: Path) -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)(?:::([a-z0-9_]+))?`", page)

    assert len(named) > 15
    assert [(path, name) for path, name in named if f"def {name}" not in (root / path).read_text()] == []
