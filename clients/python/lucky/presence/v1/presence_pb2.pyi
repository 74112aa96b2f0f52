from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SendTypingRequest(_message.Message):
    __slots__ = ("conversation_id", "typing")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    typing: bool
    def __init__(self, conversation_id: _Optional[int] = ..., typing: _Optional[bool] = ...) -> None: ...

class SendTypingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Typing(_message.Message):
    __slots__ = ("conversation_id", "user_id", "typing")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    user_id: int
    typing: bool
    def __init__(self, conversation_id: _Optional[int] = ..., user_id: _Optional[int] = ..., typing: _Optional[bool] = ...) -> None: ...
