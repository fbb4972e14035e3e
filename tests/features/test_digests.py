"""Digests: what changes a declaration's meaning changes its digest, and nothing else does."""

import importlib.util
import sys
import textwrap
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fraud_assets.features.digests import request_digest, view_digest
from fraud_assets.features.expressions import col, cosine, sine
from fraud_assets.features.language import FeatureService, FeatureView, RequestFeature, count, distinct, mean, total
from fraud_assets.features.layout import STATE_FORMAT
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import StreamSource
from fraud_assets.features.windows import DAY_MS, hours, minutes
from tests.domains.orders import AMOUNT, ORDERS, RULINGS, SHOP, Order, view_of

HOUR = (hours(1),)
MEANING: dict[str, Callable[[], FeatureView]] = {
    "another window": lambda: view_of(count(windows=(minutes(59),))),
    "one more window": lambda: view_of(count(windows=(hours(1), hours(2)))),
    "another operation": lambda: view_of(total(AMOUNT, windows=HOUR)),
    "another column": lambda: view_of(total(col("rate"), windows=HOUR)),
    "a sine": lambda: view_of(total(sine(AMOUNT), windows=HOUR, label="x")),
    "a cosine": lambda: view_of(total(cosine(AMOUNT), windows=HOUR, label="x")),
    "a filter": lambda: view_of(count(where=AMOUNT > 1, windows=HOUR)),
    "another filter": lambda: view_of(count(where=AMOUNT > 2, windows=HOUR)),
    "another cap": lambda: view_of(distinct(col("shop_id"), windows=HOUR, cap=8)),
    "another entity": lambda: view_of(count(windows=HOUR).over(SHOP)),
    "another name": lambda: view_of(count(windows=HOUR), name="card_rush"),
    "another label": lambda: view_of(count(windows=HOUR, label="rush")),
    "hidden": lambda: view_of(count(windows=HOUR).as_hidden()),
    "a time to live": lambda: view_of(count(windows=HOUR), ttl_ms=DAY_MS),
    "another lateness": lambda: view_of(count(windows=HOUR), lateness_ms=700_000),
    "another source": lambda: view_of(count(windows=HOUR), source=RULINGS),
    "another order": lambda: view_of(total(AMOUNT, windows=HOUR), count(windows=HOUR)),
    "the order before": lambda: view_of(count(windows=HOUR), total(AMOUNT, windows=HOUR)),
}


def test_every_change_of_meaning_has_its_own_digest() -> None:
    digests = {name: view_digest(declare()) for name, declare in MEANING.items()}
    digests["as it was"] = view_digest(view_of(count(windows=HOUR)))

    assert len(set(digests.values())) == len(digests)


def test_owner_and_description_can_be_edited_without_retraining() -> None:
    plain = view_of(mean(AMOUNT, windows=HOUR))
    edited = view_of(mean(AMOUNT, windows=HOUR), owner="payments", description="Now with a comma.")

    assert view_digest(plain) == view_digest(edited)


def test_a_digest_is_the_same_in_every_process(card_orders: FeatureView) -> None:
    """No hash seed, no address: a manifest written there is checked here."""
    digest = view_digest(card_orders)

    assert digest == view_digest(view_of(count(windows=(minutes(5), hours(1))), mean(AMOUNT, windows=HOUR)))
    assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")


class Wider(StrEnum):
    PAID = "paid"
    DECLINED = "declined"
    REFUNDED = "refunded"


@pytest.mark.parametrize("change", [{"note": (str, "")}, {"outcome": Wider}, {"amount_minor": str}, {"shop_id": str}])
def test_a_contract_change_is_a_change_of_every_view_on_it(change: dict[str, object]) -> None:
    """A new value of an enum shifts codes; a field that turns nullable or textual changes what is counted."""
    fields = {name: kind for name, kind in Order.__annotations__.items() if name not in change}
    changed = msgspec.defstruct("Order", [*fields.items(), *((k, *v) if isinstance(v, tuple) else (k, v) for k, v in change.items())], kw_only=True, frozen=True)  # fmt: skip
    source = StreamSource(
        name="orders", noun="order", contract=changed, id_field="order_id", table="orders", topic="orders.v1"
    )

    assert view_digest(view_of(count(windows=HOUR), source=source)) != view_digest(view_of(count(windows=HOUR)))


# ---------------------------------------------------------------------------------- request features

RATE = 2.0


def helper(value: float) -> float:
    return value * RATE


def plain(value: float) -> float:
    return helper(value) + 1.0


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Source text as an imported module named `under_test`, each time anew."""

    def load(text: str) -> ModuleType:
        path = tmp_path / f"m{len(list(tmp_path.iterdir()))}" / "under_test.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location("under_test", path)
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    return load


def digest_of(function: Callable[..., float]) -> str:
    return request_digest(RequestFeature(name="f", compute=function, inputs=("request.amount_minor",)))


WRITTEN = """
import math
LIMIT = 5.0
def helper(x):
    return x * 2.0
def f(x):
    return max(helper(x), LIMIT)
"""

SAME = {
    "formatting": WRITTEN.replace("max(helper(x), LIMIT)", "max(\n        helper( x ),\n        LIMIT,\n    )"),
    "comments": WRITTEN.replace("def f(x):", "def f(x):\n    # twice, at least five"),
    "a docstring": WRITTEN.replace("def f(x):", 'def f(x):\n    """Twice, at least five."""'),
    "annotations": WRITTEN.replace("def f(x):", "def f(x: float) -> float:"),
    "an unused global": WRITTEN + "\nOTHER = 3\n",
}
OTHER = {
    "the body": WRITTEN.replace("max(helper", "min(helper"),
    "a helper": WRITTEN.replace("x * 2.0", "x * 3.0"),
    "a constant": WRITTEN.replace("LIMIT = 5.0", "LIMIT = 6.0"),
    "a default of a helper": WRITTEN.replace("def helper(x):", "def helper(x, y=1.0):"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_form_does_not_change_a_request_features_digest(module: Callable[[str], ModuleType], text: str) -> None:
    assert digest_of(module(text).f) == digest_of(module(WRITTEN).f)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_meaning_changes_a_request_features_digest(module: Callable[[str], ModuleType], text: str) -> None:
    assert digest_of(module(text).f) != digest_of(module(WRITTEN).f)


def test_a_helper_behind_its_module_counts(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`geo.distance(x)` depends on `distance` as much as `distance(x)` does."""
    digests = set()
    for factor in ("2.0", "3.0"):
        monkeypatch.setitem(sys.modules, "our_geo", module(f"def distance(x):\n    return x * {factor}\n"))
        digests.add(digest_of(module("import our_geo\ndef f(x):\n    return our_geo.distance(x)\n").f))
    assert len(digests) == 2


def test_what_a_closure_holds_counts(module: Callable[[str], ModuleType]) -> None:
    """Functions made in a loop share their text and differ in what they closed over."""
    made = module("def times(k):\n    def f(x):\n        return x * k\n    return f\n")
    assert digest_of(made.times(2.0)) != digest_of(made.times(3.0))


# ---------------------------------------------------------------------------------------- registries


def test_a_service_digest_follows_its_views_and_request_features(card_orders: FeatureView) -> None:
    def service(*views: FeatureView, request: tuple[RequestFeature, ...] = ()) -> str:
        made = FeatureService(name="scoring", scored=ORDERS, views=views, request=request)
        return Registry(views, (made,)).service_digest(made)

    item = RequestFeature(name="plain", compute=plain, inputs=("request.amount_minor",))
    other = view_of(count(windows=HOUR).over(SHOP), name="shops")
    digests = {
        service(card_orders),
        service(card_orders, other),
        service(other, card_orders),
        service(card_orders, request=(item,)),
    }

    assert len(digests) == 4


def test_a_source_added_elsewhere_changes_every_groups_digest(card_orders: FeatureView) -> None:
    """Packed states hold numbers of sources and topics, which a new source shifts."""
    rulings = view_of(count(windows=HOUR), name="ruled", source=RULINGS)
    alone, beside = (
        Registry((card_orders,)),
        Registry((card_orders, view_of(count(windows=HOUR).over(SHOP), name="shops"))),
    )
    shifted = Registry((card_orders, view_of(count(windows=HOUR).over(SHOP), name="shops"), rulings))

    assert alone.group("card").digest == beside.group("card").digest
    assert shifted.group("shop").digest != beside.group("shop").digest


def test_another_format_of_states_changes_a_groups_digest(
    card_orders: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store or a kept snapshot of another format must not be read."""
    now = Registry((card_orders,)).group("card").digest

    monkeypatch.setattr("fraud_assets.features.registry.STATE_FORMAT", STATE_FORMAT + 1)

    assert Registry((card_orders,)).group("card").digest != now
