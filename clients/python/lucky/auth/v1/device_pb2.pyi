from lucky.auth.v1 import auth_pb2 as _auth_pb2
from lucky.frame.v1 import frame_pb2 as _frame_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListSecurityNoticesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSecurityNoticesResponse(_message.Message):
    __slots__ = ("notices", "next_page_token")
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    notices: _containers.RepeatedCompositeFieldContainer[_frame_pb2.SecurityNotice]
    next_page_token: str
    def __init__(self, notices: _Optional[_Iterable[_Union[_frame_pb2.SecurityNotice, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class LoggedInDevice(_message.Message):
    __slots__ = ("device", "logged_in_at_ms", "last_seen_at_ms", "coarse_address", "current", "confirmed_by_device_id")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LOGGED_IN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    COARSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_BY_DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    device: _auth_pb2.Device
    logged_in_at_ms: int
    last_seen_at_ms: int
    coarse_address: str
    current: bool
    confirmed_by_device_id: str
    def __init__(self, device: _Optional[_Union[_auth_pb2.Device, _Mapping]] = ..., logged_in_at_ms: _Optional[int] = ..., last_seen_at_ms: _Optional[int] = ..., coarse_address: _Optional[str] = ..., current: _Optional[bool] = ..., confirmed_by_device_id: _Optional[str] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices", "next_page_token")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[LoggedInDevice]
    next_page_token: str
    def __init__(self, devices: _Optional[_Iterable[_Union[LoggedInDevice, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RenameDeviceRequest(_message.Message):
    __slots__ = ("device_id", "device_name")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    device_name: str
    def __init__(self, device_id: _Optional[str] = ..., device_name: _Optional[str] = ...) -> None: ...

class RenameDeviceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeDeviceRequest(_message.Message):
    __slots__ = ("device_id", "proof")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    proof: _auth_pb2.Proof
    def __init__(self, device_id: _Optional[str] = ..., proof: _Optional[_Union[_auth_pb2.Proof, _Mapping]] = ...) -> None: ...

class RevokeDeviceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeOtherDevicesRequest(_message.Message):
    __slots__ = ("proof",)
    PROOF_FIELD_NUMBER: _ClassVar[int]
    proof: _auth_pb2.Proof
    def __init__(self, proof: _Optional[_Union[_auth_pb2.Proof, _Mapping]] = ...) -> None: ...

class RevokeOtherDevicesResponse(_message.Message):
    __slots__ = ("revoked",)
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    revoked: int
    def __init__(self, revoked: _Optional[int] = ...) -> None: ...
