from lucky.message.v1 import content_pb2 as _content_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Entry(_message.Message):
    __slots__ = ("conversation_id", "sequence", "accepted_at_ms", "message_id", "sender_id", "client_message_id", "state", "origin", "content", "reply_to_sequence", "mentioned_user_ids", "mention_all", "extra", "silent", "not_shown", "not_counted")
    class ExtraEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MENTIONED_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    MENTION_ALL_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    NOT_SHOWN_FIELD_NUMBER: _ClassVar[int]
    NOT_COUNTED_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    accepted_at_ms: int
    message_id: int
    sender_id: int
    client_message_id: str
    state: MessageState
    origin: Origin
    content: _content_pb2.Content
    reply_to_sequence: int
    mentioned_user_ids: _containers.RepeatedScalarFieldContainer[int]
    mention_all: bool
    extra: _containers.ScalarMap[str, str]
    silent: bool
    not_shown: bool
    not_counted: bool
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., message_id: _Optional[int] = ..., sender_id: _Optional[int] = ..., client_message_id: _Optional[str] = ..., state: _Optional[_Union[MessageState, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., reply_to_sequence: _Optional[int] = ..., mentioned_user_ids: _Optional[_Iterable[int]] = ..., mention_all: _Optional[bool] = ..., extra: _Optional[_Mapping[str, str]] = ..., silent: _Optional[bool] = ..., not_shown: _Optional[bool] = ..., not_counted: _Optional[bool] = ...) -> None: ...

class MessageState(_message.Message):
    __slots__ = ("changed_sequence", "edited_at_ms", "recalled", "reactions", "my_reactions", "pinned_sequence", "deleted_for_me")
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    REACTIONS_FIELD_NUMBER: _ClassVar[int]
    MY_REACTIONS_FIELD_NUMBER: _ClassVar[int]
    PINNED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FOR_ME_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    edited_at_ms: int
    recalled: Recalled
    reactions: _containers.RepeatedCompositeFieldContainer[_content_pb2.ReactionCount]
    my_reactions: _containers.RepeatedScalarFieldContainer[str]
    pinned_sequence: int
    deleted_for_me: bool
    def __init__(self, changed_sequence: _Optional[int] = ..., edited_at_ms: _Optional[int] = ..., recalled: _Optional[_Union[Recalled, _Mapping]] = ..., reactions: _Optional[_Iterable[_Union[_content_pb2.ReactionCount, _Mapping]]] = ..., my_reactions: _Optional[_Iterable[str]] = ..., pinned_sequence: _Optional[int] = ..., deleted_for_me: _Optional[bool] = ...) -> None: ...

class Recalled(_message.Message):
    __slots__ = ("user_id", "at_ms", "reason")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    at_ms: int
    reason: str
    def __init__(self, user_id: _Optional[int] = ..., at_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("sender_id", "accepted_at_ms", "message_id")
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    sender_id: int
    accepted_at_ms: int
    message_id: int
    def __init__(self, sender_id: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., message_id: _Optional[int] = ...) -> None: ...
