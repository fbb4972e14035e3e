# kio's nominal integers (i16, i32, …) check ranges with types; plain ints are the same on the wire.
# mypy: disable-error-code="arg-type"
"""Metadata, topics, partitions and settings."""

from collections.abc import Callable

from kio.schema.create_partitions.v0 import request as grow_rq
from kio.schema.create_partitions.v0 import response as grow_rs
from kio.schema.create_topics.v4 import request as create_rq
from kio.schema.create_topics.v4 import response as create_rs
from kio.schema.delete_topics.v1 import request as delete_rq
from kio.schema.delete_topics.v1 import response as delete_rs
from kio.schema.describe_configs.v1 import request as describe_rq
from kio.schema.describe_configs.v1 import response as describe_rs
from kio.schema.errors import ErrorCode
from kio.schema.incremental_alter_configs.v1 import request as alter_rq
from kio.schema.incremental_alter_configs.v1 import response as alter_rs
from kio.schema.metadata.v12 import request as metadata_rq
from kio.schema.metadata.v12 import response as metadata_rs

from deploy.local.broker.configs import DEFAULTS, check_config
from deploy.local.broker.errors import Refused
from deploy.local.broker.topics import Topic, Topics
from deploy.local.broker.wire import NO_THROTTLE, Caller, Endpoint

NODE_ID = 1
_TOPIC_RESOURCE, _BROKER_RESOURCE = 2, 4
_SOURCE_TOPIC, _SOURCE_DEFAULT = 1, 5
_SET, _DELETE = 0, 1


class AdminApi:
    """address: where clients find this broker, the only node there is."""

    def __init__(self, topics: Topics, cluster_id: str, address: tuple[str, int]) -> None:
        self._topics = topics
        self._cluster_id = cluster_id
        self._host, self._port = address

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(metadata_rq.MetadataRequest, metadata_rs.MetadataResponse, self.metadata),
            Endpoint(create_rq.CreateTopicsRequest, create_rs.CreateTopicsResponse, self.create_topics),
            Endpoint(delete_rq.DeleteTopicsRequest, delete_rs.DeleteTopicsResponse, self.delete_topics),
            Endpoint(grow_rq.CreatePartitionsRequest, grow_rs.CreatePartitionsResponse, self.create_partitions),
            Endpoint(describe_rq.DescribeConfigsRequest, describe_rs.DescribeConfigsResponse, self.describe_configs),
            Endpoint(
                alter_rq.IncrementalAlterConfigsRequest, alter_rs.IncrementalAlterConfigsResponse, self.alter_configs
            ),
        )

    # -- metadata --------------------------------------------------------------------------------

    async def metadata(self, request: metadata_rq.MetadataRequest, _: Caller) -> metadata_rs.MetadataResponse:
        """Never creates a topic: one that appears by a typing error has neither our partitions nor our clock."""
        if request.topics is None:
            topics = tuple(_describe_topic(topic) for topic in self._topics.all())
        else:
            topics = tuple(self._find_topic(asked) for asked in request.topics)
        return metadata_rs.MetadataResponse(
            throttle_time=NO_THROTTLE,
            brokers=(metadata_rs.MetadataResponseBroker(node_id=NODE_ID, host=self._host, port=self._port),),
            cluster_id=self._cluster_id,
            controller_id=NODE_ID,
            topics=topics,
        )

    def _find_topic(self, asked: metadata_rq.MetadataRequestTopic) -> metadata_rs.MetadataResponseTopic:
        if asked.name is None:
            found = next((topic for topic in self._topics.all() if topic.id == asked.topic_id), None)
            code = ErrorCode.unknown_topic_id
        else:
            found = next((topic for topic in self._topics.all() if topic.name == asked.name), None)
            code = ErrorCode.unknown_topic_or_partition
        if found is not None:
            return _describe_topic(found)
        return metadata_rs.MetadataResponseTopic(
            error_code=code, name=asked.name, topic_id=asked.topic_id, partitions=()
        )

    # -- topics ----------------------------------------------------------------------------------

    async def create_topics(self, request: create_rq.CreateTopicsRequest, _: Caller) -> create_rs.CreateTopicsResponse:
        results = []
        for topic in request.topics:
            code, reason = _attempt(self._create, topic, request.validate_only)
            results.append(create_rs.CreatableTopicResult(name=topic.name, error_code=code, error_message=reason))
        return create_rs.CreateTopicsResponse(throttle_time=NO_THROTTLE, topics=tuple(results))

    def _create(self, topic: create_rq.CreatableTopic, validate_only: bool) -> None:
        partitions = len(topic.assignments) or (1 if topic.num_partitions == -1 else topic.num_partitions)
        if topic.replication_factor not in (-1, 1):
            raise Refused(ErrorCode.invalid_replication_factor, "there is one broker, so one replica")
        config = {setting.name: setting.value for setting in topic.configs}
        checked = self._topics.check_new(topic.name, partitions, config)
        if not validate_only:
            self._topics.create(topic.name, partitions, checked)

    async def delete_topics(self, request: delete_rq.DeleteTopicsRequest, _: Caller) -> delete_rs.DeleteTopicsResponse:
        results = []
        for name in request.topic_names:
            code, _reason = _attempt(self._topics.delete, name)
            results.append(delete_rs.DeletableTopicResult(name=name, error_code=code))
        return delete_rs.DeleteTopicsResponse(throttle_time=NO_THROTTLE, responses=tuple(results))

    async def create_partitions(
        self, request: grow_rq.CreatePartitionsRequest, _: Caller
    ) -> grow_rs.CreatePartitionsResponse:
        results = []
        for topic in request.topics:
            code, reason = _attempt(self._grow, topic, request.validate_only)
            results.append(grow_rs.CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=reason))
        return grow_rs.CreatePartitionsResponse(throttle_time=NO_THROTTLE, results=tuple(results))

    def _grow(self, topic: grow_rq.CreatePartitionsTopic, validate_only: bool) -> None:
        self._topics.check_growth(topic.name, topic.count)
        if not validate_only:
            self._topics.grow(topic.name, topic.count)

    # -- settings --------------------------------------------------------------------------------

    async def describe_configs(
        self, request: describe_rq.DescribeConfigsRequest, _: Caller
    ) -> describe_rs.DescribeConfigsResponse:
        results = tuple(self._describe_config(resource) for resource in request.resources)
        return describe_rs.DescribeConfigsResponse(throttle_time=NO_THROTTLE, results=results)

    def _describe_config(self, resource: describe_rq.DescribeConfigsResource) -> describe_rs.DescribeConfigsResult:
        code, reason, own = ErrorCode.none, None, {}
        try:
            own = self._own_config(resource.resource_type, resource.resource_name)
        except Refused as refusal:
            code, reason = refusal.code, refusal.reason
        wanted = set(resource.configuration_keys or DEFAULTS)
        settings = tuple(
            describe_rs.DescribeConfigsResourceResult(
                name=name,
                value=own.get(name, default),
                read_only=False,
                config_source=_SOURCE_TOPIC if name in own else _SOURCE_DEFAULT,
                is_sensitive=False,
                synonyms=(),
            )
            for name, default in DEFAULTS.items()
            if name in wanted and code is ErrorCode.none
        )
        return describe_rs.DescribeConfigsResult(
            error_code=code,
            error_message=reason,
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
            configs=settings,
        )

    def _own_config(self, resource_type: int, name: str) -> dict[str, str]:
        if resource_type == _TOPIC_RESOURCE:
            return self._topics.get(name).config
        if resource_type == _BROKER_RESOURCE:
            return {}
        raise Refused(ErrorCode.invalid_request, f"resources of type {resource_type} have no settings here")

    async def alter_configs(
        self, request: alter_rq.IncrementalAlterConfigsRequest, _: Caller
    ) -> alter_rs.IncrementalAlterConfigsResponse:
        responses = []
        for resource in request.resources:
            code, reason = _attempt(self._alter, resource, request.validate_only)
            responses.append(
                alter_rs.AlterConfigsResourceResponse(
                    error_code=code,
                    error_message=reason,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
            )
        return alter_rs.IncrementalAlterConfigsResponse(throttle_time=NO_THROTTLE, responses=tuple(responses))

    def _alter(self, resource: alter_rq.AlterConfigsResource, validate_only: bool) -> None:
        if resource.resource_type != _TOPIC_RESOURCE:
            raise Refused(ErrorCode.invalid_request, "only topics have settings that can be changed")
        config: dict[str, str | None] = dict(self._topics.get(resource.resource_name).config)
        for change in resource.configs:
            if change.config_operation == _SET:
                config[change.name] = change.value
            elif change.config_operation == _DELETE:
                config.pop(change.name, None)
            else:
                raise Refused(ErrorCode.invalid_config, "a setting can be set or deleted, not appended to")
        checked = check_config(config)
        if not validate_only:
            self._topics.configure(resource.resource_name, checked)


def _attempt(action: Callable[..., None], *arguments: object) -> tuple[ErrorCode, str | None]:
    """(error code, message) of one part of a request; other parts go on."""
    try:
        action(*arguments)
    except Refused as refusal:
        return refusal.code, refusal.reason
    return ErrorCode.none, None


def _describe_topic(topic: Topic) -> metadata_rs.MetadataResponseTopic:
    return metadata_rs.MetadataResponseTopic(
        error_code=ErrorCode.none,
        name=topic.name,
        topic_id=topic.id,
        partitions=tuple(
            metadata_rs.MetadataResponsePartition(
                error_code=ErrorCode.none,
                partition_index=index,
                leader_id=NODE_ID,
                leader_epoch=0,
                replica_nodes=(NODE_ID,),
                isr_nodes=(NODE_ID,),
            )
            for index in range(len(topic.partitions))
        ),
    )
