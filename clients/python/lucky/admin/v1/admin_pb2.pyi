from lucky.auth.v1 import auth_pb2 as _auth_pb2
from lucky.user.v1 import user_pb2 as _user_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_USER: _ClassVar[Role]
    ROLE_BOT: _ClassVar[Role]
    ROLE_OPERATOR: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]

class AccountState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCOUNT_STATE_UNSPECIFIED: _ClassVar[AccountState]
    ACCOUNT_STATE_ACTIVE: _ClassVar[AccountState]
    ACCOUNT_STATE_DISABLED: _ClassVar[AccountState]
    ACCOUNT_STATE_DELETED: _ClassVar[AccountState]

class AuditAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_ACTION_UNSPECIFIED: _ClassVar[AuditAction]
    AUDIT_ACTION_ACCOUNT_DISABLED: _ClassVar[AuditAction]
    AUDIT_ACTION_ACCOUNT_ENABLED: _ClassVar[AuditAction]
    AUDIT_ACTION_LOGGED_OUT: _ClassVar[AuditAction]
    AUDIT_ACTION_PASSWORD_SET: _ClassVar[AuditAction]
    AUDIT_ACTION_ROLE_GRANTED: _ClassVar[AuditAction]
    AUDIT_ACTION_DEVICE_POLICY_SET: _ClassVar[AuditAction]
    AUDIT_ACTION_FOUND_BY_PHONE: _ClassVar[AuditAction]
    AUDIT_ACTION_ACCOUNT_DELETED: _ClassVar[AuditAction]
    AUDIT_ACTION_BATCHES_REPLAYED: _ClassVar[AuditAction]
    AUDIT_ACTION_MESSAGE_TRACED: _ClassVar[AuditAction]
ROLE_UNSPECIFIED: Role
ROLE_USER: Role
ROLE_BOT: Role
ROLE_OPERATOR: Role
ROLE_ADMIN: Role
ACCOUNT_STATE_UNSPECIFIED: AccountState
ACCOUNT_STATE_ACTIVE: AccountState
ACCOUNT_STATE_DISABLED: AccountState
ACCOUNT_STATE_DELETED: AccountState
AUDIT_ACTION_UNSPECIFIED: AuditAction
AUDIT_ACTION_ACCOUNT_DISABLED: AuditAction
AUDIT_ACTION_ACCOUNT_ENABLED: AuditAction
AUDIT_ACTION_LOGGED_OUT: AuditAction
AUDIT_ACTION_PASSWORD_SET: AuditAction
AUDIT_ACTION_ROLE_GRANTED: AuditAction
AUDIT_ACTION_DEVICE_POLICY_SET: AuditAction
AUDIT_ACTION_FOUND_BY_PHONE: AuditAction
AUDIT_ACTION_ACCOUNT_DELETED: AuditAction
AUDIT_ACTION_BATCHES_REPLAYED: AuditAction
AUDIT_ACTION_MESSAGE_TRACED: AuditAction

class Account(_message.Message):
    __slots__ = ("user", "role", "state", "masked_phone", "logged_in_devices", "last_seen_at_ms")
    USER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MASKED_PHONE_FIELD_NUMBER: _ClassVar[int]
    LOGGED_IN_DEVICES_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    role: Role
    state: AccountState
    masked_phone: str
    logged_in_devices: int
    last_seen_at_ms: int
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., role: _Optional[_Union[Role, str]] = ..., state: _Optional[_Union[AccountState, str]] = ..., masked_phone: _Optional[str] = ..., logged_in_devices: _Optional[int] = ..., last_seen_at_ms: _Optional[int] = ...) -> None: ...

class FindAccountsRequest(_message.Message):
    __slots__ = ("user_id", "user_name_prefix", "phone", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PHONE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    user_name_prefix: str
    phone: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[int] = ..., user_name_prefix: _Optional[str] = ..., phone: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class FindAccountsResponse(_message.Message):
    __slots__ = ("accounts", "next_page_token")
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    next_page_token: str
    def __init__(self, accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DisableAccountRequest(_message.Message):
    __slots__ = ("user_id", "reason")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    reason: str
    def __init__(self, user_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class DisableAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class EnableAccountRequest(_message.Message):
    __slots__ = ("user_id", "reason")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    reason: str
    def __init__(self, user_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class EnableAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class ForceLogoutRequest(_message.Message):
    __slots__ = ("user_id", "device_id", "reason")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    device_id: str
    reason: str
    def __init__(self, user_id: _Optional[int] = ..., device_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ForceLogoutResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class SetPasswordRequest(_message.Message):
    __slots__ = ("user_id", "new_password", "reason", "proof")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NEW_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    new_password: _auth_pb2.EncryptedPassword
    reason: str
    proof: _auth_pb2.Proof
    def __init__(self, user_id: _Optional[int] = ..., new_password: _Optional[_Union[_auth_pb2.EncryptedPassword, _Mapping]] = ..., reason: _Optional[str] = ..., proof: _Optional[_Union[_auth_pb2.Proof, _Mapping]] = ...) -> None: ...

class SetPasswordResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class GrantRoleRequest(_message.Message):
    __slots__ = ("user_id", "role", "reason", "proof")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    role: Role
    reason: str
    proof: _auth_pb2.Proof
    def __init__(self, user_id: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., reason: _Optional[str] = ..., proof: _Optional[_Union[_auth_pb2.Proof, _Mapping]] = ...) -> None: ...

class GrantRoleResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("audit_id", "actor_id", "action", "user_id", "detail", "reason", "coarse_address", "at_ms")
    AUDIT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COARSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    audit_id: int
    actor_id: int
    action: AuditAction
    user_id: int
    detail: str
    reason: str
    coarse_address: str
    at_ms: int
    def __init__(self, audit_id: _Optional[int] = ..., actor_id: _Optional[int] = ..., action: _Optional[_Union[AuditAction, str]] = ..., user_id: _Optional[int] = ..., detail: _Optional[str] = ..., reason: _Optional[str] = ..., coarse_address: _Optional[str] = ..., at_ms: _Optional[int] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("user_id", "actor_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    actor_id: int
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[int] = ..., actor_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDevicePolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDevicePolicyResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[_auth_pb2.DeviceRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[_auth_pb2.DeviceRule, _Mapping]]] = ...) -> None: ...

class SetDevicePolicyRequest(_message.Message):
    __slots__ = ("rules", "reason")
    RULES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[_auth_pb2.DeviceRule]
    reason: str
    def __init__(self, rules: _Optional[_Iterable[_Union[_auth_pb2.DeviceRule, _Mapping]]] = ..., reason: _Optional[str] = ...) -> None: ...

class SetDevicePolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
