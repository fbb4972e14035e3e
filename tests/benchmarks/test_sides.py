"""Who takes turns with whom: each side's answers are its own, and the turns that warm up are nobody's."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.api_open_loop import at_fixed_rate, at_load
from benchmarks.open_loop import Target
from benchmarks.peers import vs_feast
from tests.benchmarks.shop import Shop, opened


@pytest.fixture
def bodies(tmp_path: Path) -> str:
    (tmp_path / "bodies").write_text("{}\n")
    return str(tmp_path / "bodies")


def test_decisions_and_the_empty_handlers_answers_are_told_apart(bodies: str) -> None:
    """Two turns each are counted, of the three that were asked."""
    with opened() as shop:
        targets = {
            "empty": Target(shop.port, "/empty", bodies),
            "predict": Target(shop.port, "/degraded", bodies),
        }
        ours, peer = at_fixed_rate(targets, 0.1, 2)

    assert (len(ours.latency_ms), ours.degraded) == (20, 20)
    assert (len(peer.latency_ms), peer.degraded) == (20, 0)
    assert len(shop.bodies) == 60


def test_the_load_is_a_share_of_what_waiting_clients_get(bodies: str) -> None:
    with opened() as shop:
        per_s, even, random = at_load({"predict": Target(shop.port, "/degraded", bodies)}, 0.2, 0.5)

    assert len(even.latency_ms) == len(random.latency_ms) == int(0.8 * per_s * 0.5) > 0


def test_peers_in_turns_are_told_apart(bodies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vs_feast, "TURN_S", 0.05)

    def answering(stack: ExitStack, status: int) -> Shop:
        return stack.enter_context(opened(lambda _: status))

    with ExitStack() as stack:
        shops = {
            "ours": answering(stack, 200),
            "optimised": answering(stack, 503),
            "as_installed": answering(stack, 429),
        }
        targets = {name: Target(shop.port, "/", bodies) for name, shop in shops.items()}
        taken = vs_feast.in_turns(targets, 2, 2)

    assert taken["ours"].failures == {} and taken["ours"].per_s > 0
    assert set(taken["optimised"].failures) == {"status_503"}
    assert set(taken["as_installed"].failures) == {"status_429"}
    for name, shop in shops.items():
        assert 0 < len(taken[name].latency_ms) < len(shop.bodies)
        assert taken[name].seconds >= 0.1


def test_a_peer_that_scores_something_else_is_not_measured() -> None:
    with opened() as shop:
        url = f"http://127.0.0.1:{shop.port}/scored"
        vs_feast.check(url, {"request": {}, "score": 0.25})
        with pytest.raises(RuntimeError, match=r"0\.25.*0\.3"):
            vs_feast.check(url, {"request": {}, "score": 0.3})
