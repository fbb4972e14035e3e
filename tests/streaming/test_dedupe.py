"""The verdict on duplicates: a function of the log before an event."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.core.dedupe import First, Firsts, Verdict, judge, pack_firsts, payload_hash, unpack_firsts
from tests.streaming.events import transaction

HORIZON = 24 * 3_600_000
PAYLOAD, OTHER = b"payload1", b"payload2"


def test_the_first_position_wins() -> None:
    """A second position of an identity within the horizon is a duplicate and is not remembered."""
    verdict, past = judge((), First(5, 1000, PAYLOAD), HORIZON)
    assert verdict is Verdict.FIRST

    again, kept = judge(past, First(9, 2000, PAYLOAD), HORIZON)

    assert again is Verdict.DUPLICATE
    assert kept == past


def test_a_replay_of_the_same_position_is_no_duplicate() -> None:
    _, past = judge((), First(5, 1000, PAYLOAD), HORIZON)

    assert judge(past, First(5, 1000, PAYLOAD), HORIZON) == (Verdict.FIRST, past)


def test_another_payload_under_the_same_identity_is_a_conflict() -> None:
    _, past = judge((), First(5, 1000, PAYLOAD), HORIZON)

    assert judge(past, First(9, 2000, OTHER), HORIZON)[0] is Verdict.CONFLICT


def test_the_horizon_is_closed() -> None:
    """At exactly the horizon of arrival time it is a duplicate, one millisecond later a new event."""
    _, past = judge((), First(5, 1000, PAYLOAD), HORIZON)

    assert judge(past, First(9, 1000 + HORIZON, PAYLOAD), HORIZON)[0] is Verdict.DUPLICATE
    assert judge(past, First(9, 1001 + HORIZON, PAYLOAD), HORIZON)[0] is Verdict.FIRST


copies = st.lists(
    st.tuples(st.integers(0, 3 * HORIZON), st.sampled_from([PAYLOAD, OTHER])), min_size=1, max_size=7
).map(lambda drawn: [First(n, arrival, payload) for n, (arrival, payload) in enumerate(sorted(drawn))])


@given(copies, st.data())
def test_judging_again_from_any_earlier_position_gives_the_same_verdicts(log: list[First], data: st.DataObject) -> None:
    """A crash, or a former owner who is ahead, replays a stretch of the log: no verdict changes."""
    past: Firsts = ()
    verdicts = []
    for copy in log:
        verdict, past = judge(past, copy, HORIZON)
        verdicts.append(verdict)

    start = data.draw(st.integers(0, len(log) - 1))
    replayed = []
    for copy in log[start:]:
        verdict, past = judge(past, copy, HORIZON)
        replayed.append(verdict)

    assert replayed == verdicts[start:]


@given(st.lists(st.builds(First, st.integers(0, 2**62), st.integers(0, 2**62), st.just(PAYLOAD)), max_size=8))
def test_firsts_survive_packing(firsts: list[First]) -> None:
    assert unpack_firsts(pack_firsts(tuple(firsts))) == tuple(firsts)


def test_white_space_is_no_other_payload() -> None:
    """The hash is of the event, and tells apart every field."""
    assert payload_hash(transaction()) == payload_hash(transaction())
    assert payload_hash(transaction()) != payload_hash(transaction(amount_minor=1))
