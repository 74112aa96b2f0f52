from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Content(_message.Message):
    __slots__ = ("text", "image", "video", "audio", "file", "location", "composite", "contact_card", "group_invitation", "join_request", "tip", "call_record", "custom", "fallback_text")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_FIELD_NUMBER: _ClassVar[int]
    CONTACT_CARD_FIELD_NUMBER: _ClassVar[int]
    GROUP_INVITATION_FIELD_NUMBER: _ClassVar[int]
    JOIN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIP_FIELD_NUMBER: _ClassVar[int]
    CALL_RECORD_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_TEXT_FIELD_NUMBER: _ClassVar[int]
    text: Text
    image: Image
    video: Video
    audio: Audio
    file: File
    location: Location
    composite: Composite
    contact_card: ContactCard
    group_invitation: GroupInvitation
    join_request: JoinRequest
    tip: Tip
    call_record: CallRecord
    custom: Custom
    fallback_text: str
    def __init__(self, text: _Optional[_Union[Text, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., video: _Optional[_Union[Video, _Mapping]] = ..., audio: _Optional[_Union[Audio, _Mapping]] = ..., file: _Optional[_Union[File, _Mapping]] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., composite: _Optional[_Union[Composite, _Mapping]] = ..., contact_card: _Optional[_Union[ContactCard, _Mapping]] = ..., group_invitation: _Optional[_Union[GroupInvitation, _Mapping]] = ..., join_request: _Optional[_Union[JoinRequest, _Mapping]] = ..., tip: _Optional[_Union[Tip, _Mapping]] = ..., call_record: _Optional[_Union[CallRecord, _Mapping]] = ..., custom: _Optional[_Union[Custom, _Mapping]] = ..., fallback_text: _Optional[str] = ...) -> None: ...

class Text(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("url", "file_id", "size_bytes", "mime_type", "sha256")
    URL_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    url: str
    file_id: str
    size_bytes: int
    mime_type: str
    sha256: bytes
    def __init__(self, url: _Optional[str] = ..., file_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., mime_type: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("media", "width_px", "height_px", "preview")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    media: Media
    width_px: int
    height_px: int
    preview: bytes
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., preview: _Optional[bytes] = ...) -> None: ...

class Video(_message.Message):
    __slots__ = ("media", "duration_ms", "width_px", "height_px", "cover")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    COVER_FIELD_NUMBER: _ClassVar[int]
    media: Media
    duration_ms: int
    width_px: int
    height_px: int
    cover: Media
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., duration_ms: _Optional[int] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., cover: _Optional[_Union[Media, _Mapping]] = ...) -> None: ...

class Audio(_message.Message):
    __slots__ = ("media", "duration_ms", "waveform")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    WAVEFORM_FIELD_NUMBER: _ClassVar[int]
    media: Media
    duration_ms: int
    waveform: bytes
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., duration_ms: _Optional[int] = ..., waveform: _Optional[bytes] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("media", "file_name")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    media: Media
    file_name: str
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., file_name: _Optional[str] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("latitude_deg", "longitude_deg", "title", "address")
    LATITUDE_DEG_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_DEG_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    latitude_deg: float
    longitude_deg: float
    title: str
    address: str
    def __init__(self, latitude_deg: _Optional[float] = ..., longitude_deg: _Optional[float] = ..., title: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class Composite(_message.Message):
    __slots__ = ("parts",)
    class Part(_message.Message):
        __slots__ = ("text", "image", "video", "audio", "file", "location")
        TEXT_FIELD_NUMBER: _ClassVar[int]
        IMAGE_FIELD_NUMBER: _ClassVar[int]
        VIDEO_FIELD_NUMBER: _ClassVar[int]
        AUDIO_FIELD_NUMBER: _ClassVar[int]
        FILE_FIELD_NUMBER: _ClassVar[int]
        LOCATION_FIELD_NUMBER: _ClassVar[int]
        text: Text
        image: Image
        video: Video
        audio: Audio
        file: File
        location: Location
        def __init__(self, text: _Optional[_Union[Text, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., video: _Optional[_Union[Video, _Mapping]] = ..., audio: _Optional[_Union[Audio, _Mapping]] = ..., file: _Optional[_Union[File, _Mapping]] = ..., location: _Optional[_Union[Location, _Mapping]] = ...) -> None: ...
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Composite.Part]
    def __init__(self, parts: _Optional[_Iterable[_Union[Composite.Part, _Mapping]]] = ...) -> None: ...

class ContactCard(_message.Message):
    __slots__ = ("user_id", "display_name")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    display_name: str
    def __init__(self, user_id: _Optional[int] = ..., display_name: _Optional[str] = ...) -> None: ...

class GroupInvitation(_message.Message):
    __slots__ = ("group_id", "name")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    group_id: int
    name: str
    def __init__(self, group_id: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("group_id", "greeting")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    GREETING_FIELD_NUMBER: _ClassVar[int]
    group_id: int
    greeting: str
    def __init__(self, group_id: _Optional[int] = ..., greeting: _Optional[str] = ...) -> None: ...

class Tip(_message.Message):
    __slots__ = ("group_created", "members_added", "member_removed")
    GROUP_CREATED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_ADDED_FIELD_NUMBER: _ClassVar[int]
    MEMBER_REMOVED_FIELD_NUMBER: _ClassVar[int]
    group_created: GroupCreated
    members_added: MembersAdded
    member_removed: MemberRemoved
    def __init__(self, group_created: _Optional[_Union[GroupCreated, _Mapping]] = ..., members_added: _Optional[_Union[MembersAdded, _Mapping]] = ..., member_removed: _Optional[_Union[MemberRemoved, _Mapping]] = ...) -> None: ...

class GroupCreated(_message.Message):
    __slots__ = ("name", "user_ids")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    user_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., user_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class MembersAdded(_message.Message):
    __slots__ = ("user_ids",)
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, user_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class MemberRemoved(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class CallRecord(_message.Message):
    __slots__ = ("call_id", "video", "outcome", "duration_ms")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[CallRecord.Outcome]
        OUTCOME_ENDED: _ClassVar[CallRecord.Outcome]
        OUTCOME_MISSED: _ClassVar[CallRecord.Outcome]
        OUTCOME_REJECTED: _ClassVar[CallRecord.Outcome]
        OUTCOME_CANCELLED: _ClassVar[CallRecord.Outcome]
        OUTCOME_BUSY: _ClassVar[CallRecord.Outcome]
    OUTCOME_UNSPECIFIED: CallRecord.Outcome
    OUTCOME_ENDED: CallRecord.Outcome
    OUTCOME_MISSED: CallRecord.Outcome
    OUTCOME_REJECTED: CallRecord.Outcome
    OUTCOME_CANCELLED: CallRecord.Outcome
    OUTCOME_BUSY: CallRecord.Outcome
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    video: bool
    outcome: CallRecord.Outcome
    duration_ms: int
    def __init__(self, call_id: _Optional[int] = ..., video: _Optional[bool] = ..., outcome: _Optional[_Union[CallRecord.Outcome, str]] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class Custom(_message.Message):
    __slots__ = ("type", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: str
    data: bytes
    def __init__(self, type: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...
