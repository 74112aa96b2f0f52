from lucky.message.v1 import content_pb2 as _content_pb2
from lucky.message.v1 import entry_pb2 as _entry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListMessagesRequest(_message.Message):
    __slots__ = ("conversation_id", "before_sequence", "after_sequence", "around_sequence", "at_ms", "page_size")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AROUND_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    before_sequence: int
    after_sequence: int
    around_sequence: int
    at_ms: int
    page_size: int
    def __init__(self, conversation_id: _Optional[int] = ..., before_sequence: _Optional[int] = ..., after_sequence: _Optional[int] = ..., around_sequence: _Optional[int] = ..., at_ms: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "older_before_sequence", "newer_after_sequence", "has_newer", "last_sequence", "epoch")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    OLDER_BEFORE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEWER_AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HAS_NEWER_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    older_before_sequence: int
    newer_after_sequence: int
    has_newer: bool
    last_sequence: int
    epoch: int
    def __init__(self, messages: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ..., older_before_sequence: _Optional[int] = ..., newer_after_sequence: _Optional[int] = ..., has_newer: _Optional[bool] = ..., last_sequence: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class GetMessagesRequest(_message.Message):
    __slots__ = ("conversation_id", "sequences")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, conversation_id: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ...) -> None: ...

class GetMessagesResponse(_message.Message):
    __slots__ = ("messages", "cut", "epoch")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    cut: bool
    epoch: int
    def __init__(self, messages: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ..., cut: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class ListChangedMessagesRequest(_message.Message):
    __slots__ = ("conversation_id", "after_sequence", "from_sequence", "to_sequence", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    after_sequence: int
    from_sequence: int
    to_sequence: int
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[int] = ..., after_sequence: _Optional[int] = ..., from_sequence: _Optional[int] = ..., to_sequence: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListChangedMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token", "last_sequence", "epoch")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    next_page_token: str
    last_sequence: int
    epoch: int
    def __init__(self, messages: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., last_sequence: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class ListRevisionsRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRevisionsResponse(_message.Message):
    __slots__ = ("revisions", "next_page_token")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    next_page_token: str
    def __init__(self, revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("at_ms", "content")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    content: _content_pb2.Content
    def __init__(self, at_ms: _Optional[int] = ..., content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ...) -> None: ...

class ListReactionsRequest(_message.Message):
    __slots__ = ("conversation_id", "sequence", "emoji", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EMOJI_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    sequence: int
    emoji: str
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[int] = ..., sequence: _Optional[int] = ..., emoji: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReactionsResponse(_message.Message):
    __slots__ = ("reactions", "next_page_token")
    REACTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    reactions: _containers.RepeatedCompositeFieldContainer[Reaction]
    next_page_token: str
    def __init__(self, reactions: _Optional[_Iterable[_Union[Reaction, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Reaction(_message.Message):
    __slots__ = ("user_id", "emoji")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EMOJI_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    emoji: str
    def __init__(self, user_id: _Optional[int] = ..., emoji: _Optional[str] = ...) -> None: ...

class ListPinsRequest(_message.Message):
    __slots__ = ("conversation_id", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPinsResponse(_message.Message):
    __slots__ = ("messages", "next_page_token")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    next_page_token: str
    def __init__(self, messages: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
