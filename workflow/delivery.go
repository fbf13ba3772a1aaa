package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
	"github.com/signposthq/signpost/receiver"
)

// Kind says what a call of the endpoint is about.
type Kind string

// The kinds of calls an endpoint gets.
const (
	KindStart    Kind = "start"    // a plain request: it starts a run
	KindStep     Kind = "step"     // a run's log, to be carried on
	KindCallback Kind = "callback" // the result of a Call
	KindFailure  Kind = "failure"  // a run has failed
	KindCheck    Kind = "check"    // a question whether the function fits a run's log; nothing is executed
)

const protocolVersion = "1"

// delivery is one verified request to the endpoint.
type delivery struct {
	kind       Kind
	unknownSDK bool // a start whose run exists and asks to be triggered again
	run        run
	messageID  string
	header     http.Header // all of it; run.header is what the run was started with
	body       []byte
}

// run is the run that a call belongs to, as the call tells.
type run struct {
	id, url   string
	createdAt time.Time
	header    http.Header
	labels    []string
	retried   int
	invoked   int // how many runs above this one invoked each other
}

// receive reads and verifies a request. Nothing of it is looked into before its
// signature is known to be right, whatever its headers claim.
func (e *Endpoint) receive(w http.ResponseWriter, r *http.Request) (*delivery, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &statusError{http.StatusMethodNotAllowed, fmt.Errorf("method %s: a workflow endpoint takes POST only", clip(r.Method))}
	}
	url, err := e.opts.address(r)
	if err != nil {
		return nil, &statusError{http.StatusMisdirectedRequest, err}
	}
	body, claims, err := e.verify(w, r, url)
	if err != nil {
		return nil, err
	}
	if claims.Kind != "" { // of a Signpost server, which alone reads this, whatever the answer will be
		w.Header().Set(receiver.KeysHeader, e.opts.Receiver.Echo(claims))
	}
	if claims.Kind == receiver.KindProbe {
		return &delivery{kind: kindProbe}, nil
	}
	d := &delivery{messageID: r.Header.Get(wire.HeaderMessageID), header: r.Header, body: body}
	if err := d.classify(); err != nil {
		return nil, err
	}
	if err := d.bind(claims, e.opts.Receiver != nil, e.opts.RequireBinding); err != nil {
		return nil, err
	}
	d.run, err = readRun(d.kind == KindStart && !d.unknownSDK, r.Header)
	d.run.url = url
	return d, err
}

func (e *Endpoint) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, e.opts.MaxBodyBytes))
	if tooMany := (*http.MaxBytesError)(nil); errors.As(err, &tooMany) {
		return nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("body has more than %d bytes", tooMany.Limit)}
	}
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("read body: %w", err)}
	}
	return body, nil
}

// verify reads the body once everything else has proved good.
func (e *Endpoint) verify(w http.ResponseWriter, r *http.Request, url string) (body []byte, c receiver.Claims, err error) {
	if e.opts.loopbackOnly() && !receiver.IsLocal(r) {
		return nil, c, &refusal{errors.New("without signing keys of its own the endpoint serves this machine only")}
	}
	read := func() ([]byte, error) {
		body, err = e.read(w, r)
		return body, err
	}
	if e.opts.Receiver == nil {
		_, err = read()
		return body, c, err
	}
	c, err = e.opts.Receiver.VerifyContext(r.Context(), receiver.Request{URL: url, Header: r.Header, ReadBody: read})
	if refused := (*receiver.VerifyError)(nil); errors.As(err, &refused) {
		err = &forgery{err}
	}
	return body, c, err
}

func (d *delivery) classify() error {
	version := d.header.Get(wire.HeaderWorkflowSDKVersion)
	switch {
	case d.header.Get(wire.HeaderWorkflowCheck) != "":
		d.kind = KindCheck
	case d.header.Get(wire.HeaderWorkflowUnknownSDK) != "":
		d.kind, d.unknownSDK = KindStart, true
	case d.header.Get(wire.HeaderWorkflowFailureCB) != "", d.header.Get(wire.HeaderWorkflowIsFailure) == "true":
		d.kind = KindFailure
	case d.header.Get(wire.HeaderWorkflowCallback) != "":
		d.kind = KindCallback
	case version == "":
		d.kind = KindStart
	case version == protocolVersion:
		d.kind = KindStep
	default:
		return protocolErrorf("Incompatible workflow sdk protocol version. Expected %s, got %s from the request.", protocolVersion, version)
	}
	return nil
}

func readRun(fresh bool, h http.Header) (run, error) {
	r := run{id: h.Get(wire.HeaderWorkflowRunID), header: initialHeader(h)}
	if fresh {
		r.id = newRunID()
	}
	if r.id == "" {
		return r, protocolErrorf("Couldn't get workflow id from header")
	}
	// What the server writes in these is numbers; anything else is as good as absent.
	if ms, err := strconv.ParseInt(h.Get(wire.HeaderWorkflowCreatedAt), 10, 64); err == nil {
		r.createdAt = time.UnixMilli(ms)
	}
	r.retried, _ = strconv.Atoi(h.Get(wire.HeaderRetried))
	r.invoked, _ = strconv.Atoi(h.Get(wire.HeaderWorkflowInvokeCount))
	for label := range strings.SplitSeq(h.Get(wire.HeaderLabel), ",") {
		if label = strings.TrimSpace(label); label != "" {
			r.labels = append(r.labels, label)
		}
	}
	return r, nil
}

// log is the run's log up to the message that is delivered, from the request
// or, where it is too large for one, from the server.
func (e *Endpoint) log(ctx context.Context, d *delivery) ([]wire.LogEntry, error) {
	if len(d.body) == 0 {
		return e.fetchLog(ctx, d)
	}
	entries, err := wire.ParseLog(d.body)
	if err == nil && len(entries) == 0 {
		err = errors.New("it has no entries")
	}
	if err != nil {
		return nil, &statusError{http.StatusBadRequest, fmt.Errorf("decode the run's log: %w", err)}
	}
	return entries, nil
}
