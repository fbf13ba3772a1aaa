package workflow

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// NonRetryable makes err final: returned by the function, or by a step's
// function and passed on, it fails the run without further retries (answer
// 489). errors.Is and errors.As see err. A nil err is "workflow failed".
func NonRetryable(err error) error { return &nonRetryableError{orDefault(err)} }

// RetryAfter makes the server try again after d, rounded up to a second,
// instead of after its backoff (answer 429). The attempt counts as one of the
// run's retries. errors.Is and errors.As see err. A nil err is "workflow
// failed".
func RetryAfter(err error, d time.Duration) error { return &retryAfterError{orDefault(err), d} }

var errFailed = errors.New("workflow failed")

func orDefault(err error) error {
	if err == nil {
		return errFailed
	}
	return err
}

// answering is an error that has its own answer. Of several in a chain the
// outermost decides.
type answering interface {
	error
	answer(message string) answer
}

type nonRetryableError struct{ err error }

func (e *nonRetryableError) Error() string { return e.err.Error() }
func (e *nonRetryableError) Unwrap() error { return e.err }

func (e *nonRetryableError) answer(message string) answer {
	return errorAnswer(statusNonRetryable, "WorkflowNonRetryableError", message).final()
}

type retryAfterError struct {
	err   error
	delay time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

func (e *retryAfterError) answer(message string) answer {
	a := errorAnswer(http.StatusTooManyRequests, "WorkflowRetryAfterError", message)
	return a.with("Retry-After", fmt.Sprint(wholeSeconds(e.delay)))
}

// refusal is a call that is not allowed.
type refusal struct{ err error }

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

func (e *refusal) answer(message string) answer {
	if later := (*retryAfterError)(nil); errors.As(e.err, &later) {
		return later.answer(message)
	}
	return errorAnswer(http.StatusUnauthorized, "Unauthorized", message).final()
}

// forgery is a request without a valid signature, or one that cannot be told from
// a forgery. Its answer says what is wrong, but not what would be right.
type forgery struct{ err error }

func (e *forgery) Error() string { return e.err.Error() }
func (e *forgery) Unwrap() error { return e.err }

func (e *forgery) answer(string) answer {
	text := "signature refused"
	if v := (*receiver.VerifyError)(nil); errors.As(e.err, &v) {
		text = v.Err.Error()
	}
	switch {
	case errors.Is(e.err, receiver.ErrUnavailable):
		return errorAnswer(http.StatusServiceUnavailable, "Unavailable", text).with("Retry-After", unavailableSeconds)
	case errors.Is(e.err, receiver.ErrReplayed), errors.Is(e.err, receiver.ErrExpired):
		// Not final: the server's own retry is signed anew. It would be lost if the
		// answer that it sees is that to a proxy's second try, or if this process was
		// asleep while the request waited.
		return errorAnswer(http.StatusUnauthorized, "Unauthorized", text)
	}
	return errorAnswer(http.StatusUnauthorized, "Unauthorized", text).final()
}

const unavailableSeconds = "10"

// protocolError is a request or a function that does not fit the run's log. A
// deployment may mend it, so that it is retried.
type protocolError struct{ message string }

func protocolErrorf(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

func (e *protocolError) Error() string { return e.message }

func (e *protocolError) answer(message string) answer {
	return errorAnswer(http.StatusInternalServerError, "WorkflowError", message)
}

// statusError is a request that is none of the server's.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func (e *statusError) answer(message string) answer {
	return errorAnswer(e.status, "WorkflowError", message)
}

// stepError says in which step the function failed.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// panicError is a panic of the application's code. The stack is for the log.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// asked is err, an error of the application, once it has been asked for all that
// answers and logs will ask it for. One that is a nil pointer panics then; it does so
// here, where a panic of the application is expected.
func asked(err error) error {
	if err != nil {
		_, _ = err.Error(), errors.Is(err, errFailed)
	}
	return err
}

// isEnded reports whether err is the server's word that it has no such run, or
// not any more.
func isEnded(err error) bool { return errors.Is(err, client.ErrNotFound) }

// limitReached makes an error final that comes of a limit of the account, or of
// what is too large: the same would be once more.
func limitReached(err error) error {
	if errors.Is(err, client.ErrPrecondition) || errors.Is(err, client.ErrTooLarge) {
		return NonRetryable(err)
	}
	return err
}

// refusedForGood makes an error final that the server would repeat: it is about
// what it was asked for.
func refusedForGood(err error) error {
	for _, answer := range []error{client.ErrBadRequest, client.ErrNotFound} {
		if errors.Is(err, answer) {
			return NonRetryable(err)
		}
	}
	return limitReached(err)
}

// wholeSeconds rounds up, so that nothing happens too early.
func wholeSeconds(d time.Duration) int64 { return max(0, int64(math.Ceil(d.Seconds()))) }
