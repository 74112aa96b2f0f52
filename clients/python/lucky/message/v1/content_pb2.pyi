from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Content(_message.Message):
    __slots__ = ("text", "image", "video", "audio", "file", "location", "composite", "contact_card", "group_invitation", "join_request", "tip", "call_record", "custom", "merged", "edit", "recall", "reactions", "pin", "unpin", "fallback_text")
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
    MERGED_FIELD_NUMBER: _ClassVar[int]
    EDIT_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    REACTIONS_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    UNPIN_FIELD_NUMBER: _ClassVar[int]
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
    merged: Merged
    edit: Edit
    recall: Recall
    reactions: Reactions
    pin: Pin
    unpin: Unpin
    fallback_text: str
    def __init__(self, text: _Optional[_Union[Text, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., video: _Optional[_Union[Video, _Mapping]] = ..., audio: _Optional[_Union[Audio, _Mapping]] = ..., file: _Optional[_Union[File, _Mapping]] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., composite: _Optional[_Union[Composite, _Mapping]] = ..., contact_card: _Optional[_Union[ContactCard, _Mapping]] = ..., group_invitation: _Optional[_Union[GroupInvitation, _Mapping]] = ..., join_request: _Optional[_Union[JoinRequest, _Mapping]] = ..., tip: _Optional[_Union[Tip, _Mapping]] = ..., call_record: _Optional[_Union[CallRecord, _Mapping]] = ..., custom: _Optional[_Union[Custom, _Mapping]] = ..., merged: _Optional[_Union[Merged, _Mapping]] = ..., edit: _Optional[_Union[Edit, _Mapping]] = ..., recall: _Optional[_Union[Recall, _Mapping]] = ..., reactions: _Optional[_Union[Reactions, _Mapping]] = ..., pin: _Optional[_Union[Pin, _Mapping]] = ..., unpin: _Optional[_Union[Unpin, _Mapping]] = ..., fallback_text: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("media", "width_px", "height_px", "preview", "caption")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    media: Media
    width_px: int
    height_px: int
    preview: bytes
    caption: str
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., preview: _Optional[bytes] = ..., caption: _Optional[str] = ...) -> None: ...

class Video(_message.Message):
    __slots__ = ("media", "duration_ms", "width_px", "height_px", "cover", "caption")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    COVER_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    media: Media
    duration_ms: int
    width_px: int
    height_px: int
    cover: Media
    caption: str
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., duration_ms: _Optional[int] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., cover: _Optional[_Union[Media, _Mapping]] = ..., caption: _Optional[str] = ...) -> None: ...

class Audio(_message.Message):
    __slots__ = ("media", "duration_ms", "waveform", "caption")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    WAVEFORM_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    media: Media
    duration_ms: int
    waveform: bytes
    caption: str
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., duration_ms: _Optional[int] = ..., waveform: _Optional[bytes] = ..., caption: _Optional[str] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("media", "file_name", "caption")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    media: Media
    file_name: str
    caption: str
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., file_name: _Optional[str] = ..., caption: _Optional[str] = ...) -> None: ...

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

class Merged(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("sender_id", "accepted_at_ms", "text", "image", "video", "audio", "file", "location", "composite", "contact_card", "custom", "fallback_text")
        SENDER_ID_FIELD_NUMBER: _ClassVar[int]
        ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        IMAGE_FIELD_NUMBER: _ClassVar[int]
        VIDEO_FIELD_NUMBER: _ClassVar[int]
        AUDIO_FIELD_NUMBER: _ClassVar[int]
        FILE_FIELD_NUMBER: _ClassVar[int]
        LOCATION_FIELD_NUMBER: _ClassVar[int]
        COMPOSITE_FIELD_NUMBER: _ClassVar[int]
        CONTACT_CARD_FIELD_NUMBER: _ClassVar[int]
        CUSTOM_FIELD_NUMBER: _ClassVar[int]
        FALLBACK_TEXT_FIELD_NUMBER: _ClassVar[int]
        sender_id: int
        accepted_at_ms: int
        text: Text
        image: Image
        video: Video
        audio: Audio
        file: File
        location: Location
        composite: Composite
        contact_card: ContactCard
        custom: Custom
        fallback_text: str
        def __init__(self, sender_id: _Optional[int] = ..., accepted_at_ms: _Optional[int] = ..., text: _Optional[_Union[Text, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., video: _Optional[_Union[Video, _Mapping]] = ..., audio: _Optional[_Union[Audio, _Mapping]] = ..., file: _Optional[_Union[File, _Mapping]] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., composite: _Optional[_Union[Composite, _Mapping]] = ..., contact_card: _Optional[_Union[ContactCard, _Mapping]] = ..., custom: _Optional[_Union[Custom, _Mapping]] = ..., fallback_text: _Optional[str] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Merged.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Merged.Item, _Mapping]]] = ...) -> None: ...

class Edit(_message.Message):
    __slots__ = ("target_sequence", "text", "caption", "mentioned_user_ids", "mention_all")
    TARGET_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    MENTIONED_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    MENTION_ALL_FIELD_NUMBER: _ClassVar[int]
    target_sequence: int
    text: Text
    caption: str
    mentioned_user_ids: _containers.RepeatedScalarFieldContainer[int]
    mention_all: bool
    def __init__(self, target_sequence: _Optional[int] = ..., text: _Optional[_Union[Text, _Mapping]] = ..., caption: _Optional[str] = ..., mentioned_user_ids: _Optional[_Iterable[int]] = ..., mention_all: _Optional[bool] = ...) -> None: ...

class Recall(_message.Message):
    __slots__ = ("target_sequences", "reason")
    TARGET_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    target_sequences: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    def __init__(self, target_sequences: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ...) -> None: ...

class Reactions(_message.Message):
    __slots__ = ("target_sequence", "counts", "deltas")
    class Delta(_message.Message):
        __slots__ = ("user_id", "emoji", "added")
        USER_ID_FIELD_NUMBER: _ClassVar[int]
        EMOJI_FIELD_NUMBER: _ClassVar[int]
        ADDED_FIELD_NUMBER: _ClassVar[int]
        user_id: int
        emoji: str
        added: bool
        def __init__(self, user_id: _Optional[int] = ..., emoji: _Optional[str] = ..., added: _Optional[bool] = ...) -> None: ...
    TARGET_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    target_sequence: int
    counts: _containers.RepeatedCompositeFieldContainer[ReactionCount]
    deltas: _containers.RepeatedCompositeFieldContainer[Reactions.Delta]
    def __init__(self, target_sequence: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[ReactionCount, _Mapping]]] = ..., deltas: _Optional[_Iterable[_Union[Reactions.Delta, _Mapping]]] = ...) -> None: ...

class ReactionCount(_message.Message):
    __slots__ = ("emoji", "count", "recent_user_ids")
    EMOJI_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RECENT_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    emoji: str
    count: int
    recent_user_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, emoji: _Optional[str] = ..., count: _Optional[int] = ..., recent_user_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Pin(_message.Message):
    __slots__ = ("target_sequence",)
    TARGET_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    target_sequence: int
    def __init__(self, target_sequence: _Optional[int] = ...) -> None: ...

class Unpin(_message.Message):
    __slots__ = ("target_sequence",)
    TARGET_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    target_sequence: int
    def __init__(self, target_sequence: _Optional[int] = ...) -> None: ...
