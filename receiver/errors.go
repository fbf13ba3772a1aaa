package receiver

import (
	"errors"
	"strings"
)

// Why a request was refused. Test with [errors.Is]; the texts are safe to show to
// the caller. When several apply, the one returned is the first in this order,
// so that a signature made with a right key is never called bad because it is old;
// but claims are looked at only when the signature is good.
var (
	ErrNotLocal       = errors.New("not from this machine")   // the keys are those of development servers
	ErrNoSignature    = errors.New("no signature")            // the header is missing or empty
	ErrMalformed      = errors.New("malformed signature")     // not a token of this protocol: encoding, algorithm, claims
	ErrBadSignature   = errors.New("bad signature")           // made with neither the current nor the next key
	ErrExpired        = errors.New("signature expired")       // exp has passed
	ErrNotYetValid    = errors.New("signature not yet valid") // nbf or iat is in the future
	ErrURLMismatch    = errors.New("url mismatch")            // signed for another URL
	ErrHeaderMismatch = errors.New("header mismatch")         // signed with other control headers
	ErrBodyTooLarge   = errors.New("body too large")          // above Options.MaxBodyBytes
	ErrBodyMismatch   = errors.New("body mismatch")           // signed for another body
	ErrReplayed       = errors.New("request replayed")        // this very request came before, see Options.Replay
)

// ErrUnavailable says that a request could not be verified for now: the
// [ReplayCache] or the [KeySet] has failed. Nothing is known against the request,
// and the sender should try again.
var ErrUnavailable = errors.New("verification unavailable")

// ErrNoKey is returned by [New] and [FromEnv] when there is neither a current
// signing key nor a public key.
var ErrNoKey = errors.New("no current signing key")

// A VerifyError says what exactly was wrong. Every refusal of [Receiver.Verify]
// and [Receiver.VerifyRequest] is one; find it with [errors.As].
// It never holds a key. Expected and Got may hold URLs with their queries and
// hashes of bodies: show them to operators, not to callers.
type VerifyError struct {
	Err      error  // the sentinel: one of the Err… variables above, but ErrNoKey
	Field    string // the header field or claim at fault ("alg", "sub", "body"); "" for the token as a whole
	Expected string // what would have been accepted; may be ""
	Got      string // what came; may be ""
	Reason   string // one phrase for a log line, without query strings and hashes
}

// Error is Err and Reason. It holds no secrets, and can be logged.
func (e *VerifyError) Error() string {
	if e.Reason == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ": " + e.Reason
}

// Unwrap returns the sentinel.
func (e *VerifyError) Unwrap() error { return e.Err }

func unavailable(reason string) error {
	return &VerifyError{Err: ErrUnavailable, Reason: clip(reason)}
}

func malformed(field, reason string) error {
	return &VerifyError{Err: ErrMalformed, Field: field, Reason: reason}
}

// clip keeps text chosen by a stranger from filling a log.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
