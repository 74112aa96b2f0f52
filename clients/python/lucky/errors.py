"""Errors of the server with their reasons."""

from __future__ import annotations

import grpc
from google.rpc import status_pb2

from lucky.error.v1 import error_pb2

# Connect's codes by their numbers; gRPC has the same.
CODES = (
    "ok canceled unknown invalid_argument deadline_exceeded not_found already_exists "
    "permission_denied resource_exhausted failed_precondition aborted out_of_range unimplemented "
    "internal unavailable data_loss unauthenticated"
).split()
_TEMPORARY = {"unavailable", "deadline_exceeded", "canceled", "aborted"}
_LOGIN_OVER = {"REFRESH_TOKEN_INVALID", "TOKEN_INVALID", "TOKEN_REVOKED"}


class LuckyError(Exception):
    """An error with its reason, such as "KEY_REUSED". Switch on the reason, never on the text.

    `field` names the field at fault for INVALID_ARGUMENT, else it is empty. `retry_after_ms` is the
    shortest useful delay of a retry; 0: an unchanged retry does not help.
    """

    def __init__(
        self, reason: str, text: str, *, code: str = "", field: str = "", retry_after_ms: int = 0
    ) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.code = code
        self.field = field
        self.retry_after_ms = retry_after_ms

    @property
    def retryable(self) -> bool:
        """Whether the unchanged call may succeed later."""
        return self.retry_after_ms > 0 or self.reason == "UNAVAILABLE"

    @property
    def login_over(self) -> bool:
        """Whether the device has to log in before it can call."""
        return self.reason in _LOGIN_OVER


def error_from(detail: error_pb2.ErrorDetail, text: str, code: str = "") -> LuckyError:
    """The error of a detail. A reason of a later server is shown by its number."""
    try:
        reason = error_pb2.ErrorReason.Name(detail.reason).removeprefix("ERROR_REASON_")
    except ValueError:
        reason = str(detail.reason)
    return LuckyError(
        reason, text, code=code, field=detail.field, retry_after_ms=detail.retry_after_ms
    )


def unavailable(text: str) -> LuckyError:
    """An error of the network, which tells nothing about the outcome of the call."""
    return LuckyError("UNAVAILABLE", text, code="unavailable")


def error_of(error: BaseException) -> LuckyError:
    """Converts the error of a call.

    An error without a detail comes from an intermediary, the network or a deadline; it counts as
    UNAVAILABLE unless its code says otherwise.
    """
    if isinstance(error, LuckyError):
        return error
    if not isinstance(error, grpc.RpcError):
        return unavailable(repr(error))
    code = CODES[error.code().value[0]]
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for packed in status_pb2.Status.FromString(value).details:
            detail = error_pb2.ErrorDetail()
            if packed.Unpack(detail):
                return error_from(detail, error.details() or "", code)
    reason = "UNAVAILABLE" if code in _TEMPORARY else "UNSPECIFIED"
    return LuckyError(reason, error.details() or "", code=code)
