package workflow

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/wire"
)

// Ref names a workflow that takes an In and gives an Out, for [Invoke]. It is
// made by [Define] or by [At].
type Ref[In, Out any] struct {
	name string // among the workflows of a ServeMany
	url  string // elsewhere
}

// At is a workflow at a URL, absolute, http or https: of another program, or in
// another language.
func At[In, Out any](url string) Ref[In, Out] { return Ref[In, Out]{url: url} }

// Named is a workflow of the same [ServeMany] as the one that invokes it, by its
// name. It is for workflows that invoke each other; others use Workflow.Ref.
func Named[In, Out any](name string) Ref[In, Out] { return Ref[In, Out]{name: name} }

// from is the URL of the workflow that a run at a URL means.
func (r *Ref[In, Out]) from(own string) (string, error) {
	if r.url != "" {
		return r.url, nil
	}
	if r.name == "" {
		return "", errors.New("the Ref names no workflow: see Define and At")
	}
	own, _, _ = strings.Cut(own, "?")
	scheme, rest, _ := strings.Cut(own, "://")
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return "", fmt.Errorf("the workflow at %s has no name to put another in place of", own)
	}
	return scheme + "://" + rest[:i+1] + url.PathEscape(r.name), nil
}

// InvokeOptions are the seldom used parts of [Invoke]. The zero value is the
// default.
type InvokeOptions struct {
	// RunID of the invoked run. While a run with this id is under way, no other
	// is started: the step waits for that one. Default: an id that is the same
	// whenever this step of this run is tried.
	RunID string
	// Header is what the invoked run is started with, and what its own
	// Options.Authorize sees. Default: Content-Type application/json alone,
	// nothing of this run's.
	Header http.Header
	// Labels to find the run by; letters, digits, "_", "." and "-". Default:
	// none.
	Labels []string
	// Retries of every call for the run; new(0) for none. Default: the server's,
	// which is 3.
	Retries *int
	// RetryDelay is an expression for the milliseconds before each retry.
	// Default: the server's backoff.
	RetryDelay string
	// FlowControl bounds how fast calls for the run are made, and how many at
	// once. Default: unbounded.
	FlowControl *client.FlowControl
}

// Invoked is what became of a run that was invoked.
type Invoked[Out any] struct {
	Body     Out  // its result; zero if it has none
	Failed   bool // for good, after its retries
	Canceled bool // by itself or from outside
}

// Invoke is the step of running another workflow to its end. Nothing of this
// endpoint waits meanwhile. in is the run's payload, as JSON; a string or a
// []byte, of UTF-8, is sent as it stands, a struct{} or a nil is none. o may be
// nil.
//
// A run that fails or is cancelled is no error: look at the result. The error is
// about a run that can't be started, which does not pass with a retry, or that
// of an earlier step that failed. Runs may invoke each other a hundred deep.
//
//	receipt, err := workflow.Invoke(ctx, "charge", charge.Ref, Order{ID: in.ID}, nil)
func Invoke[In, Out any](ctx *Context, name string, w Ref[In, Out], in In, o *InvokeOptions) (Invoked[Out], error) {
	return InvokeAsync(ctx, name, w, in, o).Get()
}

// InvokeAsync is [Invoke] in parallel to other steps: see [Future].
func InvokeAsync[In, Out any](ctx *Context, name string, w Ref[In, Out], in In, o *InvokeOptions) *Future[Invoked[Out]] {
	var options InvokeOptions // as they are now
	if o != nil {
		options = *o
		options.Header, options.Labels = o.Header.Clone(), slices.Clone(o.Labels)
	}
	payload, unfit := encodePayload(in)
	return &Future[Invoked[Out]]{decode: decodeInvoked[Out], task: ctx.use(&task{
		name: name,
		kind: wire.StepInvoke,
		do: func(x *execution, place, concurrent int) (report, error) {
			target, err := w.from(x.run.url)
			if err = errors.Join(unfit, err); err != nil {
				return nil, NonRetryable(fmt.Errorf("invoke: %w", err))
			}
			step := wire.Step{StepID: place, StepName: name, StepType: wire.StepInvoke, Concurrent: concurrent}
			item, err := options.message(&x.run, target, payload, step)
			if err != nil {
				return nil, NonRetryable(fmt.Errorf("invoke: %w", err))
			}
			return func(ctx context.Context, c *client.Client) error {
				_, err := c.PublishItem(ctx, item)
				return err
			}, nil
		},
	})}
}

// encodePayload is what a run is started with; nil for none. It goes inside of
// JSON, which would change other bytes than text.
func encodePayload(in any) (payload []byte, err error) {
	switch in := in.(type) {
	case nil:
	case string:
		payload = []byte(in)
	case []byte:
		payload = slices.Clone(in)
	default:
		payload, err = encodeResult(in)
	}
	if !utf8.Valid(payload) {
		err = errors.New("the payload is not UTF-8")
	}
	return payload, err
}

func decodeInvoked[Out any](s wire.Step) (out Invoked[Out], err error) {
	result, err := decodeValue[wire.InvokeResult](s)
	if err != nil {
		return out, err
	}
	out.Failed, out.Canceled = result.Failed, result.Canceled
	out.Body, err = decodeOut[Out](wire.Step{Out: result.Body})
	return out, err
}

// runID is the same for a step of a run however often it is tried: a run that is
// started twice is one.
func (o *InvokeOptions) runID(of *run, place int) string {
	if o.RunID != "" {
		return o.RunID
	}
	sum := sha256.Sum256([]byte(of.id + " " + strconv.FormatInt(of.createdAt.UnixMilli(), 10) + " " + strconv.Itoa(place)))
	return "wfr_" + base64.RawURLEncoding.EncodeToString(sum[:])[:26]
}

// message starts the run, and says which step waits for it.
func (o *InvokeOptions) message(of *run, target string, payload []byte, step wire.Step) (client.BatchItem, error) {
	start := client.TriggerRequest{
		URL: target, RunID: o.runID(of, step.StepID), Header: o.Header, Labels: o.Labels,
		Retries: o.Retries, RetryDelay: o.RetryDelay, FlowControl: o.FlowControl,
	}
	item, err := start.Item()
	if err != nil {
		return item, err
	}
	depth := strconv.Itoa(of.invoked + 1)
	item.Header.Set(wire.HeaderWorkflowInvoke, "true")
	item.Header.Set(wire.PrefixForward+wire.HeaderWorkflowInvokeCount, depth)
	item.Header.Set(wire.PrefixFailureCallback+"Forward-"+wire.HeaderWorkflowInvokeCount, depth)
	addTelemetry(item.Header)
	request := wire.InvokeRequest{Headers: of.deliveredHeader(), RunID: of.id, CreatedAt: of.createdAt.UnixMilli(), URL: of.url, Step: step}
	request.Headers.Del(wire.HeaderMethod)
	if of.createdAt.IsZero() {
		request.CreatedAt = 0
	}
	if payload != nil {
		text := string(payload)
		request.Body = &text
	}
	item.Body, err = json.Marshal(request)
	return item, err
}
