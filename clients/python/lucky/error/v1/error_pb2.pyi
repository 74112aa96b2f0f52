from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_ARGUMENT: _ClassVar[ErrorReason]
    ERROR_REASON_TOKEN_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_TOKEN_EXPIRED: _ClassVar[ErrorReason]
    ERROR_REASON_TOKEN_REVOKED: _ClassVar[ErrorReason]
    ERROR_REASON_PERMISSION_DENIED: _ClassVar[ErrorReason]
    ERROR_REASON_RATE_LIMITED: _ClassVar[ErrorReason]
    ERROR_REASON_OVERLOADED: _ClassVar[ErrorReason]
    ERROR_REASON_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIALS_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_USER_NAME_TAKEN: _ClassVar[ErrorReason]
    ERROR_REASON_PASSWORD_WEAK: _ClassVar[ErrorReason]
    ERROR_REASON_ENCRYPTION_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_REFRESH_TOKEN_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_USER_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_CONVERSATION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_A_MEMBER: _ClassVar[ErrorReason]
    ERROR_REASON_MUTED: _ClassVar[ErrorReason]
    ERROR_REASON_KEY_REUSED: _ClassVar[ErrorReason]
    ERROR_REASON_GROUP_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_METHOD_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_USER_NAME_CONFUSABLE: _ClassVar[ErrorReason]
    ERROR_REASON_PHONE_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_PHONE_TAKEN: _ClassVar[ErrorReason]
    ERROR_REASON_SMS_CODE_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_SMS_CODE_EXHAUSTED: _ClassVar[ErrorReason]
    ERROR_REASON_SMS_NOT_SENT: _ClassVar[ErrorReason]
    ERROR_REASON_ACCOUNT_DISABLED: _ClassVar[ErrorReason]
    ERROR_REASON_ACCOUNT_LOCKED: _ClassVar[ErrorReason]
    ERROR_REASON_QR_LOGIN_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_QR_LOGIN_EXPIRED: _ClassVar[ErrorReason]
    ERROR_REASON_QR_LOGIN_STEP: _ClassVar[ErrorReason]
    ERROR_REASON_QR_LOGIN_FOREIGN: _ClassVar[ErrorReason]
    ERROR_REASON_PHONE_DEVICE_REQUIRED: _ClassVar[ErrorReason]
    ERROR_REASON_DEVICE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_DEVICE_LIMIT_REACHED: _ClassVar[ErrorReason]
    ERROR_REASON_LAST_ADMIN: _ClassVar[ErrorReason]
    ERROR_REASON_PROOF_REQUIRED: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_CANCELED: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_INVALID_ARGUMENT: ErrorReason
ERROR_REASON_TOKEN_INVALID: ErrorReason
ERROR_REASON_TOKEN_EXPIRED: ErrorReason
ERROR_REASON_TOKEN_REVOKED: ErrorReason
ERROR_REASON_PERMISSION_DENIED: ErrorReason
ERROR_REASON_RATE_LIMITED: ErrorReason
ERROR_REASON_OVERLOADED: ErrorReason
ERROR_REASON_UNAVAILABLE: ErrorReason
ERROR_REASON_CREDENTIALS_INVALID: ErrorReason
ERROR_REASON_USER_NAME_TAKEN: ErrorReason
ERROR_REASON_PASSWORD_WEAK: ErrorReason
ERROR_REASON_ENCRYPTION_INVALID: ErrorReason
ERROR_REASON_REFRESH_TOKEN_INVALID: ErrorReason
ERROR_REASON_USER_NOT_FOUND: ErrorReason
ERROR_REASON_CONVERSATION_NOT_FOUND: ErrorReason
ERROR_REASON_NOT_A_MEMBER: ErrorReason
ERROR_REASON_MUTED: ErrorReason
ERROR_REASON_KEY_REUSED: ErrorReason
ERROR_REASON_GROUP_FULL: ErrorReason
ERROR_REASON_METHOD_NOT_FOUND: ErrorReason
ERROR_REASON_USER_NAME_CONFUSABLE: ErrorReason
ERROR_REASON_PHONE_INVALID: ErrorReason
ERROR_REASON_PHONE_TAKEN: ErrorReason
ERROR_REASON_SMS_CODE_INVALID: ErrorReason
ERROR_REASON_SMS_CODE_EXHAUSTED: ErrorReason
ERROR_REASON_SMS_NOT_SENT: ErrorReason
ERROR_REASON_ACCOUNT_DISABLED: ErrorReason
ERROR_REASON_ACCOUNT_LOCKED: ErrorReason
ERROR_REASON_QR_LOGIN_NOT_FOUND: ErrorReason
ERROR_REASON_QR_LOGIN_EXPIRED: ErrorReason
ERROR_REASON_QR_LOGIN_STEP: ErrorReason
ERROR_REASON_QR_LOGIN_FOREIGN: ErrorReason
ERROR_REASON_PHONE_DEVICE_REQUIRED: ErrorReason
ERROR_REASON_DEVICE_NOT_FOUND: ErrorReason
ERROR_REASON_DEVICE_LIMIT_REACHED: ErrorReason
ERROR_REASON_LAST_ADMIN: ErrorReason
ERROR_REASON_PROOF_REQUIRED: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_CANCELED: ErrorReason

class ErrorDetail(_message.Message):
    __slots__ = ("reason", "retry_after_ms", "field")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    reason: ErrorReason
    retry_after_ms: int
    field: str
    def __init__(self, reason: _Optional[_Union[ErrorReason, str]] = ..., retry_after_ms: _Optional[int] = ..., field: _Optional[str] = ...) -> None: ...
