"""All consumer groups of the broker and their committed offsets.

Membership lives in memory: after a restart of the broker every member is unknown, rejoins, and a
zombie's commit is refused. Committed offsets live in the catalogue.
"""

from collections.abc import Callable, Iterable, Mapping

from kio.schema.errors import ErrorCode

from deploy.local.broker.catalog import Catalog, Committed
from deploy.local.broker.errors import Refused
from deploy.local.broker.groups import Group, State


class Coordinator:
    def __init__(self, catalog: Catalog, clock_s: Callable[[], float]) -> None:
        self._catalog = catalog
        self._clock_s = clock_s
        self._groups: dict[str, Group] = {}

    def group_to_join(self, group_id: str) -> Group:
        """The group, made on first use. Raises Refused for an empty name."""
        if not group_id:
            raise Refused(ErrorCode.invalid_group_id, "a group needs a name")
        if group_id not in self._groups:
            self._groups[group_id] = Group(group_id, self._clock_s)
        return self._groups[group_id]

    def group(self, group_id: str) -> Group:
        """Raises Refused when nobody has joined it since the broker started."""
        if group_id not in self._groups:
            raise Refused(ErrorCode.unknown_member_id, f"nobody is a member of {group_id!r}")
        return self._groups[group_id]

    def describe(self, group_id: str) -> Group | None:
        """The group, also one that only has offsets left; None for one never heard of."""
        if group_id in self._groups:
            return self._groups[group_id]
        return Group(group_id, self._clock_s) if self._catalog.committed(group_id) else None

    def names(self) -> list[str]:
        return sorted({*self._groups, *self._catalog.groups_with_offsets()})

    def commit(
        self, group_id: str, member_id: str, instance_id: str | None, generation: int, commits: Iterable[Committed]
    ) -> None:
        """Raises Refused unless a member of this generation speaks, or nobody is a member at all."""
        group = self.group_to_join(group_id)
        if generation < 0 and not member_id:
            if group.members:
                raise Refused(ErrorCode.unknown_member_id, f"{group_id!r} has members; only they commit")
        else:
            group.check_member(member_id, instance_id, generation)
            if group.state is State.COMPLETING:
                raise Refused(ErrorCode.rebalance_in_progress, "the assignment is not known yet")
        self._catalog.commit_offsets(group_id, commits)

    def committed(self, group_id: str) -> Mapping[tuple[str, int], Committed]:
        return self._catalog.committed(group_id)

    def delete(self, group_id: str) -> None:
        group = self._groups.get(group_id)
        if group is not None and group.members:
            raise Refused(ErrorCode.non_empty_group, f"{group_id!r} has members")
        had_offsets = self._catalog.delete_group(group_id)
        if self._groups.pop(group_id, None) is None and not had_offsets:
            raise Refused(ErrorCode.group_id_not_found, f"no group {group_id!r}")

    def tick(self) -> None:
        for group in self._groups.values():
            group.tick()
