"""The simulated world: people, their things and the events they buy tickets for.

Everything is arrays, indexed by small integers; text appears only when rows are written. Index order
never carries meaning that a model could use: personas, households and spares are all shuffled.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.int32]
Small = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


class Persona(IntEnum):
    """Why an account is here. Truth, not an observable: the platform never sees it."""

    CASUAL = 0
    ENTHUSIAST = 1
    VIP = 2
    SCALPER = 3
    FRAUDSTER = 4


class IpSlot(IntEnum):
    """Columns of `Accounts.ips`: the networks a person uses."""

    HOME = 0
    MOBILE = 1
    WORK = 2
    VPN = 3
    TRIP = 4


class DeviceSlot(IntEnum):
    """Columns of `Accounts.devices`; FRESH is a device nobody has seen, KIOSK a venue's terminal."""

    FIRST = 0
    SECOND = 1
    SHARED = 2
    FRESH = 3
    KIOSK = 4


class CardSlot(IntEnum):
    """Columns of `Accounts.cards`; FRESH is a card used here for the first time."""

    FIRST = 0
    SECOND = 1
    THIRD = 2
    FRESH = 3


@dataclass(frozen=True)
class Accounts:
    """One row per account. `weight`: purchases relative to others; times in ms UTC."""

    persona: Small
    household: Index
    city: Small
    country: Small
    lat: Floats
    lon: Floats
    created_ms: Ints
    weight: Floats
    category: Small
    method: Small
    ips: Index
    ip_habit: Small
    devices: Index
    device_habit: Small
    cards: Index
    card_habit: Small
    shares_place: Flags
    decline_share: npt.NDArray[np.float32]
    trip_city: Small
    trip_start_ms: Ints
    trip_end_ms: Ints
    pause_start_ms: Ints
    pause_end_ms: Ints

    def awake(self, time_ms: int) -> Flags:
        """Opened by then, and neither asleep nor gone."""
        pauses = (self.pause_start_ms <= time_ms) & (time_ms < self.pause_end_ms)
        return np.asarray((self.created_ms < time_ms) & ~pauses, dtype=bool)

    def __len__(self) -> int:
        return len(self.persona)


@dataclass(frozen=True)
class Network:
    """IP addresses. The four regions of the index: homes, then mobile, hosting and venues."""

    address: npt.NDArray[np.uint32]
    country: Small
    mobile_of_country: Index
    mobiles_per_country: int
    hosting_of_country: Index
    hosting_per_country: int
    kiosk_of_city: Index


@dataclass(frozen=True)
class Devices:
    """user_agent: index into `behaviour.USER_AGENTS`; spares start at `spare_start`."""

    user_agent: Small
    kiosk_of_city: Index
    spare_start: int


@dataclass(frozen=True)
class Cards:
    """country: where the card bills; spares (cards of people we have not met) start at `spare_start`."""

    country: Small
    spare_start: int


@dataclass(frozen=True)
class Events:
    """One row per event. `price_minor` is a standard ticket in the venue's currency."""

    category: Small
    promoter: Index
    city: Small
    country: Small
    lat: Floats
    lon: Floats
    popularity: Floats
    price_minor: Ints
    on_sale_ms: Ints
    closes_ms: Ints
    capacity: Ints
    sold_before: Ints
    flash_size: Ints


@dataclass(frozen=True)
class Names:
    """The text of every index: what is written, and what the live driver sends raw."""

    account: pa.StringArray
    event: pa.StringArray
    promoter: pa.StringArray
    device: pa.StringArray
    card_number: pa.StringArray
    card_token: pa.StringArray
    ip_text: pa.StringArray
    ip_token: pa.StringArray
    email: pa.StringArray
    email_token: pa.StringArray
