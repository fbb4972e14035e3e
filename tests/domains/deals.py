"""Deals of actors at places: one of everything that an engine must take.

Nullable fields, every kind of field, every kind of source. Times and numbers have no lower bound,
which real contracts have, so negatives are tested too.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from fraud_assets.features.sources import BatchSource, Entity, LabelFactSource, ProfileSource, StreamSource

BIGGEST = 2**40
Number = Annotated[int, Meta(ge=-BIGGEST, le=BIGGEST)]


class Flavour(StrEnum):
    """Declared out of lexical order: codes must not depend on it."""

    SWEET = "sweet"
    BITTER = "bitter"
    UMAMI = "umami"
    SALTY = "salty"
    SOUR = "sour"


class Deal(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    deal_id: str
    actor_id: str
    place_id: str | None
    size: Number
    extra: Number | None
    flavour: Flavour
    mood: Flavour | None
    flag: bool


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    ping_id: str
    actor_id: str
    place_id: str | None
    level: Number | None
    flavour: Flavour


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    fact_id: str
    actor_id: str
    place_id: str | None
    size: Number
    is_bad: bool
    sign: int = 1


class Trait(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    trait_id: str
    actor_id: str
    since_ms: int
    level: Number | None
    flag: bool


Event = Deal | Ping | Verdict | Trait

ACTOR = Entity("actor", ("actor_id",))
PLACE = Entity("place", ("place_id",))
PAIR = Entity("pair", ("actor_id", "place_id"))
ENTITIES = (ACTOR, PLACE, PAIR)

DEALS = StreamSource(name="deals", noun="deal", contract=Deal, id_field="deal_id", table="deals", topic="deals.v1")
PINGS = StreamSource(name="pings", noun="ping", contract=Ping, id_field="ping_id", table="pings", topic="pings.v1")
TRAITS = ProfileSource(name="traits", noun="trait", contract=Trait, id_field="trait_id", table="traits", topic="traits.v1")  # fmt: skip
SIGNED = LabelFactSource(name="verdicts", noun="verdict", contract=Verdict, id_field="fact_id", table="verdicts", topic="verdicts.v1")  # fmt: skip
UNSIGNED = BatchSource(name="settled", noun="settled", contract=Verdict, id_field="fact_id", table="settled")
SOURCES = (DEALS, PINGS, SIGNED, UNSIGNED, TRAITS)
