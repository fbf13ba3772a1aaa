package workflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// defaultMaxBodyBytes is enough for what a server sends that takes messages of
// 10 MiB: the report of a Call has its body and its answer, in base64.
const defaultMaxBodyBytes = 32 << 20

// Options configure an endpoint. The zero value, and a nil *Options, work when
// the environment holds QSTASH_TOKEN, QSTASH_URL and the signing keys.
type Options struct {
	// Client is how the endpoint reaches the server.
	// Default: client.New with QSTASH_URL and QSTASH_TOKEN.
	Client *client.Client

	// Receiver verifies requests; of its options the endpoint applies keys, URL
	// mode, RequireBinding, Development, Replay and clock tolerance, and its own
	// BaseURL, TrustedProxies and MaxBodyBytes. Default: receiver.FromEnv, that
	// is QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY.
	Receiver *receiver.Receiver

	// RequireBinding refuses requests whose signature does not cover their
	// control headers. One that does is held to it in any case. Set it when the
	// server is Signpost: then no request can serve as anything but what it was
	// made for. Default: that of the Receiver, else false, since other servers
	// of the protocol cover URL and body only.
	RequireBinding bool

	// Development accepts the well-known keys of development servers from the
	// environment; without it they are an error. Requests are then refused
	// unless they come from a loopback address without any proxy between. It
	// has no effect on other keys. Default: what SIGNPOST_DEV or QSTASH_DEV says
	// ("1", "true"), else false.
	Development bool

	// AllowUnsigned lets an endpoint without signing keys work in development:
	// requests are not verified, and refused unless they come from a loopback
	// address without any proxy between. It has no effect where there are keys.
	// Default: false, and without keys there is no endpoint.
	AllowUnsigned bool

	// BaseURL is the scheme and host, and the path that a proxy cuts off, if
	// any, under which the server reaches this program: the endpoint's URL is
	// BaseURL followed by the path and query of each request. Signatures are
	// bound to that URL and the run's next steps are sent to it.
	// Default: UPSTASH_WORKFLOW_URL; without that the Host header of each
	// request if it names a loopback address, or if the peer is in
	// TrustedProxies. Any other request is then answered 421.
	BaseURL string

	// TrustedProxies are the peers whose Host, X-Forwarded-Host and
	// X-Forwarded-Proto are believed when there is no BaseURL. Default: none.
	TrustedProxies []netip.Prefix

	// Authorize decides on every call of the endpoint whether it may proceed:
	// the start of a run, each step, each result of a Call, and the report of
	// a failure. An error is a refusal: nothing runs, and the answer is a 401
	// with the error's text. (An error made by RetryAfter asks for this call
	// again.) Default: every signed call may proceed.
	Authorize func(ctx context.Context, r *AuthRequest) error

	// OnFailure is called when a run has failed for good. The string is kept
	// with the run as the function's result. An error makes the server call
	// again later, within the run's retries. Default: failures are not handled
	// here.
	OnFailure func(ctx *FailureContext) (string, error)

	// Validate looks at the payload a run starts with, decoded, on every call,
	// after Authorize; it has the type of the function's input. With an error the
	// run fails without retries (answer 489). It suits validators such as
	// validator.New().Struct. Default: what can be decoded is valid.
	Validate func(payload any) error

	// Middleware sees what the endpoint does. Default: none.
	Middleware []Middleware

	// MaxBodyBytes is the largest request body that is read; beyond it the
	// answer is a 413, and a run whose Call is reported with more than that
	// fails. Default: 32 MiB, enough for messages and answers of 10 MiB.
	MaxBodyBytes int64

	// Logger gets refused requests, errors and panics, with the stacks that
	// answers never hold. Default: slog.Default().
	Logger *slog.Logger
}

// settings are Options with every default in place.
type settings struct{ Options }

// loopbackOnly reports whether requests from elsewhere are refused. The receiver's
// keys may have been replaced since the last request.
func (s *settings) loopbackOnly() bool {
	return s.Receiver == nil || s.Receiver.Development()
}

// over is o where it says something, and base where it does not. It leaves nobody
// without an Authorize that was meant for all. Middleware adds up.
func (o *Options) over(base *Options) *Options {
	if base == nil || o == base {
		return o
	}
	all := *base
	from, to := reflect.ValueOf(o).Elem(), reflect.ValueOf(&all).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	all.Middleware = slices.Concat(base.Middleware, o.Middleware)
	return &all
}

func (o *Options) settle() (settings, error) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	for _, part := range []func() error{s.settleLimits, s.settleBaseURL, s.settleKeys, s.settleClient} {
		if err := part(); err != nil {
			return settings{}, err
		}
	}
	return s, nil
}

// validate asks Validate.
func (s *settings) validate(payload any) error {
	if s.Validate == nil {
		return nil
	}
	invalid, err := guard(func() error { return asked(s.Validate(payload)) })
	if err == nil && invalid != nil {
		err = NonRetryable(fmt.Errorf("the run's payload is not valid: %w", invalid))
	}
	return err
}

func (s *settings) settleLimits() error {
	switch {
	case s.MaxBodyBytes == 0:
		s.MaxBodyBytes = defaultMaxBodyBytes
	case s.MaxBodyBytes < 0:
		return fmt.Errorf("MaxBodyBytes %d is negative", s.MaxBodyBytes)
	}
	return nil
}

func (s *settings) settleBaseURL() error {
	if s.BaseURL == "" {
		s.BaseURL = os.Getenv("UPSTASH_WORKFLOW_URL")
	}
	if s.BaseURL == "" {
		return nil
	}
	u, err := url.Parse(s.BaseURL)
	if err != nil {
		return fmt.Errorf("parse base URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.ContainsAny(s.BaseURL, "?#") {
		return fmt.Errorf("base URL %q is not of the form https://host or https://host/path", u.Redacted())
	}
	s.BaseURL = strings.TrimRight(s.BaseURL, "/")
	return nil
}

func (s *settings) settleKeys() error {
	if s.Receiver != nil {
		return nil
	}
	return s.receiverOfEnv()
}

// receiverOfEnv takes the keys of the environment. It leaves Receiver nil where
// there are none and that is allowed.
func (s *settings) receiverOfEnv() error {
	rc, err := receiver.FromEnv(receiver.Options{Development: s.Development})
	switch {
	case err == nil:
		s.Receiver = rc
	case !errors.Is(err, receiver.ErrNoKey):
		return err
	case !s.AllowUnsigned || s.RequireBinding || os.Getenv("QSTASH_NEXT_SIGNING_KEY") != "":
		return fmt.Errorf("%w (set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY, which \"signpost dev\" and \"signpost keys show\" print, or Options.Receiver)", err)
	default:
		s.Logger.Warn("workflow endpoint does not verify signatures: no signing keys, and AllowUnsigned is set")
	}
	return nil
}

func (s *settings) settleClient() error {
	if s.Client == nil {
		s.Client = client.New(client.Options{})
	}
	return s.Client.Err()
}
