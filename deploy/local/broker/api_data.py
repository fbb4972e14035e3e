# kio's nominal integers (i16, i32, …) check ranges with types; plain ints are the same on the wire.
# mypy: disable-error-code="arg-type"
"""Produce, Fetch, ListOffsets, DeleteRecords, InitProducerId: the records themselves."""

import datetime as dt

from kio.schema.delete_records.v1 import request as delete_rq
from kio.schema.delete_records.v1 import response as delete_rs
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v11 import request as fetch_rq
from kio.schema.fetch.v11 import response as fetch_rs
from kio.schema.init_producer_id.v4 import request as init_rq
from kio.schema.init_producer_id.v4 import response as init_rs
from kio.schema.list_offsets.v7 import request as list_rq
from kio.schema.list_offsets.v7 import response as list_rs
from kio.schema.produce.v8 import request as produce_rq
from kio.schema.produce.v8 import response as produce_rs

from deploy.local.broker.catalog import Catalog
from deploy.local.broker.errors import Refused
from deploy.local.broker.fetching import Fetch
from deploy.local.broker.log import PartitionLog
from deploy.local.broker.topics import Topics
from deploy.local.broker.wire import NO_THROTTLE, Caller, Endpoint

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3


class DataApi:
    def __init__(self, topics: Topics, catalog: Catalog) -> None:
        self._topics = topics
        self._catalog = catalog

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(produce_rq.ProduceRequest, produce_rs.ProduceResponse, self.produce),
            Endpoint(fetch_rq.FetchRequest, fetch_rs.FetchResponse, self.fetch),
            Endpoint(list_rq.ListOffsetsRequest, list_rs.ListOffsetsResponse, self.list_offsets),
            Endpoint(delete_rq.DeleteRecordsRequest, delete_rs.DeleteRecordsResponse, self.delete_records),
            Endpoint(init_rq.InitProducerIdRequest, init_rs.InitProducerIdResponse, self.init_producer_id),
        )

    # -- produce ---------------------------------------------------------------------------------

    async def produce(self, request: produce_rq.ProduceRequest, _: Caller) -> produce_rs.ProduceResponse | None:
        """None (no answer) for acks=0, which is what such a producer expects."""
        responses = tuple(
            produce_rs.TopicProduceResponse(
                name=topic.name,
                partition_responses=tuple(self._append(topic.name, data) for data in topic.partition_data),
            )
            for topic in request.topic_data
        )
        return None if request.acks == 0 else produce_rs.ProduceResponse(responses=responses)

    def _append(self, topic: str, data: produce_rq.PartitionProduceData) -> produce_rs.PartitionProduceResponse:
        try:
            log = self._topics.partition(topic, data.index)
            base_offset, time_ms = log.append(data.records or b"")
        except Refused as refusal:
            return produce_rs.PartitionProduceResponse(
                index=data.index,
                error_code=refusal.code,
                base_offset=-1,
                record_errors=(),
                error_message=refusal.reason,
            )
        return produce_rs.PartitionProduceResponse(
            index=data.index,
            error_code=ErrorCode.none,
            base_offset=base_offset,
            log_append_time=None if time_ms is None else _datetime(time_ms),
            log_start_offset=log.start_offset,
            record_errors=(),
        )

    async def init_producer_id(
        self, request: init_rq.InitProducerIdRequest, _: Caller
    ) -> init_rs.InitProducerIdResponse:
        """A fresh id for an idempotent producer; a transactional one is refused for good, not to retry."""
        if request.transactional_id is not None:
            return init_rs.InitProducerIdResponse(
                throttle_time=NO_THROTTLE, error_code=ErrorCode.transactional_id_authorization_failed, producer_epoch=-1
            )
        return init_rs.InitProducerIdResponse(
            throttle_time=NO_THROTTLE,
            error_code=ErrorCode.none,
            producer_id=self._catalog.next_producer_id(),
            producer_epoch=0,
        )

    # -- fetch -----------------------------------------------------------------------------------

    async def fetch(self, request: fetch_rq.FetchRequest, _: Caller) -> bytes:
        """Answer once `min_bytes` are there, something is wrong, or `max_wait` has passed."""
        fetch = Fetch(self._topics, request)
        if not fetch.is_worth_answering():
            await fetch.wait()
        return fetch.answer()

    # -- offsets ---------------------------------------------------------------------------------

    async def list_offsets(self, request: list_rq.ListOffsetsRequest, _: Caller) -> list_rs.ListOffsetsResponse:
        return list_rs.ListOffsetsResponse(
            throttle_time=NO_THROTTLE,
            topics=tuple(
                list_rs.ListOffsetsTopicResponse(
                    name=topic.name, partitions=tuple(self._offset(topic.name, asked) for asked in topic.partitions)
                )
                for topic in request.topics
            ),
        )

    def _offset(self, topic: str, asked: list_rq.ListOffsetsPartition) -> list_rs.ListOffsetsPartitionResponse:
        try:
            log = self._topics.partition(topic, asked.partition_index)
        except Refused as refusal:
            return list_rs.ListOffsetsPartitionResponse(partition_index=asked.partition_index, error_code=refusal.code)
        offset, timestamp = _locate(log, asked.timestamp)
        return list_rs.ListOffsetsPartitionResponse(
            partition_index=asked.partition_index,
            error_code=ErrorCode.none,
            timestamp=timestamp,
            offset=offset,
            leader_epoch=0,
        )

    async def delete_records(
        self, request: delete_rq.DeleteRecordsRequest, _: Caller
    ) -> delete_rs.DeleteRecordsResponse:
        return delete_rs.DeleteRecordsResponse(
            throttle_time=NO_THROTTLE,
            topics=tuple(
                delete_rs.DeleteRecordsTopicResult(
                    name=topic.name, partitions=tuple(self._delete(topic.name, asked) for asked in topic.partitions)
                )
                for topic in request.topics
            ),
        )

    def _delete(self, topic: str, asked: delete_rq.DeleteRecordsPartition) -> delete_rs.DeleteRecordsPartitionResult:
        code, start = ErrorCode.none, -1
        try:
            start = self._topics.delete_records(topic, asked.partition_index, asked.offset)
        except Refused as refusal:
            code = refusal.code
        return delete_rs.DeleteRecordsPartitionResult(
            partition_index=asked.partition_index, low_watermark=start, error_code=code
        )


def _locate(log: PartitionLog, timestamp: int) -> tuple[int, int]:
    """(offset, timestamp) as ListOffsets answers it; -1 stands for none."""
    if timestamp == LATEST:
        return log.end_offset, -1
    if timestamp == EARLIEST:
        return log.start_offset, -1
    found = log.newest() if timestamp == MAX_TIMESTAMP else log.offset_for_time(timestamp)
    return found or (-1, -1)


def _datetime(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC).replace(microsecond=time_ms % 1000 * 1000)
