"""Card numbers where none belongs: in ids and in free text, which nobody turns into tokens.

What is looked for are 12 to 19 digits, grouped by spaces or '-' if at all, that pass Luhn's check (ISO/IEC 7812-1) and
begin as some issuer's numbers of that length do. A number that is an id and all of that cannot be told from a card: of
random ids of 16 digits that is one in thirty (`docs/bad-input.md`). Hashes, UUIDs and object ids are not looked into.

An id that holds one is refused: without it, it would be another id. Whose ids are numbers that begin as cards do lets them
pass (`FRAUD_CARDS_IN_IDS`). Free text is the buyer's browser's; it keeps its words, loses the number, and costs neither the
payment nor the event.
"""

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from fraud_assets.contracts.events import Decision, OfDecision

SHORTEST, LONGEST = 12, 19
REDACTED = "[card number]"
FIX = (
    "holds what looks like a card number; send cards as cards, and here an id that is none (a hash, or a letter among its digits);"
    " or let it pass, FRAUD_CARDS_IN_IDS=count"
)

CardsInIds = Literal["refuse", "count", "off"]
OnCard = Callable[[str], object] | None
"""Told the name of a field whose id holds a card number. None: ids are not looked into."""

E = TypeVar("E", bound=msgspec.Struct)

# Payments are many and cards in them few: one pass at C's speed says that there are not even enough digits in a row.
_KINDS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord("x") for byte in range(256))
_BETWEEN = "\0"
_KINDS_OF_MANY = b"\0" + _KINDS[1:]
_ENOUGH, _SEPARATORS = b"0" * SHORTEST, b" -"
_RUN = re.compile(r"[0-9](?:[ -]*[0-9]){11,}")
_GROUP = re.compile(r"[0-9]+")
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE)
_WORD = re.compile(r"[0-9A-Za-z]+")
_HEX = re.compile(r"(?=[0-9]*[a-f])(?:[0-9a-f]{8}){2,}|(?=[0-9]*[A-F])(?:[0-9A-F]{8}){2,}")

# First digits of numbers in use, by how many digits they have.
_ISSUED = (
    ((13, 16, 19), r"4"),  # Visa
    ((16,), r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"),  # Mastercard
    ((15,), r"3[47]"),  # American Express
    (range(14, 20), r"30[0-5]|309|36|3[89]"),  # Diners Club
    (range(16, 20), r"6011|64[4-9]|65|62|81|35[2-8]|220[0-4]"),  # Discover, UnionPay, JCB, Mir
    ((16,), r"60|82|508|9792"),  # RuPay, Troy
    (range(12, 20), r"50|5[6-8]|63|67"),  # Maestro, Verve, Elo
)
_ISSUER = {
    length: re.compile("|".join(begin for lengths, begin in _ISSUED if length in lengths))
    for length in range(SHORTEST, LONGEST + 1)
}
# What a digit in every second place from the right adds to Luhn's sum.
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


class HoldsCard(ValueError):
    """An id with a card number in it. Its message names the field and the fix, not the value."""

    def __init__(self, field: str) -> None:
        self.field, self.fix = field, FIX
        super().__init__(f"{field}: {FIX}")


def holds_card(text: str) -> bool:
    return _has_digits(text) and next(_cards(text), None) is not None


def redacted(text: str) -> str:
    """The text, with `REDACTED` in the place of every card number."""
    if not _has_digits(text):
        return text
    for first, end in reversed(list(_cards(text))):
        text = text[:first] + REDACTED + text[end:]
    return text


def refuse(field: str) -> None:
    """The strictest `OnCard`. Raises HoldsCard."""
    raise HoldsCard(field)


def on_card(rule: CardsInIds, passed: list[str]) -> OnCard:
    """What the setting asks for. passed: where `count` puts the names of fields."""
    if rule == "refuse":
        return refuse
    return passed.append if rule == "count" else None


def without_cards(event: E, in_id: OnCard = refuse) -> E:
    """The event, its free text without card numbers. Raises HoldsCard for an id that holds one, unless `in_id` lets it pass.

    What is made of events that were looked at (decisions, their explanations) is not looked at again: a chain of decisions
    is over their bytes.
    """
    texts = _texts_of(type(event))
    # This much costs every payment: as long as one card's token takes, or less.
    if _ENOUGH not in "\n".join(texts.all_of(event)).encode().translate(_KINDS, _SEPARATORS):
        return event
    for name in texts.ids:
        if in_id and holds_card(getattr(event, name) or ""):
            in_id(name)
    clean = {name: redacted(getattr(event, name))[:longest] for name, longest in texts.free.items()}
    if all(getattr(event, name) == text for name, text in clean.items()):
        return event
    return msgspec.structs.replace(event, **clean)


def may_hold_cards(events: Sequence[msgspec.Struct]) -> Sequence[int]:
    """Places of those events, all of one contract, that `without_cards` has to look at: one pass for all of them."""
    texts = _texts_of(type(events[0]))
    rows = _BETWEEN.join(["\n".join(texts.all_of(event)) for event in events]).encode()
    kinds = rows.translate(_KINDS_OF_MANY, _SEPARATORS)
    if _ENOUGH not in kinds:
        return ()
    found = kinds.split(_BETWEEN.encode())
    if len(found) != len(events):  # a text of theirs has what is put between them
        return range(len(events))
    return [place for place, row in enumerate(found) if _ENOUGH in row]


class _Texts(NamedTuple):
    """The fields of a contract that may hold any text. free: those that may be changed, and how long each may be."""

    all_of: Callable[[Any], Iterable[str]]
    ids: tuple[str, ...]
    free: dict[str, int | None]


@cache
def _texts_of(contract: type[msgspec.Struct]) -> _Texts:
    return _Texts(lambda _: (), (), {}) if issubclass(contract, (Decision, OfDecision)) else _declared(contract)


def _declared(contract: type[msgspec.Struct]) -> _Texts:
    """Ids must not be empty; free text may."""
    ids, free, may_be_none = list[str](), dict[str, int | None](), False
    declared = msgspec.inspect.type_info(contract)
    assert isinstance(declared, msgspec.inspect.StructType), contract
    for field in declared.fields:
        text = _text(field.type)
        # A token is checked to be one, and what has a pattern has no room for a card.
        if text is None or text.pattern is not None or field.name.endswith("_token"):
            continue
        may_be_none |= field.type is not text
        if text.min_length:
            ids.append(field.name)
        else:
            free[field.name] = text.max_length
    names = [*ids, *free]
    every = attrgetter(*names, *names[:1])  # of one name alone it would give no tuple
    return _Texts((lambda event: filter(None, every(event))) if may_be_none else every, tuple(ids), free)


def _text(kind: msgspec.inspect.Type) -> msgspec.inspect.StrType | None:
    """The text that a field may be, or may be instead of nothing."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return next(filter(None, map(_text, kind.types)), None)
    if isinstance(kind, msgspec.inspect.Metadata):
        return _text(kind.type)
    return kind if isinstance(kind, msgspec.inspect.StrType) else None


def _has_digits(text: str) -> bool:
    """Whether there are as many digits in a row as a card has at least."""
    return _ENOUGH in text.encode("utf-8", "replace").translate(_KINDS, _SEPARATORS)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers begin and end, from left to right; none within another."""
    if _UUID.fullmatch(text):  # of ids whose digits are enough, most
        return
    opaque: list[tuple[int, int]] | None = None
    for run in _RUN.finditer(text):
        groups = [(run.start() + one.start(), run.start() + one.end()) for one in _GROUP.finditer(run[0])]
        for first, end in _cards_of(text, groups):
            opaque = list(_opaque(text)) if opaque is None else opaque  # once: a text of cards would be walked for each
            while opaque and opaque[0][1] <= first:
                opaque.pop(0)
            if not (opaque and opaque[0][0] < end):
                yield first, end


def _cards_of(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """A card begins and ends where a group of digits does, and has no more groups than digits: whoever sends a thousand gets no more tries."""
    at = 0
    while at < len(groups):
        wholes = (
            (last, "".join(text[a:b] for a, b in groups[at:last]))
            for last in range(min(len(groups), at + LONGEST), at, -1)
        )
        found = next((last for last, digits in wholes if _is_card(digits)), None)
        if found is not None:
            yield groups[at][0], groups[found - 1][1]
        at = found or at + 1


def _opaque(text: str) -> Iterator[tuple[int, int]]:
    """Where UUIDs, hashes and object ids begin and end, from left to right: their digits are nobody's."""
    words = (one.span() for one in _WORD.finditer(text) if _HEX.fullmatch(one[0]))
    yield from heapq.merge((one.span() for one in _UUID.finditer(text)), words)


def _is_card(digits: str) -> bool:
    issuer = _ISSUER.get(len(digits))
    return issuer is not None and issuer.match(digits) is not None and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    numbers = [ord(one) - ord("0") for one in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[one] for one in numbers[1::2])) % 10 == 0
