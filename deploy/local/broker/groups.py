"""One consumer group: Kafka's classic protocol as a state machine.

    Empty ──join──▶ PreparingRebalance ──all rejoined, or late──▶ CompletingRebalance ──leader syncs──▶ Stable
                          ▲                                              │                               │
                          └──────────── a member joins, leaves, changes or expires ◀──────────────────────┘

Eager and cooperative rebalancing look the same from here: clients bring the assignor, the group
only agrees on its name. Time comes in as `now_s`; waiting members hold a future.
Source: KIP-62 (sessions), KIP-345 (static members), KIP-394 (member ids).
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

from kio.schema.errors import ErrorCode

from deploy.local.broker.errors import Refused
from deploy.local.broker.members import Join, Joined, Member, Synced

# How long the first member of an empty group waits for others, so that a fleet that starts
# together is assigned once. Kafka's default is 3 s; tests and demos would only wait.
INITIAL_REBALANCE_DELAY_S = 0.3


class State(StrEnum):
    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Group:
    def __init__(self, group_id: str, clock_s: Callable[[], float]) -> None:
        self.id = group_id
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self._pending: dict[str, float] = {}  # ids given out by KIP-394, until when they are awaited
        self._clock_s = clock_s
        self._is_first_round = False
        self._deadline_s = 0.0

    # -- join ------------------------------------------------------------------------------------

    async def join(self, request: Join) -> Joined:
        """Wait for the rebalance this join takes part in. Raises Refused."""
        self._check_protocols(request)
        holder = self._holder(request.instance_id)
        if not request.member_id:
            if request.instance_id is None:
                return self._hand_out_id(request)
            answer = self._replace(holder, request) if holder else self._add(self._new_id(request), request)
        elif holder is not None and holder.id != request.member_id:
            raise Refused(ErrorCode.fenced_instance_id, f"{request.instance_id} is held by a newer member")
        elif request.member_id in self.members:
            answer = self._rejoin(self.members[request.member_id], request)
        elif self._pending.pop(request.member_id, None) is not None:
            answer = self._add(request.member_id, request)
        else:
            raise Refused(ErrorCode.unknown_member_id, request.member_id)
        return await answer

    def _check_protocols(self, request: Join) -> None:
        others = [member for member in self.members.values() if member.id != request.member_id]
        names = {name for name, _ in request.protocols}
        agreed = names.intersection(*({name for name, _ in member.request.protocols} for member in others))
        if not agreed or (others and request.protocol_type != self.protocol_type):
            raise Refused(ErrorCode.inconsistent_group_protocol, "no assignor in common with the group's members")

    def _holder(self, instance_id: str | None) -> Member | None:
        if instance_id is None:
            return None
        return next((m for m in self.members.values() if m.request.instance_id == instance_id), None)

    @staticmethod
    def _new_id(request: Join) -> str:
        return f"{request.instance_id or request.client_id}-{uuid.uuid4()}"

    def _hand_out_id(self, request: Join) -> Joined:
        member_id = self._new_id(request)
        self._pending[member_id] = self._clock_s() + request.session_timeout_s
        return Joined(ErrorCode.member_id_required, member_id)

    def _add(self, member_id: str, request: Join) -> asyncio.Future[Joined]:
        self.protocol_type = request.protocol_type
        self.members[member_id] = member = Member(member_id, request, self._clock_s())
        return self._await_rebalance(member)

    def _replace(self, old: Member, request: Join) -> asyncio.Future[Joined]:
        """A static member came back under its instance id: it takes over the place, and in a stable
        group also the assignment, without a rebalance. The old holder, if it still runs, is fenced.
        """
        old.answer_join(Joined(ErrorCode.fenced_instance_id, old.id))
        old.answer_sync(Synced(ErrorCode.fenced_instance_id))
        del self.members[old.id]
        new = Member(self._new_id(request), request, self._clock_s(), assignment=old.assignment)
        self.members[new.id] = new
        was_leader = self.leader == old.id
        if was_leader:
            self.leader = new.id
        if self.state is not State.STABLE or self._select_protocol() != self.protocol:
            return self._await_rebalance(new)
        # The old id is named as leader, else the new member would compute an assignment nobody asked for.
        return _done(
            Joined(ErrorCode.none, new.id, self.generation, self.protocol, old.id if was_leader else self.leader)
        )

    def _rejoin(self, member: Member, request: Join) -> asyncio.Future[Joined]:
        """A known member asks again: news means a rebalance, a lost answer is given again."""
        is_changed = request.protocols != member.request.protocols
        asks_for_rebalance = self.state is State.STABLE and member.id == self.leader
        member.request, member.last_seen_s = request, self._clock_s()
        if self.state in (State.STABLE, State.COMPLETING) and not is_changed and not asks_for_rebalance:
            return _done(self._joined(member))
        return self._await_rebalance(member)

    # -- rebalance -------------------------------------------------------------------------------

    def _await_rebalance(self, member: Member) -> asyncio.Future[Joined]:
        if member.joining is None:
            member.joining = asyncio.get_running_loop().create_future()
        answer = member.joining
        self._prepare()
        self._complete_when_ready()
        return answer

    def _prepare(self) -> None:
        if self.state is State.PREPARING:
            return
        for member in self.members.values():
            member.answer_sync(Synced(ErrorCode.rebalance_in_progress))
        self._is_first_round = self.state is State.EMPTY
        self.state = State.PREPARING
        self._deadline_s = self._clock_s() + self._patience_s()

    def _patience_s(self) -> float:
        if self._is_first_round:
            return INITIAL_REBALANCE_DELAY_S
        return max((m.request.rebalance_timeout_s for m in self.members.values()), default=0.0)

    def _complete_when_ready(self) -> None:
        """End the joining phase when everybody is there, or when the wait for the others is over."""
        if self.state is not State.PREPARING:
            return
        is_late = self._clock_s() >= self._deadline_s
        are_all_here = not self._pending and all(m.joining for m in self.members.values())
        if is_late or (are_all_here and not self._is_first_round):
            self._complete()

    def _complete(self) -> None:
        """Start a new generation with those who rejoined, and with static members, who may be restarting."""
        self.members = {m.id: m for m in self.members.values() if m.joining or m.request.instance_id}
        present = [m.id for m in self.members.values() if m.joining]
        if self.members and not present:
            self._deadline_s = self._clock_s() + self._patience_s()
            return
        self.generation += 1
        if not present:
            self.state, self.protocol, self.leader = State.EMPTY, "", ""
            return
        self.state = State.COMPLETING
        self.protocol = self._select_protocol()
        if self.leader not in present:
            self.leader = present[0]
        for member_id in present:
            member = self.members[member_id]
            member.last_seen_s = self._clock_s()
            member.answer_join(self._joined(member))

    def _select_protocol(self) -> str:
        """The assignor most members prefer among those all of them know."""
        preferences = [[name for name, _ in m.request.protocols] for m in self.members.values()]
        common = set(preferences[0]).intersection(*preferences)
        votes = Counter(next(name for name in names if name in common) for names in preferences)
        return votes.most_common(1)[0][0]

    def _joined(self, member: Member) -> Joined:
        subscriptions = tuple(
            (m.id, m.request.instance_id, m.subscription(self.protocol)) for m in self.members.values()
        )
        is_leader = member.id == self.leader
        return Joined(
            ErrorCode.none, member.id, self.generation, self.protocol, self.leader, subscriptions if is_leader else ()
        )

    # -- sync, heartbeat, leave ------------------------------------------------------------------

    async def sync(
        self, member_id: str, instance_id: str | None, generation: int, assignments: Mapping[str, bytes]
    ) -> Synced:
        """Wait for the leader's assignment; the leader brings it. Raises Refused."""
        member = self.check_member(member_id, instance_id, generation)
        if self.state is State.PREPARING:
            return Synced(ErrorCode.rebalance_in_progress)
        if self.state is State.COMPLETING and member.id == self.leader:
            self._assign(assignments)
        if self.state is State.STABLE:
            return Synced(ErrorCode.none, member.assignment)
        member.syncing = asyncio.get_running_loop().create_future()
        return await member.syncing

    def _assign(self, assignments: Mapping[str, bytes]) -> None:
        self.state = State.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            if member.syncing is not None:
                member.last_seen_s = self._clock_s()
            member.answer_sync(Synced(ErrorCode.none, member.assignment))

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Whether the member must rejoin. Raises Refused."""
        self.check_member(member_id, instance_id, generation)
        return ErrorCode.rebalance_in_progress if self.state is State.PREPARING else ErrorCode.none

    def check_member(self, member_id: str, instance_id: str | None, generation: int) -> Member:
        """The member who speaks, its session renewed. Raises Refused for strangers, zombies and old generations."""
        holder = self._holder(instance_id)
        if holder is not None and holder.id != member_id:
            raise Refused(ErrorCode.fenced_instance_id, f"{instance_id} is held by a newer member")
        member = self.members.get(member_id)
        if member is None:
            raise Refused(ErrorCode.unknown_member_id, member_id)
        if generation != self.generation:
            raise Refused(ErrorCode.illegal_generation, f"generation {generation}, now {self.generation}")
        member.last_seen_s = self._clock_s()
        return member

    def leave(self, member_id: str) -> None:
        """Raises Refused for a stranger."""
        if self._pending.pop(member_id, None) is None and member_id not in self.members:
            raise Refused(ErrorCode.unknown_member_id, member_id)
        self._remove([member_id])

    def _remove(self, member_ids: list[str]) -> None:
        for member_id in member_ids:
            member = self.members.pop(member_id, None)
            if member is not None:
                member.answer_join(Joined(ErrorCode.unknown_member_id, member_id))
                member.answer_sync(Synced(ErrorCode.unknown_member_id))
        if self.state is not State.EMPTY and member_ids:
            self._prepare()
            self._complete_when_ready()

    def tick(self) -> None:
        """Expire silent members and end waits that are over; called many times a second."""
        now_s = self._clock_s()
        self._pending = {member_id: until for member_id, until in self._pending.items() if until > now_s}
        silent = [
            m.id
            for m in self.members.values()
            if not m.is_waiting and now_s - m.last_seen_s > m.request.session_timeout_s
        ]
        if silent:
            self._remove(silent)
        self._complete_when_ready()


def _done(joined: Joined) -> asyncio.Future[Joined]:
    answer: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
    answer.set_result(joined)
    return answer
