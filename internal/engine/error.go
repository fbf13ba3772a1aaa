package engine

import (
	"errors"
	"fmt"
)

// Code classes an error for whoever has to answer for it.
type Code string

const (
	Invalid      Code = "invalid"      // the input is wrong; the message says which and what was expected
	Unauthorized Code = "unauthorized" // no token, or one nobody has
	Forbidden    Code = "forbidden"    // the token is good, but not for this
	NotFound     Code = "not_found"
	Conflict     Code = "conflict"     // it would break what is in use; the message says what
	Precondition Code = "precondition" // a limit of the account is reached
	TooLarge     Code = "too_large"
	Limited      Code = "limited"     // too many requests
	Unavailable  Code = "unavailable" // shutting down
	Internal     Code = "internal"
)

// Error is an error whose message may be shown to the caller.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ErrorCode is the code of the first *Error in err's chain, Internal when
// there is none: what a driver or the system said never reaches a user.
func ErrorCode(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
