from lucky.message.v1 import content_pb2 as _content_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Entry(_message.Message):
    __slots__ = ("conversation_id", "sequence", "accepted_at_ms", "message_id", "sender_id", "client_message_id", "content", "not_shown", "not_counted")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NOT_SHOWN_FIELD_NUMBER: _ClassVar[int]
    NOT_COUNTED_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    accepted_at_ms: int
    message_id: int
    sender_id: int
    client_message_id: str
    content: _content_pb2.Content
    not_shown: bool
    not_counted: bool
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., message_id: _Optional[int] = ..., sender_id: _Optional[int] = ..., client_message_id: _Optional[str] = ..., content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., not_shown: _Optional[bool] = ..., not_counted: _Optional[bool] = ...) -> None: ...
