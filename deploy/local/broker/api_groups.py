# kio's nominal integers (i16, i32, …) check ranges with types; plain ints are the same on the wire.
# mypy: disable-error-code="arg-type"
"""Consumer groups on the wire: find, join, sync, heartbeat, leave, describe, list, delete."""

from kio.schema.delete_groups.v1 import request as delete_rq
from kio.schema.delete_groups.v1 import response as delete_rs
from kio.schema.describe_groups.v4 import request as describe_rq
from kio.schema.describe_groups.v4 import response as describe_rs
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v2 import request as find_rq
from kio.schema.find_coordinator.v2 import response as find_rs
from kio.schema.heartbeat.v3 import request as heartbeat_rq
from kio.schema.heartbeat.v3 import response as heartbeat_rs
from kio.schema.join_group.v5 import request as join_rq
from kio.schema.join_group.v5 import response as join_rs
from kio.schema.leave_group.v1 import request as leave_rq
from kio.schema.leave_group.v1 import response as leave_rs
from kio.schema.list_groups.v4 import request as list_rq
from kio.schema.list_groups.v4 import response as list_rs
from kio.schema.sync_group.v3 import request as sync_rq
from kio.schema.sync_group.v3 import response as sync_rs

from deploy.local.broker.api_admin import NODE_ID
from deploy.local.broker.coordinator import Coordinator
from deploy.local.broker.errors import Refused
from deploy.local.broker.groups import Group
from deploy.local.broker.members import Join, Joined, Synced
from deploy.local.broker.wire import NO_THROTTLE, Caller, Endpoint

_GROUP_COORDINATOR = 0


class GroupApi:
    def __init__(self, coordinator: Coordinator, address: tuple[str, int]) -> None:
        self._coordinator = coordinator
        self._host, self._port = address

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(find_rq.FindCoordinatorRequest, find_rs.FindCoordinatorResponse, self.find),
            Endpoint(join_rq.JoinGroupRequest, join_rs.JoinGroupResponse, self.join),
            Endpoint(sync_rq.SyncGroupRequest, sync_rs.SyncGroupResponse, self.sync),
            Endpoint(heartbeat_rq.HeartbeatRequest, heartbeat_rs.HeartbeatResponse, self.heartbeat),
            Endpoint(leave_rq.LeaveGroupRequest, leave_rs.LeaveGroupResponse, self.leave),
            Endpoint(describe_rq.DescribeGroupsRequest, describe_rs.DescribeGroupsResponse, self.describe),
            Endpoint(list_rq.ListGroupsRequest, list_rs.ListGroupsResponse, self.list_groups),
            Endpoint(delete_rq.DeleteGroupsRequest, delete_rs.DeleteGroupsResponse, self.delete),
        )

    async def find(self, request: find_rq.FindCoordinatorRequest, _: Caller) -> find_rs.FindCoordinatorResponse:
        """The one broker, for groups; a transactional producer is told at once that there is none for it."""
        is_group = request.key_type == _GROUP_COORDINATOR
        return find_rs.FindCoordinatorResponse(
            throttle_time=NO_THROTTLE,
            error_code=ErrorCode.none if is_group else ErrorCode.transactional_id_authorization_failed,
            error_message=None if is_group else "this broker has no transactions",
            node_id=NODE_ID if is_group else -1,
            host=self._host if is_group else "",
            port=self._port if is_group else -1,
        )

    # -- membership ------------------------------------------------------------------------------

    async def join(self, request: join_rq.JoinGroupRequest, caller: Caller) -> join_rs.JoinGroupResponse:
        try:
            joined = await self._coordinator.group_to_join(request.group_id).join(_join(request, caller))
        except Refused as refusal:
            joined = Joined(refusal.code, request.member_id)
        return join_rs.JoinGroupResponse(
            throttle_time=NO_THROTTLE,
            error_code=joined.code,
            generation_id=joined.generation,
            protocol_name=joined.protocol,
            leader=joined.leader,
            member_id=joined.member_id,
            members=tuple(
                join_rs.JoinGroupResponseMember(member_id=member_id, group_instance_id=instance_id, metadata=metadata)
                for member_id, instance_id, metadata in joined.members
            ),
        )

    async def sync(self, request: sync_rq.SyncGroupRequest, _: Caller) -> sync_rs.SyncGroupResponse:
        assignments = {assigned.member_id: assigned.assignment for assigned in request.assignments}
        try:
            group = self._coordinator.group(request.group_id)
            synced = await group.sync(request.member_id, request.group_instance_id, request.generation_id, assignments)
        except Refused as refusal:
            synced = Synced(refusal.code)
        return sync_rs.SyncGroupResponse(
            throttle_time=NO_THROTTLE, error_code=synced.code, assignment=synced.assignment
        )

    async def heartbeat(self, request: heartbeat_rq.HeartbeatRequest, _: Caller) -> heartbeat_rs.HeartbeatResponse:
        try:
            group = self._coordinator.group(request.group_id)
            code = group.heartbeat(request.member_id, request.group_instance_id, request.generation_id)
        except Refused as refusal:
            code = refusal.code
        return heartbeat_rs.HeartbeatResponse(throttle_time=NO_THROTTLE, error_code=code)

    async def leave(self, request: leave_rq.LeaveGroupRequest, _: Caller) -> leave_rs.LeaveGroupResponse:
        code = ErrorCode.none
        try:
            self._coordinator.group(request.group_id).leave(request.member_id)
        except Refused as refusal:
            code = refusal.code
        return leave_rs.LeaveGroupResponse(throttle_time=NO_THROTTLE, error_code=code)

    # -- administration --------------------------------------------------------------------------

    async def describe(
        self, request: describe_rq.DescribeGroupsRequest, _: Caller
    ) -> describe_rs.DescribeGroupsResponse:
        return describe_rs.DescribeGroupsResponse(
            throttle_time=NO_THROTTLE,
            groups=tuple(_describe(group_id, self._coordinator.describe(group_id)) for group_id in request.groups),
        )

    async def list_groups(self, request: list_rq.ListGroupsRequest, _: Caller) -> list_rs.ListGroupsResponse:
        groups = [group for name in self._coordinator.names() if (group := self._coordinator.describe(name))]
        return list_rs.ListGroupsResponse(
            throttle_time=NO_THROTTLE,
            error_code=ErrorCode.none,
            groups=tuple(
                list_rs.ListedGroup(group_id=group.id, protocol_type=group.protocol_type, group_state=group.state.value)
                for group in groups
                if not request.states_filter or group.state.value in request.states_filter
            ),
        )

    async def delete(self, request: delete_rq.DeleteGroupsRequest, _: Caller) -> delete_rs.DeleteGroupsResponse:
        return delete_rs.DeleteGroupsResponse(
            throttle_time=NO_THROTTLE, results=tuple(self._delete(group_id) for group_id in request.groups_names)
        )

    def _delete(self, group_id: str) -> delete_rs.DeletableGroupResult:
        code = ErrorCode.none
        try:
            self._coordinator.delete(group_id)
        except Refused as refusal:
            code = refusal.code
        return delete_rs.DeletableGroupResult(group_id=group_id, error_code=code)


def _join(request: join_rq.JoinGroupRequest, caller: Caller) -> Join:
    session_timeout_s = request.session_timeout.total_seconds()
    rebalance_timeout_s = request.rebalance_timeout.total_seconds()
    return Join(
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        client_id=caller.client_id,
        host=caller.host,
        session_timeout_s=session_timeout_s,
        rebalance_timeout_s=rebalance_timeout_s if rebalance_timeout_s > 0 else session_timeout_s,
        protocol_type=request.protocol_type,
        protocols=tuple((protocol.name, protocol.metadata) for protocol in request.protocols),
    )


def _describe(group_id: str, group: Group | None) -> describe_rs.DescribedGroup:
    members = group.members.values() if group else ()
    return describe_rs.DescribedGroup(
        error_code=ErrorCode.none,
        group_id=group_id,
        group_state=group.state.value if group else "Dead",
        protocol_type=group.protocol_type if group else "",
        protocol_data=group.protocol if group else "",
        members=tuple(
            describe_rs.DescribedGroupMember(
                member_id=member.id,
                group_instance_id=member.request.instance_id,
                client_id=member.request.client_id,
                client_host=f"/{member.request.host}",
                member_metadata=member.subscription(group.protocol) if group else b"",
                member_assignment=member.assignment,
            )
            for member in members
        ),
    )
