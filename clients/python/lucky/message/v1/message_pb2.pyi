from lucky.error.v1 import error_pb2 as _error_pb2
from lucky.message.v1 import content_pb2 as _content_pb2
from lucky.message.v1 import conversation_pb2 as _conversation_pb2
from lucky.message.v1 import entry_pb2 as _entry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SendRequest(_message.Message):
    __slots__ = ("user_id", "conversation_id", "client_message_id", "content", "reply_to_sequence", "mentioned_user_ids", "mention_all", "extra", "silent")
    class ExtraEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MENTIONED_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    MENTION_ALL_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    conversation_id: int
    client_message_id: str
    content: _content_pb2.Content
    reply_to_sequence: int
    mentioned_user_ids: _containers.RepeatedScalarFieldContainer[int]
    mention_all: bool
    extra: _containers.ScalarMap[str, str]
    silent: bool
    def __init__(self, user_id: _Optional[int] = ..., conversation_id: _Optional[int] = ..., client_message_id: _Optional[str] = ..., content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., reply_to_sequence: _Optional[int] = ..., mentioned_user_ids: _Optional[_Iterable[int]] = ..., mention_all: _Optional[bool] = ..., extra: _Optional[_Mapping[str, str]] = ..., silent: _Optional[bool] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("conversation_id", "sequence", "accepted_at_ms", "message_id")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    accepted_at_ms: int
    message_id: int
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., message_id: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("error", "text")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    error: _error_pb2.ErrorDetail
    text: str
    def __init__(self, error: _Optional[_Union[_error_pb2.ErrorDetail, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class SendResult(_message.Message):
    __slots__ = ("client_message_id", "accepted", "refused")
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    client_message_id: str
    accepted: Accepted
    refused: Refused
    def __init__(self, client_message_id: _Optional[str] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ...) -> None: ...

class ForwardRequest(_message.Message):
    __slots__ = ("user_id", "conversation_id", "from_conversation_id", "sequences", "merge", "client_message_ids")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    conversation_id: int
    from_conversation_id: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    merge: bool
    client_message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[int] = ..., conversation_id: _Optional[int] = ..., from_conversation_id: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ..., merge: _Optional[bool] = ..., client_message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ForwardResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: _containers.RepeatedCompositeFieldContainer[Accepted]
    def __init__(self, accepted: _Optional[_Iterable[_Union[Accepted, _Mapping]]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("conversation_id", "after_sequence", "before_sequence", "page_size")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    after_sequence: int
    before_sequence: int
    page_size: int
    def __init__(self, conversation_id: _Optional[int] = ..., after_sequence: _Optional[int] = ..., before_sequence: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "last_sequence", "epoch")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    last_sequence: int
    epoch: int
    def __init__(self, entries: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ..., last_sequence: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("cursor", "page_size")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    page_size: int
    def __init__(self, cursor: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("conversations", "next_cursor", "has_more", "retry_after_ms")
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Conversation]
    next_cursor: str
    has_more: bool
    retry_after_ms: int
    def __init__(self, conversations: _Optional[_Iterable[_Union[_conversation_pb2.Conversation, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., has_more: _Optional[bool] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Cursor(_message.Message):
    __slots__ = ("conversation_id", "delivered_sequence", "read_sequence", "epoch")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    delivered_sequence: int
    read_sequence: int
    epoch: int
    def __init__(self, conversation_id: _Optional[int] = ..., delivered_sequence: _Optional[int] = ..., read_sequence: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("cursors",)
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    cursors: _containers.RepeatedCompositeFieldContainer[Cursor]
    def __init__(self, cursors: _Optional[_Iterable[_Union[Cursor, _Mapping]]] = ...) -> None: ...

class AcknowledgeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("conversation_id", "user_id", "delivered_sequence", "read_sequence", "undelivered_sequence")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNDELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    user_id: int
    delivered_sequence: int
    read_sequence: int
    undelivered_sequence: int
    def __init__(self, conversation_id: _Optional[int] = ..., user_id: _Optional[int] = ..., delivered_sequence: _Optional[int] = ..., read_sequence: _Optional[int] = ..., undelivered_sequence: _Optional[int] = ...) -> None: ...

class ListReceiptsRequest(_message.Message):
    __slots__ = ("conversation_id", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReceiptsResponse(_message.Message):
    __slots__ = ("receipts", "next_page_token")
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    next_page_token: str
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
