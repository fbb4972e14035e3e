"""Versions of account profiles: one when the world learns of the account, one per later change."""

from dataclasses import dataclass

import numpy as np

from simulator.build import World
from simulator.campaigns import Attack
from simulator.people import popularity_cdf
from simulator.spec import DAY_MS, stream
from simulator.world import Index, Ints

ADDRESS, EMAIL, PHONE = range(3)
_FIELDS = 3
_CHANGES_PER_ACCOUNT_DAY = 1 / 130  # any of the three; people move, switch providers, get new phones
# Attackers lock the owner out by the e-mail address, sometimes by the phone; owners change both too.
_HIJACK_FIELDS = (EMAIL, EMAIL, EMAIL, PHONE)


@dataclass(frozen=True)
class ProfileRows:
    """One row per version; `changed_ms`: (n, 3) when address, e-mail and phone last changed."""

    time_ms: Ints
    account: Index
    changed_ms: Ints

    def __len__(self) -> int:
        return len(self.time_ms)


def profile_history(world: World, attack: Attack) -> ProfileRows:
    """All versions of the world's days in time order."""
    rng = stream(world.spec, "profiles")
    first = _known_since(world)
    time, account, field = _changes(world, attack, rng)
    state = _before(world, rng)
    rows_time = np.concatenate([first, time])
    rows_account = np.concatenate([np.arange(len(first), dtype=np.int32), account])
    rows_field = np.concatenate([np.full(len(first), -1), field])
    order = np.argsort(rows_time, kind="stable")
    return ProfileRows(
        time_ms=rows_time[order],
        account=rows_account[order],
        changed_ms=_versions(state, rows_time[order], rows_account[order], rows_field[order]),
    )


def current_versions(world: World, attack: Attack) -> Ints:
    """(accounts, 3): when address, e-mail and phone last changed, as the history left them."""
    rows = profile_history(world, attack)
    state = np.empty((len(world.accounts), _FIELDS), dtype=np.int64)
    state[rows.account] = rows.changed_ms  # rows are in time order: the last assignment stays
    return state


def _known_since(world: World) -> Ints:
    """Old accounts are imported as the world starts; new ones when they join."""
    return np.maximum(world.accounts.created_ms, world.spec.start_ms)


def _before(world: World, rng: np.random.Generator) -> Ints:
    """Last changes before the world: many fields never changed since the account was opened."""
    created = world.accounts.created_ms
    age = np.maximum(world.spec.start_ms - created, 0)[:, None]
    since = (age * rng.random((len(created), _FIELDS))).astype(np.int64)
    touched = rng.random((len(created), _FIELDS)) < 0.45
    return np.asarray(np.where(touched, created[:, None] + since, created[:, None]), dtype=np.int64)


def _changes(world: World, attack: Attack, rng: np.random.Generator) -> tuple[Ints, Index, Ints]:
    """Ordinary changes, by active people rather than by idle ones, and those of hijackers."""
    spec, people = world.spec, world.accounts
    n = int(rng.poisson(len(people) * spec.days * _CHANGES_PER_ACCOUNT_DAY))
    account = np.searchsorted(popularity_cdf(people.weight), rng.random(n), side="right").astype(np.int32)
    time = spec.start_ms + rng.integers(0, spec.days * DAY_MS, n)
    field = rng.integers(0, _FIELDS, n)
    lockout = np.array(_HIJACK_FIELDS)[rng.integers(0, len(_HIJACK_FIELDS), len(attack.hijacked))]
    account = np.concatenate([account, attack.hijacked])
    time = np.concatenate([time, attack.hijacked_ms])
    field = np.concatenate([field, lockout])
    exists = (people.created_ms[account] < time) & (time < spec.end_ms)
    return time[exists], account[exists], field[exists]


def _versions(state: Ints, time: Ints, account: Index, field: Ints) -> Ints:
    """Play the changes in order; each row is the whole version as it stands then."""
    state = state.copy()
    out = np.empty((len(time), _FIELDS), dtype=np.int64)
    for row, (t, who, what) in enumerate(zip(time.tolist(), account.tolist(), field.tolist(), strict=True)):
        if what >= 0:
            state[who, what] = t
        out[row] = state[who]
    return out
