"""Folds of days, joined: what `verify` finds of all links at once, and small where nothing is wrong."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.chain import Fault, Link, verify
from fraud_assets.contracts.chain_fold import Apart, Fold, Joined, join

Days = Mapping[str, Sequence[Link]]


def links(count: int, partitions: Sequence[int]) -> list[Link]:
    """A whole chain over partitions of the log; its digests are names."""
    return [
        Link(at, f"s{at}", f"s{at - 1}" if at > 1 else "", f"d{at}", partitions[at % len(partitions)], 10 * at, True, at)
        for at in range(1, count + 1)
    ]  # fmt: skip


def fold_of(made: Iterable[Link], apart: Sequence[Apart] = (), kept: frozenset[int] = frozenset()) -> Fold:
    fold = Fold(kept, apart)
    for link in made:
        fold.add(link)
    return fold


def joined(days: Days, heads: Mapping[int, str], kept: Iterable[int] = ()) -> tuple[Joined, int]:
    """Days folded again as often as the join asks for it, with what it asked for; and how often that was."""
    aparts = defaultdict[str, list[Apart]](list)
    known = frozenset(kept)
    for times in range(20):
        folds = {}
        for day, of in days.items():
            fold = fold_of(of, aparts[day], known)
            folds[day] = fold.runs()
            aparts[day] = fold.apart
        found = join("c", folds, heads)
        if not found.apart:
            return found, times
        for day, asked in found.apart.items():
            aparts[day] += asked
    raise AssertionError("the join asks again and again")


def tampered(data: st.DataObject, made: list[Link]) -> list[Link]:  # noqa: C901  # a case for each thing to do
    """What somebody does who can write the lake, a few times over."""
    for _ in range(data.draw(st.integers(0, 4))):
        if not made:
            break
        at = data.draw(st.integers(0, len(made) - 1))
        one = made[at]
        place = data.draw(st.integers(0, 10 * len(made) + 20))
        match data.draw(
            st.sampled_from(["alter", "drop", "reorder", "fork", "cut", "replace", "swap", "copy", "first", "far"])
        ):
            case "alter":
                made[at] = one._replace(is_whole=False)
            case "drop":
                del made[at : at + data.draw(st.integers(1, 3))]
            case "reorder":
                made[at] = one._replace(offset=place, partition=data.draw(st.integers(0, 2)))
            case "fork":
                many = made[at : at + data.draw(st.integers(1, 4))]
                made += [
                    link._replace(sha256="f", decision_id=f"f{link.position}", offset=place, arrived_ms=0)
                    for link in many
                ]
            case "cut":
                del made[at:]
            case "replace":
                made[at] = one._replace(sha256="r")
            case "swap":
                other = data.draw(st.integers(0, len(made) - 1))
                made[at], made[other] = one._replace(offset=made[other].offset), made[other]._replace(offset=one.offset)
            case "copy":  # also what lies on two days, to the last bit
                made.append(one)
            case "first":
                made[at] = one._replace(position=0)
            case "far":
                made[at] = one._replace(position=2**50)
    return made  # fmt: skip


@settings(max_examples=1500)
@given(st.data())
def test_folds_of_days_in_any_order_find_what_verify_finds_of_all_links(data: st.DataObject) -> None:
    whole = links(data.draw(st.integers(0, 14)), data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
    made = tampered(data, list(whole))
    days: dict[str, list[Link]] = {}
    for link in data.draw(st.permutations(made)):
        days.setdefault(str(data.draw(st.integers(0, 3))), []).append(link)
    right = st.integers(1, 16).map(lambda at: (at, f"s{at}"))
    heads = dict(data.draw(st.lists(right | st.tuples(st.integers(1, 16), st.just("other")), max_size=4)))
    known = data.draw(st.sets(st.sampled_from(sorted(heads)))) if heads else set()

    found, _ = joined(days, heads, known)

    findings, head = verify("c", made, heads)
    assert found.findings == findings
    assert found.head == head
    assert found.links == len(made)


@given(st.data())
def test_a_whole_chain_on_days_in_any_way_is_never_read_twice(data: st.DataObject) -> None:
    """Late decisions, several partitions, and heads of nights that were known when the day was folded."""
    made = links(data.draw(st.integers(0, 20)), data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
    days: dict[str, list[Link]] = {}
    for link in data.draw(st.permutations(made)):
        days.setdefault(str(data.draw(st.integers(0, 3))), []).append(link)
    heads = {at: f"s{at}" for at in data.draw(st.sets(st.integers(1, len(made)))) } if made else {}  # fmt: skip

    found, times = joined(days, heads, heads)

    assert (found.findings, times) == ([], 0)


@given(st.permutations(range(40)), st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_a_whole_day_is_one_run_in_whatever_order_it_is_read(order: list[int], partitions: list[int]) -> None:
    made, fold = links(40, partitions), Fold()

    for number in order:
        fold.add(made[number])

    (run,) = fold.runs()
    assert (run.first, run.last, run.previous_sha256, run.sha256, run.decision_id, run.arrived_ms) == (
        1, 40, "", "s40", "d40", 1,
    )  # fmt: skip


def test_only_what_is_a_finding_is_looked_into() -> None:
    """Three links of five thousand that came before an earlier one are three runs more, and not five thousand."""
    made = links(10_000, [0])
    made[4_999] = made[4_999]._replace(offset=made[5_002].offset + 1)

    found, times = joined({"1": made[:5_000], "2": made[5_000:]}, {})

    assert [(one.fault, one.position) for one in found.findings] == [
        (Fault.REORDERED, at) for at in (5_001, 5_002, 5_003)
    ]
    assert times == 1
    folds = [fold_of(made[:5_000]), fold_of(made[5_000:], [Apart(5_001, 10_000, 0, made[4_999].offset)])]
    assert [len(fold.runs()) for fold in folds] == [1, 4]


def test_what_a_day_was_folded_apart_for_is_kept_small() -> None:
    """Asked for again and again, as after each night, it does not grow."""
    asked = [Apart(1, 10), Apart(5, 20), Apart(5, 20, 0, 7), Apart(6, 9, 0, 9), Apart(30, 30)]

    assert set(Fold((), asked * 3).apart) == {Apart(1, 20), Apart(5, 20, 0, 9), Apart(30, 30)}
