package lucky

import (
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	errorv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/error/v1"
)

// Error is an error of the server with its reason. Switch on the reason, never on the text.
type Error struct {
	Code   connect.Code
	Reason errorv1.ErrorReason
	Text   string
	// Field is the path of the field at fault for INVALID_ARGUMENT, else empty.
	Field string
	// RetryAfter is the shortest useful delay of a retry. 0: an unchanged retry does not help.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Code, e.Reason, e.Text)
}

// ErrorOf converts the error of a call. An error without a detail comes from an intermediary, the
// network or a deadline; it counts as UNAVAILABLE unless its code says otherwise.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var failed *connect.Error
	if !errors.As(err, &failed) {
		reason := errorv1.ErrorReason_ERROR_REASON_UNAVAILABLE
		return &Error{Code: connect.CodeUnavailable, Reason: reason, Text: err.Error()}
	}
	for _, detail := range failed.Details() {
		if value, err := detail.Value(); err == nil {
			if found, ok := value.(*errorv1.ErrorDetail); ok {
				return errorFrom(failed.Code(), failed.Message(), found)
			}
		}
	}
	return &Error{Code: failed.Code(), Reason: reasonOfCode(failed.Code()), Text: failed.Message()}
}

func errorFrom(code connect.Code, text string, detail *errorv1.ErrorDetail) *Error {
	return &Error{
		Code:       code,
		Reason:     detail.GetReason(),
		Text:       text,
		Field:      detail.GetField(),
		RetryAfter: time.Duration(detail.GetRetryAfterMs()) * time.Millisecond,
	}
}

func reasonOfCode(code connect.Code) errorv1.ErrorReason {
	switch code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeAborted:
		return errorv1.ErrorReason_ERROR_REASON_UNAVAILABLE
	default:
		return errorv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
}

// retryable reports whether the unchanged call may succeed later.
func (e *Error) retryable() bool {
	return e.RetryAfter > 0 || e.Reason == errorv1.ErrorReason_ERROR_REASON_UNAVAILABLE
}

// loginOver reports whether the device has to log in before it can call.
func (e *Error) loginOver() bool {
	switch e.Reason {
	case errorv1.ErrorReason_ERROR_REASON_REFRESH_TOKEN_INVALID,
		errorv1.ErrorReason_ERROR_REASON_TOKEN_INVALID,
		errorv1.ErrorReason_ERROR_REASON_TOKEN_REVOKED:
		return true
	default:
		return false
	}
}
