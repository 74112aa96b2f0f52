from lucky.user.v1 import user_pb2 as _user_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_CLASS_UNSPECIFIED: _ClassVar[DeviceClass]
    DEVICE_CLASS_MOBILE: _ClassVar[DeviceClass]
    DEVICE_CLASS_DESKTOP: _ClassVar[DeviceClass]
    DEVICE_CLASS_WEB: _ClassVar[DeviceClass]
    DEVICE_CLASS_BOT: _ClassVar[DeviceClass]

class DeviceExcess(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_EXCESS_UNSPECIFIED: _ClassVar[DeviceExcess]
    DEVICE_EXCESS_REPLACE_OLDEST: _ClassVar[DeviceExcess]
    DEVICE_EXCESS_REFUSE_NEW: _ClassVar[DeviceExcess]

class SmsPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SMS_PURPOSE_UNSPECIFIED: _ClassVar[SmsPurpose]
    SMS_PURPOSE_LOGIN: _ClassVar[SmsPurpose]
    SMS_PURPOSE_REGISTER: _ClassVar[SmsPurpose]
    SMS_PURPOSE_RESET: _ClassVar[SmsPurpose]
    SMS_PURPOSE_BIND: _ClassVar[SmsPurpose]
    SMS_PURPOSE_PROVE: _ClassVar[SmsPurpose]

class QrLoginState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QR_LOGIN_STATE_UNSPECIFIED: _ClassVar[QrLoginState]
    QR_LOGIN_STATE_WAITING: _ClassVar[QrLoginState]
    QR_LOGIN_STATE_SCANNED: _ClassVar[QrLoginState]
    QR_LOGIN_STATE_CONFIRMED: _ClassVar[QrLoginState]
    QR_LOGIN_STATE_REFUSED: _ClassVar[QrLoginState]
    QR_LOGIN_STATE_EXPIRED: _ClassVar[QrLoginState]
DEVICE_CLASS_UNSPECIFIED: DeviceClass
DEVICE_CLASS_MOBILE: DeviceClass
DEVICE_CLASS_DESKTOP: DeviceClass
DEVICE_CLASS_WEB: DeviceClass
DEVICE_CLASS_BOT: DeviceClass
DEVICE_EXCESS_UNSPECIFIED: DeviceExcess
DEVICE_EXCESS_REPLACE_OLDEST: DeviceExcess
DEVICE_EXCESS_REFUSE_NEW: DeviceExcess
SMS_PURPOSE_UNSPECIFIED: SmsPurpose
SMS_PURPOSE_LOGIN: SmsPurpose
SMS_PURPOSE_REGISTER: SmsPurpose
SMS_PURPOSE_RESET: SmsPurpose
SMS_PURPOSE_BIND: SmsPurpose
SMS_PURPOSE_PROVE: SmsPurpose
QR_LOGIN_STATE_UNSPECIFIED: QrLoginState
QR_LOGIN_STATE_WAITING: QrLoginState
QR_LOGIN_STATE_SCANNED: QrLoginState
QR_LOGIN_STATE_CONFIRMED: QrLoginState
QR_LOGIN_STATE_REFUSED: QrLoginState
QR_LOGIN_STATE_EXPIRED: QrLoginState

class Device(_message.Message):
    __slots__ = ("device_id", "device_class", "device_name", "client_version")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    device_class: DeviceClass
    device_name: str
    client_version: str
    def __init__(self, device_id: _Optional[str] = ..., device_class: _Optional[_Union[DeviceClass, str]] = ..., device_name: _Optional[str] = ..., client_version: _Optional[str] = ...) -> None: ...

class EncryptedPassword(_message.Message):
    __slots__ = ("key_id", "ciphertext")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    ciphertext: bytes
    def __init__(self, key_id: _Optional[str] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class PasswordPlaintext(_message.Message):
    __slots__ = ("nonce", "encrypted_at_ms", "password")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    encrypted_at_ms: int
    password: str
    def __init__(self, nonce: _Optional[bytes] = ..., encrypted_at_ms: _Optional[int] = ..., password: _Optional[str] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("access_token", "access_token_expires_at_ms", "refresh_token", "refresh_token_expires_at_ms")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    access_token_expires_at_ms: int
    refresh_token: str
    refresh_token_expires_at_ms: int
    def __init__(self, access_token: _Optional[str] = ..., access_token_expires_at_ms: _Optional[int] = ..., refresh_token: _Optional[str] = ..., refresh_token_expires_at_ms: _Optional[int] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("refresh_token", "password", "code")
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    refresh_token: str
    password: EncryptedPassword
    code: str
    def __init__(self, refresh_token: _Optional[str] = ..., password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., code: _Optional[str] = ...) -> None: ...

class GetPublicKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPublicKeyResponse(_message.Message):
    __slots__ = ("key_id", "algorithm", "spki", "jwk_json", "nonce", "nonce_expires_at_ms", "server_time_ms")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SPKI_FIELD_NUMBER: _ClassVar[int]
    JWK_JSON_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    NONCE_EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    algorithm: str
    spki: bytes
    jwk_json: str
    nonce: bytes
    nonce_expires_at_ms: int
    server_time_ms: int
    def __init__(self, key_id: _Optional[str] = ..., algorithm: _Optional[str] = ..., spki: _Optional[bytes] = ..., jwk_json: _Optional[str] = ..., nonce: _Optional[bytes] = ..., nonce_expires_at_ms: _Optional[int] = ..., server_time_ms: _Optional[int] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("user_name", "password", "display_name", "client_registration_id")
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    user_name: str
    password: EncryptedPassword
    display_name: str
    client_registration_id: str
    def __init__(self, user_name: _Optional[str] = ..., password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., display_name: _Optional[str] = ..., client_registration_id: _Optional[str] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("user_name", "password", "device")
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    user_name: str
    password: EncryptedPassword
    device: Device
    def __init__(self, user_name: _Optional[str] = ..., password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("user", "tokens")
    USER_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    tokens: Tokens
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class RefreshRequest(_message.Message):
    __slots__ = ("refresh_token",)
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    refresh_token: str
    def __init__(self, refresh_token: _Optional[str] = ...) -> None: ...

class RefreshResponse(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: Tokens
    def __init__(self, tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class LogoutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogoutResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetJwksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetJwksResponse(_message.Message):
    __slots__ = ("jwks_json",)
    JWKS_JSON_FIELD_NUMBER: _ClassVar[int]
    jwks_json: str
    def __init__(self, jwks_json: _Optional[str] = ...) -> None: ...

class DeviceRule(_message.Message):
    __slots__ = ("device_class", "max_devices", "excess")
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MAX_DEVICES_FIELD_NUMBER: _ClassVar[int]
    EXCESS_FIELD_NUMBER: _ClassVar[int]
    device_class: DeviceClass
    max_devices: int
    excess: DeviceExcess
    def __init__(self, device_class: _Optional[_Union[DeviceClass, str]] = ..., max_devices: _Optional[int] = ..., excess: _Optional[_Union[DeviceExcess, str]] = ...) -> None: ...

class SendSmsCodeRequest(_message.Message):
    __slots__ = ("phone", "purpose")
    PHONE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    phone: str
    purpose: SmsPurpose
    def __init__(self, phone: _Optional[str] = ..., purpose: _Optional[_Union[SmsPurpose, str]] = ...) -> None: ...

class SendSmsCodeResponse(_message.Message):
    __slots__ = ("expires_at_ms", "resend_after_ms")
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RESEND_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    expires_at_ms: int
    resend_after_ms: int
    def __init__(self, expires_at_ms: _Optional[int] = ..., resend_after_ms: _Optional[int] = ...) -> None: ...

class RegisterByPhoneRequest(_message.Message):
    __slots__ = ("phone", "code", "user_name", "password", "display_name", "device")
    PHONE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    phone: str
    code: str
    user_name: str
    password: EncryptedPassword
    display_name: str
    device: Device
    def __init__(self, phone: _Optional[str] = ..., code: _Optional[str] = ..., user_name: _Optional[str] = ..., password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., display_name: _Optional[str] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class RegisterByPhoneResponse(_message.Message):
    __slots__ = ("user", "tokens")
    USER_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    tokens: Tokens
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class LoginBySmsCodeRequest(_message.Message):
    __slots__ = ("phone", "code", "device")
    PHONE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    phone: str
    code: str
    device: Device
    def __init__(self, phone: _Optional[str] = ..., code: _Optional[str] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class LoginBySmsCodeResponse(_message.Message):
    __slots__ = ("user", "tokens")
    USER_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    tokens: Tokens
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...

class ChangePasswordRequest(_message.Message):
    __slots__ = ("old_password", "new_password", "proof_code")
    OLD_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    NEW_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PROOF_CODE_FIELD_NUMBER: _ClassVar[int]
    old_password: EncryptedPassword
    new_password: EncryptedPassword
    proof_code: str
    def __init__(self, old_password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., new_password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., proof_code: _Optional[str] = ...) -> None: ...

class ChangePasswordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResetPasswordRequest(_message.Message):
    __slots__ = ("phone", "code", "new_password")
    PHONE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    NEW_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    phone: str
    code: str
    new_password: EncryptedPassword
    def __init__(self, phone: _Optional[str] = ..., code: _Optional[str] = ..., new_password: _Optional[_Union[EncryptedPassword, _Mapping]] = ...) -> None: ...

class ResetPasswordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BindPhoneRequest(_message.Message):
    __slots__ = ("phone", "code", "password", "proof_code")
    PHONE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PROOF_CODE_FIELD_NUMBER: _ClassVar[int]
    phone: str
    code: str
    password: EncryptedPassword
    proof_code: str
    def __init__(self, phone: _Optional[str] = ..., code: _Optional[str] = ..., password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., proof_code: _Optional[str] = ...) -> None: ...

class BindPhoneResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class QrLogin(_message.Message):
    __slots__ = ("state", "scanned_by", "tokens", "expires_at_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCANNED_BY_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    state: QrLoginState
    scanned_by: _user_pb2.User
    tokens: Tokens
    expires_at_ms: int
    def __init__(self, state: _Optional[_Union[QrLoginState, str]] = ..., scanned_by: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., tokens: _Optional[_Union[Tokens, _Mapping]] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class CreateQrLoginRequest(_message.Message):
    __slots__ = ("device",)
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    device: Device
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class CreateQrLoginResponse(_message.Message):
    __slots__ = ("qr_login_id", "text", "svg", "secret", "expires_at_ms")
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SVG_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    text: str
    svg: str
    secret: str
    expires_at_ms: int
    def __init__(self, qr_login_id: _Optional[str] = ..., text: _Optional[str] = ..., svg: _Optional[str] = ..., secret: _Optional[str] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class WatchQrLoginRequest(_message.Message):
    __slots__ = ("qr_login_id", "secret", "device_id")
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    secret: str
    device_id: str
    def __init__(self, qr_login_id: _Optional[str] = ..., secret: _Optional[str] = ..., device_id: _Optional[str] = ...) -> None: ...

class WatchQrLoginResponse(_message.Message):
    __slots__ = ("qr_login",)
    QR_LOGIN_FIELD_NUMBER: _ClassVar[int]
    qr_login: QrLogin
    def __init__(self, qr_login: _Optional[_Union[QrLogin, _Mapping]] = ...) -> None: ...

class GetQrLoginRequest(_message.Message):
    __slots__ = ("qr_login_id", "secret", "device_id")
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    secret: str
    device_id: str
    def __init__(self, qr_login_id: _Optional[str] = ..., secret: _Optional[str] = ..., device_id: _Optional[str] = ...) -> None: ...

class GetQrLoginResponse(_message.Message):
    __slots__ = ("qr_login",)
    QR_LOGIN_FIELD_NUMBER: _ClassVar[int]
    qr_login: QrLogin
    def __init__(self, qr_login: _Optional[_Union[QrLogin, _Mapping]] = ...) -> None: ...

class ScanQrLoginRequest(_message.Message):
    __slots__ = ("qr_login_id",)
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    def __init__(self, qr_login_id: _Optional[str] = ...) -> None: ...

class ScanQrLoginResponse(_message.Message):
    __slots__ = ("device", "coarse_address", "expires_at_ms")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    COARSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    device: Device
    coarse_address: str
    expires_at_ms: int
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ..., coarse_address: _Optional[str] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class ConfirmQrLoginRequest(_message.Message):
    __slots__ = ("qr_login_id", "proof")
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    proof: Proof
    def __init__(self, qr_login_id: _Optional[str] = ..., proof: _Optional[_Union[Proof, _Mapping]] = ...) -> None: ...

class ConfirmQrLoginResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RefuseQrLoginRequest(_message.Message):
    __slots__ = ("qr_login_id",)
    QR_LOGIN_ID_FIELD_NUMBER: _ClassVar[int]
    qr_login_id: str
    def __init__(self, qr_login_id: _Optional[str] = ...) -> None: ...

class RefuseQrLoginResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KeepQrLoginRequest(_message.Message):
    __slots__ = ("proof",)
    PROOF_FIELD_NUMBER: _ClassVar[int]
    proof: Proof
    def __init__(self, proof: _Optional[_Union[Proof, _Mapping]] = ...) -> None: ...

class KeepQrLoginResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteAccountRequest(_message.Message):
    __slots__ = ("password", "proof_code")
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PROOF_CODE_FIELD_NUMBER: _ClassVar[int]
    password: EncryptedPassword
    proof_code: str
    def __init__(self, password: _Optional[_Union[EncryptedPassword, _Mapping]] = ..., proof_code: _Optional[str] = ...) -> None: ...

class DeleteAccountResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
