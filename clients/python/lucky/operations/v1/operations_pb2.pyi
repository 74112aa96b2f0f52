from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SettingSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTING_SOURCE_UNSPECIFIED: _ClassVar[SettingSource]
    SETTING_SOURCE_DEFAULT: _ClassVar[SettingSource]
    SETTING_SOURCE_ENVIRONMENT: _ClassVar[SettingSource]
    SETTING_SOURCE_FILE: _ClassVar[SettingSource]
    SETTING_SOURCE_SECRET_FILE: _ClassVar[SettingSource]

class PublicationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PUBLICATION_STATE_UNSPECIFIED: _ClassVar[PublicationState]
    PUBLICATION_STATE_WAITING: _ClassVar[PublicationState]
    PUBLICATION_STATE_FAILED: _ClassVar[PublicationState]
    PUBLICATION_STATE_CONFIRMED_RECENTLY: _ClassVar[PublicationState]
    PUBLICATION_STATE_CONFIRMED: _ClassVar[PublicationState]

class DeliveryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_STATE_UNSPECIFIED: _ClassVar[DeliveryState]
    DELIVERY_STATE_UNKNOWN: _ClassVar[DeliveryState]
    DELIVERY_STATE_SENT: _ClassVar[DeliveryState]
    DELIVERY_STATE_ACKNOWLEDGED: _ClassVar[DeliveryState]
    DELIVERY_STATE_NOT_SENT: _ClassVar[DeliveryState]
    DELIVERY_STATE_BEHIND: _ClassVar[DeliveryState]
SETTING_SOURCE_UNSPECIFIED: SettingSource
SETTING_SOURCE_DEFAULT: SettingSource
SETTING_SOURCE_ENVIRONMENT: SettingSource
SETTING_SOURCE_FILE: SettingSource
SETTING_SOURCE_SECRET_FILE: SettingSource
PUBLICATION_STATE_UNSPECIFIED: PublicationState
PUBLICATION_STATE_WAITING: PublicationState
PUBLICATION_STATE_FAILED: PublicationState
PUBLICATION_STATE_CONFIRMED_RECENTLY: PublicationState
PUBLICATION_STATE_CONFIRMED: PublicationState
DELIVERY_STATE_UNSPECIFIED: DeliveryState
DELIVERY_STATE_UNKNOWN: DeliveryState
DELIVERY_STATE_SENT: DeliveryState
DELIVERY_STATE_ACKNOWLEDGED: DeliveryState
DELIVERY_STATE_NOT_SENT: DeliveryState
DELIVERY_STATE_BEHIND: DeliveryState

class GetSettingsRequest(_message.Message):
    __slots__ = ("service", "instance_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance_id: str
    def __init__(self, service: _Optional[str] = ..., instance_id: _Optional[str] = ...) -> None: ...

class GetSettingsResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[ProcessSettings]
    def __init__(self, processes: _Optional[_Iterable[_Union[ProcessSettings, _Mapping]]] = ...) -> None: ...

class ProcessSettings(_message.Message):
    __slots__ = ("service", "instance_id", "failure", "settings", "file")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance_id: str
    failure: str
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    file: SettingsFile
    def __init__(self, service: _Optional[str] = ..., instance_id: _Optional[str] = ..., failure: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., file: _Optional[_Union[SettingsFile, _Mapping]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "value", "live", "source", "location")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    live: bool
    source: SettingSource
    location: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., live: _Optional[bool] = ..., source: _Optional[_Union[SettingSource, str]] = ..., location: _Optional[str] = ...) -> None: ...

class SettingsFile(_message.Message):
    __slots__ = ("path", "read_at_ms", "refused_at_ms", "faults")
    PATH_FIELD_NUMBER: _ClassVar[int]
    READ_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    path: str
    read_at_ms: int
    refused_at_ms: int
    faults: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., read_at_ms: _Optional[int] = ..., refused_at_ms: _Optional[int] = ..., faults: _Optional[_Iterable[str]] = ...) -> None: ...

class TraceMessageRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence", "reason")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    reason: str
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TraceMessageResponse(_message.Message):
    __slots__ = ("entry", "publication", "member_count", "delivered_count", "read_count", "members", "instances")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    PUBLICATION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_COUNT_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    entry: TracedEntry
    publication: Publication
    member_count: int
    delivered_count: int
    read_count: int
    members: _containers.RepeatedCompositeFieldContainer[MemberCursors]
    instances: _containers.RepeatedCompositeFieldContainer[InstanceDeliveries]
    def __init__(self, entry: _Optional[_Union[TracedEntry, _Mapping]] = ..., publication: _Optional[_Union[Publication, _Mapping]] = ..., member_count: _Optional[int] = ..., delivered_count: _Optional[int] = ..., read_count: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberCursors, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[InstanceDeliveries, _Mapping]]] = ...) -> None: ...

class TracedEntry(_message.Message):
    __slots__ = ("message_id", "sender_id", "client_message_id", "kind", "bytes", "accepted_at_ms", "database")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    message_id: int
    sender_id: int
    client_message_id: str
    kind: str
    bytes: int
    accepted_at_ms: int
    database: int
    def __init__(self, message_id: _Optional[int] = ..., sender_id: _Optional[int] = ..., client_message_id: _Optional[str] = ..., kind: _Optional[str] = ..., bytes: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., database: _Optional[int] = ...) -> None: ...

class Publication(_message.Message):
    __slots__ = ("state", "batch_id", "attempts", "next_attempt_at_ms", "failure")
    STATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    state: PublicationState
    batch_id: int
    attempts: int
    next_attempt_at_ms: int
    failure: str
    def __init__(self, state: _Optional[_Union[PublicationState, str]] = ..., batch_id: _Optional[int] = ..., attempts: _Optional[int] = ..., next_attempt_at_ms: _Optional[int] = ..., failure: _Optional[str] = ...) -> None: ...

class MemberCursors(_message.Message):
    __slots__ = ("user_id", "delivered_sequence", "read_sequence")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    delivered_sequence: int
    read_sequence: int
    def __init__(self, user_id: _Optional[int] = ..., delivered_sequence: _Optional[int] = ..., read_sequence: _Optional[int] = ...) -> None: ...

class InstanceDeliveries(_message.Message):
    __slots__ = ("instance_id", "failure", "session_count", "sessions")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    failure: str
    session_count: int
    sessions: _containers.RepeatedCompositeFieldContainer[SessionDelivery]
    def __init__(self, instance_id: _Optional[str] = ..., failure: _Optional[str] = ..., session_count: _Optional[int] = ..., sessions: _Optional[_Iterable[_Union[SessionDelivery, _Mapping]]] = ...) -> None: ...

class SessionDelivery(_message.Message):
    __slots__ = ("user_id", "device_id", "session_id", "state", "acknowledged_sequence", "redeliveries")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REDELIVERIES_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    device_id: str
    session_id: str
    state: DeliveryState
    acknowledged_sequence: int
    redeliveries: int
    def __init__(self, user_id: _Optional[int] = ..., device_id: _Optional[str] = ..., session_id: _Optional[str] = ..., state: _Optional[_Union[DeliveryState, str]] = ..., acknowledged_sequence: _Optional[int] = ..., redeliveries: _Optional[int] = ...) -> None: ...

class ListFailedBatchesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFailedBatchesResponse(_message.Message):
    __slots__ = ("batches", "next_page_token", "unreachable_databases")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_DATABASES_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[FailedBatch]
    next_page_token: str
    unreachable_databases: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, batches: _Optional[_Iterable[_Union[FailedBatch, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unreachable_databases: _Optional[_Iterable[int]] = ...) -> None: ...

class FailedBatch(_message.Message):
    __slots__ = ("batch_id", "database", "created_at_ms", "failed_at_ms", "attempts", "failure", "conversation_count", "entry_count", "ranges")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    database: int
    created_at_ms: int
    failed_at_ms: int
    attempts: int
    failure: str
    conversation_count: int
    entry_count: int
    ranges: _containers.RepeatedCompositeFieldContainer[EntryRange]
    def __init__(self, batch_id: _Optional[int] = ..., database: _Optional[int] = ..., created_at_ms: _Optional[int] = ..., failed_at_ms: _Optional[int] = ..., attempts: _Optional[int] = ..., failure: _Optional[str] = ..., conversation_count: _Optional[int] = ..., entry_count: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[EntryRange, _Mapping]]] = ...) -> None: ...

class EntryRange(_message.Message):
    __slots__ = ("conversation_id", "first_sequence", "last_sequence")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    first_sequence: int
    last_sequence: int
    def __init__(self, conversation_id: _Optional[int] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class ReplayFailedBatchesRequest(_message.Message):
    __slots__ = ("batch_ids", "reason")
    BATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    batch_ids: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, batch_ids: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReplayFailedBatchesResponse(_message.Message):
    __slots__ = ("replayed", "unreachable_databases")
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_DATABASES_FIELD_NUMBER: _ClassVar[int]
    replayed: int
    unreachable_databases: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, replayed: _Optional[int] = ..., unreachable_databases: _Optional[_Iterable[int]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("letters", "next_page_token", "unreachable_databases")
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_DATABASES_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_page_token: str
    unreachable_databases: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unreachable_databases: _Optional[_Iterable[int]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("at_ms", "queue", "reason", "bytes", "conversation_count", "ranges")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    queue: str
    reason: str
    bytes: int
    conversation_count: int
    ranges: _containers.RepeatedCompositeFieldContainer[EntryRange]
    def __init__(self, at_ms: _Optional[int] = ..., queue: _Optional[str] = ..., reason: _Optional[str] = ..., bytes: _Optional[int] = ..., conversation_count: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[EntryRange, _Mapping]]] = ...) -> None: ...
