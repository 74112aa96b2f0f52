from lucky.error.v1 import error_pb2 as _error_pb2
from lucky.message.v1 import entry_pb2 as _entry_pb2
from lucky.message.v1 import message_pb2 as _message_pb2
from lucky.presence.v1 import presence_pb2 as _presence_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Feature(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_UNSPECIFIED: _ClassVar[Feature]
    FEATURE_TYPING: _ClassVar[Feature]
    FEATURE_RECEIPTS: _ClassVar[Feature]
    FEATURE_SECURITY_NOTICES: _ClassVar[Feature]

class SecurityNoticeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SECURITY_NOTICE_KIND_UNSPECIFIED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_REFRESH_TOKEN_REUSED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_DEVICE_LOGGED_IN: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_PASSWORD_CHANGED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_PHONE_CHANGED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_QR_LOGIN_CONFIRMED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_QR_LOGIN_KEPT: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_DEVICE_REVOKED: _ClassVar[SecurityNoticeKind]
    SECURITY_NOTICE_KIND_OTHER_DEVICES_REVOKED: _ClassVar[SecurityNoticeKind]

class LoginMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOGIN_METHOD_UNSPECIFIED: _ClassVar[LoginMethod]
    LOGIN_METHOD_PASSWORD: _ClassVar[LoginMethod]
    LOGIN_METHOD_SMS_CODE: _ClassVar[LoginMethod]
    LOGIN_METHOD_QR_CODE: _ClassVar[LoginMethod]

class ReconnectAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECONNECT_ACTION_UNSPECIFIED: _ClassVar[ReconnectAction]
    RECONNECT_ACTION_RECONNECT: _ClassVar[ReconnectAction]
    RECONNECT_ACTION_STAY_CLOSED: _ClassVar[ReconnectAction]

class CloseCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSE_CODE_UNSPECIFIED: _ClassVar[CloseCode]
    CLOSE_CODE_PROTOCOL_ERROR: _ClassVar[CloseCode]
    CLOSE_CODE_FRAME_TOO_LARGE: _ClassVar[CloseCode]
    CLOSE_CODE_HELLO_TIMEOUT: _ClassVar[CloseCode]
    CLOSE_CODE_TOKEN_EXPIRED: _ClassVar[CloseCode]
    CLOSE_CODE_RATE_LIMITED: _ClassVar[CloseCode]
    CLOSE_CODE_HEARTBEAT_TIMEOUT: _ClassVar[CloseCode]
    CLOSE_CODE_MOVE: _ClassVar[CloseCode]
    CLOSE_CODE_UNAVAILABLE: _ClassVar[CloseCode]
    CLOSE_CODE_LOG_RESET: _ClassVar[CloseCode]
    CLOSE_CODE_TOKEN_INVALID: _ClassVar[CloseCode]
    CLOSE_CODE_TOKEN_REVOKED: _ClassVar[CloseCode]
    CLOSE_CODE_REPLACED: _ClassVar[CloseCode]
    CLOSE_CODE_DEVICE_LIMIT_REACHED: _ClassVar[CloseCode]
    CLOSE_CODE_CLIENT_TOO_OLD: _ClassVar[CloseCode]
FEATURE_UNSPECIFIED: Feature
FEATURE_TYPING: Feature
FEATURE_RECEIPTS: Feature
FEATURE_SECURITY_NOTICES: Feature
SECURITY_NOTICE_KIND_UNSPECIFIED: SecurityNoticeKind
SECURITY_NOTICE_KIND_REFRESH_TOKEN_REUSED: SecurityNoticeKind
SECURITY_NOTICE_KIND_DEVICE_LOGGED_IN: SecurityNoticeKind
SECURITY_NOTICE_KIND_PASSWORD_CHANGED: SecurityNoticeKind
SECURITY_NOTICE_KIND_PHONE_CHANGED: SecurityNoticeKind
SECURITY_NOTICE_KIND_QR_LOGIN_CONFIRMED: SecurityNoticeKind
SECURITY_NOTICE_KIND_QR_LOGIN_KEPT: SecurityNoticeKind
SECURITY_NOTICE_KIND_DEVICE_REVOKED: SecurityNoticeKind
SECURITY_NOTICE_KIND_OTHER_DEVICES_REVOKED: SecurityNoticeKind
LOGIN_METHOD_UNSPECIFIED: LoginMethod
LOGIN_METHOD_PASSWORD: LoginMethod
LOGIN_METHOD_SMS_CODE: LoginMethod
LOGIN_METHOD_QR_CODE: LoginMethod
RECONNECT_ACTION_UNSPECIFIED: ReconnectAction
RECONNECT_ACTION_RECONNECT: ReconnectAction
RECONNECT_ACTION_STAY_CLOSED: ReconnectAction
CLOSE_CODE_UNSPECIFIED: CloseCode
CLOSE_CODE_PROTOCOL_ERROR: CloseCode
CLOSE_CODE_FRAME_TOO_LARGE: CloseCode
CLOSE_CODE_HELLO_TIMEOUT: CloseCode
CLOSE_CODE_TOKEN_EXPIRED: CloseCode
CLOSE_CODE_RATE_LIMITED: CloseCode
CLOSE_CODE_HEARTBEAT_TIMEOUT: CloseCode
CLOSE_CODE_MOVE: CloseCode
CLOSE_CODE_UNAVAILABLE: CloseCode
CLOSE_CODE_LOG_RESET: CloseCode
CLOSE_CODE_TOKEN_INVALID: CloseCode
CLOSE_CODE_TOKEN_REVOKED: CloseCode
CLOSE_CODE_REPLACED: CloseCode
CLOSE_CODE_DEVICE_LIMIT_REACHED: CloseCode
CLOSE_CODE_CLIENT_TOO_OLD: CloseCode

class ResolveEndpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResolveEndpointResponse(_message.Message):
    __slots__ = ("url",)
    URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    def __init__(self, url: _Optional[str] = ...) -> None: ...

class ClientFrame(_message.Message):
    __slots__ = ("hello", "send", "acknowledge", "typing", "rpc", "heartbeat", "renew", "traceparent")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    RPC_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    send: _message_pb2.SendRequest
    acknowledge: _message_pb2.AcknowledgeRequest
    typing: _presence_pb2.SendTypingRequest
    rpc: Rpc
    heartbeat: Heartbeat
    renew: Renew
    traceparent: str
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., send: _Optional[_Union[_message_pb2.SendRequest, _Mapping]] = ..., acknowledge: _Optional[_Union[_message_pb2.AcknowledgeRequest, _Mapping]] = ..., typing: _Optional[_Union[_presence_pb2.SendTypingRequest, _Mapping]] = ..., rpc: _Optional[_Union[Rpc, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ServerFrame(_message.Message):
    __slots__ = ("welcome", "send_results", "deliver", "receipt", "typing", "sync_required", "rpc_result", "heartbeat", "kick", "move", "token_expiring", "security_notice")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    SEND_RESULTS_FIELD_NUMBER: _ClassVar[int]
    DELIVER_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    TYPING_FIELD_NUMBER: _ClassVar[int]
    SYNC_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    RPC_RESULT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    KICK_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRING_FIELD_NUMBER: _ClassVar[int]
    SECURITY_NOTICE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    send_results: SendResults
    deliver: Deliver
    receipt: _message_pb2.Receipt
    typing: _presence_pb2.Typing
    sync_required: SyncRequired
    rpc_result: RpcResult
    heartbeat: Heartbeat
    kick: Kick
    move: Move
    token_expiring: TokenExpiring
    security_notice: SecurityNotice
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., send_results: _Optional[_Union[SendResults, _Mapping]] = ..., deliver: _Optional[_Union[Deliver, _Mapping]] = ..., receipt: _Optional[_Union[_message_pb2.Receipt, _Mapping]] = ..., typing: _Optional[_Union[_presence_pb2.Typing, _Mapping]] = ..., sync_required: _Optional[_Union[SyncRequired, _Mapping]] = ..., rpc_result: _Optional[_Union[RpcResult, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., kick: _Optional[_Union[Kick, _Mapping]] = ..., move: _Optional[_Union[Move, _Mapping]] = ..., token_expiring: _Optional[_Union[TokenExpiring, _Mapping]] = ..., security_notice: _Optional[_Union[SecurityNotice, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("access_token", "client_version", "client_name", "protocol_revision", "content_kinds", "features")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KINDS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    client_version: str
    client_name: str
    protocol_revision: int
    content_kinds: _containers.RepeatedScalarFieldContainer[int]
    features: _containers.RepeatedScalarFieldContainer[Feature]
    def __init__(self, access_token: _Optional[str] = ..., client_version: _Optional[str] = ..., client_name: _Optional[str] = ..., protocol_revision: _Optional[int] = ..., content_kinds: _Optional[_Iterable[int]] = ..., features: _Optional[_Iterable[_Union[Feature, str]]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session_id", "user_id", "device_id", "heartbeat_interval_ms", "server_time_ms", "limits", "protocol_revision", "content_kinds", "features")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KINDS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    user_id: int
    device_id: str
    heartbeat_interval_ms: int
    server_time_ms: int
    limits: Limits
    protocol_revision: int
    content_kinds: _containers.RepeatedScalarFieldContainer[int]
    features: _containers.RepeatedScalarFieldContainer[Feature]
    def __init__(self, session_id: _Optional[str] = ..., user_id: _Optional[int] = ..., device_id: _Optional[str] = ..., heartbeat_interval_ms: _Optional[int] = ..., server_time_ms: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., protocol_revision: _Optional[int] = ..., content_kinds: _Optional[_Iterable[int]] = ..., features: _Optional[_Iterable[_Union[Feature, str]]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_client_frame_bytes", "max_server_frame_bytes", "max_sends_in_flight", "max_calls_in_flight", "max_cursors", "max_content_bytes", "frames_per_second", "frames_burst")
    MAX_CLIENT_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SERVER_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SENDS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_CURSORS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FRAMES_BURST_FIELD_NUMBER: _ClassVar[int]
    max_client_frame_bytes: int
    max_server_frame_bytes: int
    max_sends_in_flight: int
    max_calls_in_flight: int
    max_cursors: int
    max_content_bytes: int
    frames_per_second: int
    frames_burst: int
    def __init__(self, max_client_frame_bytes: _Optional[int] = ..., max_server_frame_bytes: _Optional[int] = ..., max_sends_in_flight: _Optional[int] = ..., max_calls_in_flight: _Optional[int] = ..., max_cursors: _Optional[int] = ..., max_content_bytes: _Optional[int] = ..., frames_per_second: _Optional[int] = ..., frames_burst: _Optional[int] = ...) -> None: ...

class SendResults(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_message_pb2.SendResult]
    def __init__(self, results: _Optional[_Iterable[_Union[_message_pb2.SendResult, _Mapping]]] = ...) -> None: ...

class Deliver(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_entry_pb2.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[_entry_pb2.Entry, _Mapping]]] = ...) -> None: ...

class SyncRequired(_message.Message):
    __slots__ = ("conversation_id", "last_sequence")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation_id: int
    last_sequence: int
    def __init__(self, conversation_id: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class Rpc(_message.Message):
    __slots__ = ("call_id", "method", "request")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    method: str
    request: bytes
    def __init__(self, call_id: _Optional[int] = ..., method: _Optional[str] = ..., request: _Optional[bytes] = ...) -> None: ...

class RpcResult(_message.Message):
    __slots__ = ("call_id", "response", "error")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    response: bytes
    error: RpcError
    def __init__(self, call_id: _Optional[int] = ..., response: _Optional[bytes] = ..., error: _Optional[_Union[RpcError, _Mapping]] = ...) -> None: ...

class RpcError(_message.Message):
    __slots__ = ("code", "text", "error")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    code: int
    text: str
    error: _error_pb2.ErrorDetail
    def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ..., error: _Optional[_Union[_error_pb2.ErrorDetail, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Renew(_message.Message):
    __slots__ = ("access_token",)
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    def __init__(self, access_token: _Optional[str] = ...) -> None: ...

class TokenExpiring(_message.Message):
    __slots__ = ("expires_at_ms",)
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    expires_at_ms: int
    def __init__(self, expires_at_ms: _Optional[int] = ...) -> None: ...

class SecurityNotice(_message.Message):
    __slots__ = ("kind", "device_id", "device_name", "at_ms", "coarse_address", "login_method", "notice_id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    COARSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOGIN_METHOD_FIELD_NUMBER: _ClassVar[int]
    NOTICE_ID_FIELD_NUMBER: _ClassVar[int]
    kind: SecurityNoticeKind
    device_id: str
    device_name: str
    at_ms: int
    coarse_address: str
    login_method: LoginMethod
    notice_id: int
    def __init__(self, kind: _Optional[_Union[SecurityNoticeKind, str]] = ..., device_id: _Optional[str] = ..., device_name: _Optional[str] = ..., at_ms: _Optional[int] = ..., coarse_address: _Optional[str] = ..., login_method: _Optional[_Union[LoginMethod, str]] = ..., notice_id: _Optional[int] = ...) -> None: ...

class Kick(_message.Message):
    __slots__ = ("code", "text", "action", "retry_after_ms", "upgrade_url")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    UPGRADE_URL_FIELD_NUMBER: _ClassVar[int]
    code: CloseCode
    text: str
    action: ReconnectAction
    retry_after_ms: int
    upgrade_url: str
    def __init__(self, code: _Optional[_Union[CloseCode, str]] = ..., text: _Optional[str] = ..., action: _Optional[_Union[ReconnectAction, str]] = ..., retry_after_ms: _Optional[int] = ..., upgrade_url: _Optional[str] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("after_ms",)
    AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    after_ms: int
    def __init__(self, after_ms: _Optional[int] = ...) -> None: ...
