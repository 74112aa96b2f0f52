from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SettingSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTING_SOURCE_UNSPECIFIED: _ClassVar[SettingSource]
    SETTING_SOURCE_DEFAULT: _ClassVar[SettingSource]
    SETTING_SOURCE_ENVIRONMENT: _ClassVar[SettingSource]
    SETTING_SOURCE_FILE: _ClassVar[SettingSource]
    SETTING_SOURCE_SECRET_FILE: _ClassVar[SettingSource]
SETTING_SOURCE_UNSPECIFIED: SettingSource
SETTING_SOURCE_DEFAULT: SettingSource
SETTING_SOURCE_ENVIRONMENT: SettingSource
SETTING_SOURCE_FILE: SettingSource
SETTING_SOURCE_SECRET_FILE: SettingSource

class GetSettingsRequest(_message.Message):
    __slots__ = ("service", "instance_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance_id: str
    def __init__(self, service: _Optional[str] = ..., instance_id: _Optional[str] = ...) -> None: ...

class GetSettingsResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[ProcessSettings]
    def __init__(self, processes: _Optional[_Iterable[_Union[ProcessSettings, _Mapping]]] = ...) -> None: ...

class ProcessSettings(_message.Message):
    __slots__ = ("service", "instance_id", "failure", "settings", "file")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance_id: str
    failure: str
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    file: SettingsFile
    def __init__(self, service: _Optional[str] = ..., instance_id: _Optional[str] = ..., failure: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., file: _Optional[_Union[SettingsFile, _Mapping]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "value", "live", "source", "location")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    live: bool
    source: SettingSource
    location: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., live: _Optional[bool] = ..., source: _Optional[_Union[SettingSource, str]] = ..., location: _Optional[str] = ...) -> None: ...

class SettingsFile(_message.Message):
    __slots__ = ("path", "read_at_ms", "refused_at_ms", "faults")
    PATH_FIELD_NUMBER: _ClassVar[int]
    READ_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    path: str
    read_at_ms: int
    refused_at_ms: int
    faults: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., read_at_ms: _Optional[int] = ..., refused_at_ms: _Optional[int] = ..., faults: _Optional[_Iterable[str]] = ...) -> None: ...
