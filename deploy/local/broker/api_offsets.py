# kio's nominal integers (i16, i32, …) check ranges with types; plain ints are the same on the wire.
# mypy: disable-error-code="arg-type"
"""OffsetCommit and OffsetFetch: how far a consumer group has come."""

from collections import defaultdict

from kio.schema.errors import ErrorCode
from kio.schema.offset_commit.v7 import request as commit_rq
from kio.schema.offset_commit.v7 import response as commit_rs
from kio.schema.offset_fetch.v7 import request as fetch_rq
from kio.schema.offset_fetch.v7 import response as fetch_rs

from deploy.local.broker.catalog import Committed
from deploy.local.broker.coordinator import Coordinator
from deploy.local.broker.errors import Refused
from deploy.local.broker.topics import Topics
from deploy.local.broker.wire import NO_THROTTLE, Caller, Endpoint

_NONE = -1


class OffsetApi:
    def __init__(self, coordinator: Coordinator, topics: Topics) -> None:
        self._coordinator = coordinator
        self._topics = topics

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(commit_rq.OffsetCommitRequest, commit_rs.OffsetCommitResponse, self.commit),
            Endpoint(fetch_rq.OffsetFetchRequest, fetch_rs.OffsetFetchResponse, self.fetch),
        )

    async def commit(self, request: commit_rq.OffsetCommitRequest, _: Caller) -> commit_rs.OffsetCommitResponse:
        """Commits what exists; a partition that does not exist is refused by itself."""
        codes = {
            (topic.name, partition.partition_index): self._check(topic.name, partition.partition_index)
            for topic in request.topics
            for partition in topic.partitions
        }
        commits = [
            Committed(topic.name, at.partition_index, at.committed_offset, at.committed_metadata or "")
            for topic in request.topics
            for at in topic.partitions
            if codes[topic.name, at.partition_index] is ErrorCode.none
        ]
        generation = request.generation_id_or_member_epoch
        try:
            self._coordinator.commit(
                request.group_id, request.member_id, request.group_instance_id, generation, commits
            )
        except Refused as refusal:
            codes = dict.fromkeys(codes, refusal.code)
        return commit_rs.OffsetCommitResponse(
            throttle_time=NO_THROTTLE,
            topics=tuple(
                commit_rs.OffsetCommitResponseTopic(
                    name=topic.name,
                    partitions=tuple(
                        commit_rs.OffsetCommitResponsePartition(
                            partition_index=at.partition_index, error_code=codes[topic.name, at.partition_index]
                        )
                        for at in topic.partitions
                    ),
                )
                for topic in request.topics
            ),
        )

    def _check(self, topic: str, partition: int) -> ErrorCode:
        try:
            self._topics.partition(topic, partition)
        except Refused as refusal:
            return refusal.code
        return ErrorCode.none

    async def fetch(self, request: fetch_rq.OffsetFetchRequest, _: Caller) -> fetch_rs.OffsetFetchResponse:
        """The asked partitions, with -1 for those never committed; all committed ones if none are named."""
        committed = self._coordinator.committed(request.group_id)
        asked: defaultdict[str, list[int]] = defaultdict(list)
        if request.topics is None:
            for topic, partition in committed:
                asked[topic].append(partition)
        else:
            for wanted in request.topics:
                asked[wanted.name].extend(wanted.partition_indexes)
        return fetch_rs.OffsetFetchResponse(
            throttle_time=NO_THROTTLE,
            topics=tuple(
                fetch_rs.OffsetFetchResponseTopic(
                    name=topic,
                    partitions=tuple(_answer(index, committed.get((topic, index))) for index in partitions),
                )
                for topic, partitions in asked.items()
            ),
        )


def _answer(partition: int, committed: Committed | None) -> fetch_rs.OffsetFetchResponsePartition:
    return fetch_rs.OffsetFetchResponsePartition(
        partition_index=partition,
        committed_offset=_NONE if committed is None else committed.offset,
        metadata="" if committed is None else committed.metadata,
        error_code=ErrorCode.none,
    )
