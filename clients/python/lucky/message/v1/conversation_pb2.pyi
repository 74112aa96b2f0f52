from lucky.message.v1 import entry_pb2 as _entry_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConversationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONVERSATION_KIND_UNSPECIFIED: _ClassVar[ConversationKind]
    CONVERSATION_KIND_DIRECT: _ClassVar[ConversationKind]
    CONVERSATION_KIND_GROUP: _ClassVar[ConversationKind]
CONVERSATION_KIND_UNSPECIFIED: ConversationKind
CONVERSATION_KIND_DIRECT: ConversationKind
CONVERSATION_KIND_GROUP: ConversationKind

class Conversation(_message.Message):
    __slots__ = ("conversation_id", "kind", "peer_user_id", "name", "first_sequence", "last_sequence", "last_entry", "unread_count", "delivered_sequence", "read_sequence", "member", "peer_delivered_sequence", "peer_read_sequence", "epoch", "preview", "unread_mentions", "unread_mentions_of_all")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PEER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_ENTRY_FIELD_NUMBER: _ClassVar[int]
    UNREAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    PEER_DELIVERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PEER_READ_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    UNREAD_MENTIONS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_MENTIONS_OF_ALL_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    kind: ConversationKind
    peer_user_id: int
    name: str
    first_sequence: int
    last_sequence: int
    last_entry: _entry_pb2.Entry
    unread_count: int
    delivered_sequence: int
    read_sequence: int
    member: bool
    peer_delivered_sequence: int
    peer_read_sequence: int
    epoch: int
    preview: Preview
    unread_mentions: int
    unread_mentions_of_all: int
    def __init__(self, conversation_id: _Optional[int] = ..., kind: _Optional[_Union[ConversationKind, str]] = ..., peer_user_id: _Optional[int] = ..., name: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., last_entry: _Optional[_Union[_entry_pb2.Entry, _Mapping]] = ..., unread_count: _Optional[int] = ..., delivered_sequence: _Optional[int] = ..., read_sequence: _Optional[int] = ..., member: _Optional[bool] = ..., peer_delivered_sequence: _Optional[int] = ..., peer_read_sequence: _Optional[int] = ..., epoch: _Optional[int] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ..., unread_mentions: _Optional[int] = ..., unread_mentions_of_all: _Optional[int] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("sequence", "sender_id", "kind", "text")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    sender_id: int
    kind: int
    text: str
    def __init__(self, sequence: _Optional[int] = ..., sender_id: _Optional[int] = ..., kind: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ("user_id", "conversation_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    conversation_id: int
    def __init__(self, user_id: _Optional[int] = ..., conversation_id: _Optional[int] = ...) -> None: ...

class GetConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...
