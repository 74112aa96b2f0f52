from lucky.message.v1 import content_pb2 as _content_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EditMessageRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence", "client_message_id", "text", "caption", "mentioned_user_ids", "mention_all")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    MENTIONED_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    MENTION_ALL_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    client_message_id: str
    text: _content_pb2.Text
    caption: str
    mentioned_user_ids: _containers.RepeatedScalarFieldContainer[int]
    mention_all: bool
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., client_message_id: _Optional[str] = ..., text: _Optional[_Union[_content_pb2.Text, _Mapping]] = ..., caption: _Optional[str] = ..., mentioned_user_ids: _Optional[_Iterable[int]] = ..., mention_all: _Optional[bool] = ...) -> None: ...

class EditMessageResponse(_message.Message):
    __slots__ = ("changed_sequence", "edited_at_ms")
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    edited_at_ms: int
    def __init__(self, changed_sequence: _Optional[int] = ..., edited_at_ms: _Optional[int] = ...) -> None: ...

class RecallMessagesRequest(_message.Message):
    __slots__ = ("conversation_id", "sequences", "reason")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, conversation_id: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class RecallMessagesResponse(_message.Message):
    __slots__ = ("changed_sequence",)
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    def __init__(self, changed_sequence: _Optional[int] = ...) -> None: ...

class SetReactionsRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence", "emojis")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EMOJIS_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    emojis: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., emojis: _Optional[_Iterable[str]] = ...) -> None: ...

class SetReactionsResponse(_message.Message):
    __slots__ = ("changed_sequence", "reactions")
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REACTIONS_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    reactions: _containers.RepeatedCompositeFieldContainer[_content_pb2.ReactionCount]
    def __init__(self, changed_sequence: _Optional[int] = ..., reactions: _Optional[_Iterable[_Union[_content_pb2.ReactionCount, _Mapping]]] = ...) -> None: ...

class PinMessageRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class PinMessageResponse(_message.Message):
    __slots__ = ("changed_sequence",)
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    def __init__(self, changed_sequence: _Optional[int] = ...) -> None: ...

class UnpinMessageRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class UnpinMessageResponse(_message.Message):
    __slots__ = ("changed_sequence",)
    CHANGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    changed_sequence: int
    def __init__(self, changed_sequence: _Optional[int] = ...) -> None: ...

class DeleteForMeRequest(_message.Message):
    __slots__ = ("conversation_id", "sequences")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, conversation_id: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ...) -> None: ...

class DeleteForMeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
