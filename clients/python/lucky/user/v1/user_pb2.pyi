from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Gender(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GENDER_UNSPECIFIED: _ClassVar[Gender]
    GENDER_FEMALE: _ClassVar[Gender]
    GENDER_MALE: _ClassVar[Gender]
    GENDER_OTHER: _ClassVar[Gender]

class WhoMayAddMe(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WHO_MAY_ADD_ME_UNSPECIFIED: _ClassVar[WhoMayAddMe]
    WHO_MAY_ADD_ME_ANYONE: _ClassVar[WhoMayAddMe]
    WHO_MAY_ADD_ME_WITH_QUESTION: _ClassVar[WhoMayAddMe]
    WHO_MAY_ADD_ME_NOBODY: _ClassVar[WhoMayAddMe]
GENDER_UNSPECIFIED: Gender
GENDER_FEMALE: Gender
GENDER_MALE: Gender
GENDER_OTHER: Gender
WHO_MAY_ADD_ME_UNSPECIFIED: WhoMayAddMe
WHO_MAY_ADD_ME_ANYONE: WhoMayAddMe
WHO_MAY_ADD_ME_WITH_QUESTION: WhoMayAddMe
WHO_MAY_ADD_ME_NOBODY: WhoMayAddMe

class User(_message.Message):
    __slots__ = ("user_id", "user_name", "display_name", "created_at_ms", "avatar", "deleted", "bot")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    BOT_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    user_name: str
    display_name: str
    created_at_ms: int
    avatar: str
    deleted: bool
    bot: bool
    def __init__(self, user_id: _Optional[int] = ..., user_name: _Optional[str] = ..., display_name: _Optional[str] = ..., created_at_ms: _Optional[int] = ..., avatar: _Optional[str] = ..., deleted: _Optional[bool] = ..., bot: _Optional[bool] = ...) -> None: ...

class Date(_message.Message):
    __slots__ = ("year", "month", "day")
    YEAR_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    year: int
    month: int
    day: int
    def __init__(self, year: _Optional[int] = ..., month: _Optional[int] = ..., day: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("user", "gender", "birthday", "location", "signature", "who_may_add_me", "add_question")
    USER_FIELD_NUMBER: _ClassVar[int]
    GENDER_FIELD_NUMBER: _ClassVar[int]
    BIRTHDAY_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WHO_MAY_ADD_ME_FIELD_NUMBER: _ClassVar[int]
    ADD_QUESTION_FIELD_NUMBER: _ClassVar[int]
    user: User
    gender: Gender
    birthday: Date
    location: str
    signature: str
    who_may_add_me: WhoMayAddMe
    add_question: str
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., gender: _Optional[_Union[Gender, str]] = ..., birthday: _Optional[_Union[Date, _Mapping]] = ..., location: _Optional[str] = ..., signature: _Optional[str] = ..., who_may_add_me: _Optional[_Union[WhoMayAddMe, str]] = ..., add_question: _Optional[str] = ...) -> None: ...

class MyProfile(_message.Message):
    __slots__ = ("profile", "phone", "has_password", "searchable_by_name", "searchable_by_phone", "show_birthday", "show_location", "add_answer")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PHONE_FIELD_NUMBER: _ClassVar[int]
    HAS_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_BY_NAME_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_BY_PHONE_FIELD_NUMBER: _ClassVar[int]
    SHOW_BIRTHDAY_FIELD_NUMBER: _ClassVar[int]
    SHOW_LOCATION_FIELD_NUMBER: _ClassVar[int]
    ADD_ANSWER_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    phone: str
    has_password: bool
    searchable_by_name: bool
    searchable_by_phone: bool
    show_birthday: bool
    show_location: bool
    add_answer: str
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ..., phone: _Optional[str] = ..., has_password: _Optional[bool] = ..., searchable_by_name: _Optional[bool] = ..., searchable_by_phone: _Optional[bool] = ..., show_birthday: _Optional[bool] = ..., show_location: _Optional[bool] = ..., add_answer: _Optional[str] = ...) -> None: ...

class GetUserRequest(_message.Message):
    __slots__ = ("user_id", "user_name")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    user_name: str
    def __init__(self, user_id: _Optional[int] = ..., user_name: _Optional[str] = ...) -> None: ...

class GetUserResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: User
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ...) -> None: ...

class BatchGetUsersRequest(_message.Message):
    __slots__ = ("user_ids",)
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, user_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class BatchGetUsersResponse(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[User]
    def __init__(self, users: _Optional[_Iterable[_Union[User, _Mapping]]] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class BatchGetProfilesRequest(_message.Message):
    __slots__ = ("user_ids",)
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, user_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class BatchGetProfilesResponse(_message.Message):
    __slots__ = ("profiles",)
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    profiles: _containers.RepeatedCompositeFieldContainer[Profile]
    def __init__(self, profiles: _Optional[_Iterable[_Union[Profile, _Mapping]]] = ...) -> None: ...

class GetMyProfileRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMyProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: MyProfile
    def __init__(self, profile: _Optional[_Union[MyProfile, _Mapping]] = ...) -> None: ...

class UpdateProfileRequest(_message.Message):
    __slots__ = ("display_name", "avatar", "gender", "birthday", "clear_birthday", "location", "signature", "who_may_add_me", "add_question", "add_answer", "searchable_by_name", "searchable_by_phone", "show_birthday", "show_location")
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    GENDER_FIELD_NUMBER: _ClassVar[int]
    BIRTHDAY_FIELD_NUMBER: _ClassVar[int]
    CLEAR_BIRTHDAY_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    WHO_MAY_ADD_ME_FIELD_NUMBER: _ClassVar[int]
    ADD_QUESTION_FIELD_NUMBER: _ClassVar[int]
    ADD_ANSWER_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_BY_NAME_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_BY_PHONE_FIELD_NUMBER: _ClassVar[int]
    SHOW_BIRTHDAY_FIELD_NUMBER: _ClassVar[int]
    SHOW_LOCATION_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    avatar: str
    gender: Gender
    birthday: Date
    clear_birthday: bool
    location: str
    signature: str
    who_may_add_me: WhoMayAddMe
    add_question: str
    add_answer: str
    searchable_by_name: bool
    searchable_by_phone: bool
    show_birthday: bool
    show_location: bool
    def __init__(self, display_name: _Optional[str] = ..., avatar: _Optional[str] = ..., gender: _Optional[_Union[Gender, str]] = ..., birthday: _Optional[_Union[Date, _Mapping]] = ..., clear_birthday: _Optional[bool] = ..., location: _Optional[str] = ..., signature: _Optional[str] = ..., who_may_add_me: _Optional[_Union[WhoMayAddMe, str]] = ..., add_question: _Optional[str] = ..., add_answer: _Optional[str] = ..., searchable_by_name: _Optional[bool] = ..., searchable_by_phone: _Optional[bool] = ..., show_birthday: _Optional[bool] = ..., show_location: _Optional[bool] = ...) -> None: ...

class UpdateProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: MyProfile
    def __init__(self, profile: _Optional[_Union[MyProfile, _Mapping]] = ...) -> None: ...

class SearchUsersRequest(_message.Message):
    __slots__ = ("user_name_prefix", "phone", "page_size", "page_token")
    USER_NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PHONE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_name_prefix: str
    phone: str
    page_size: int
    page_token: str
    def __init__(self, user_name_prefix: _Optional[str] = ..., phone: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class SearchUsersResponse(_message.Message):
    __slots__ = ("users", "next_page_token")
    USERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[User]
    next_page_token: str
    def __init__(self, users: _Optional[_Iterable[_Union[User, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
