package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// FlowControlKey is a key of flow control: what bounds its messages, and how
// things stand.
type FlowControlKey struct {
	Key               string `json:"flowControlKey"`
	WaitListSize      int    `json:"waitListSize"`        // messages that are due and have to wait
	ParallelismMax    int    `json:"parallelismMax"`      // attempts under way at once; 0: no bound
	ParallelismCount  int    `json:"parallelismCount"`    // attempts under way
	RateMax           int    `json:"rateMax"`             // attempts in each period; 0: no bound
	RateCount         int    `json:"rateCount"`           // attempts in this period
	RatePeriod        int64  `json:"ratePeriod"`          // seconds
	RatePeriodStart   int64  `json:"ratePeriodStart"`     // Unix seconds
	Paused            bool   `json:"isPaused"`            // nothing is delivered
	PinnedParallelism bool   `json:"isPinnedParallelism"` // messages do not change it
	PinnedRate        bool   `json:"isPinnedRate"`
}

// GlobalParallelism is how many attempts may be under way at once, and how many
// are, whatever their queues and keys.
type GlobalParallelism struct {
	Max   int `json:"parallelismMax"`
	Count int `json:"parallelismCount"`
}

// FlowControl bounds how fast the messages of a key are delivered, and how many
// of them at once. Key and one of Parallelism and Rate are required.
type FlowControl struct {
	// Key is whatever the messages have in common, such as a customer or a host;
	// 1 to 1024 bytes, without white space at its ends. The latest message of a
	// key says what holds for all of them, unless that is pinned.
	Key         string
	Parallelism int           // attempts under way at once; default: any number
	Rate        int           // attempts in each Period; default: any number
	Period      time.Duration // whole seconds, a week at most; default: a second
}

// Write sets the headers of a message that say what f does. The error says what
// is wrong with f.
func (f *FlowControl) Write(h http.Header) error {
	value, err := f.value()
	if err != nil {
		return err
	}
	h.Set(wire.HeaderFlowControlKey, f.Key)
	h.Set(wire.HeaderFlowControlValue, value)
	return nil
}

// value is f as the header of a message says it.
func (f *FlowControl) value() (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	var parts []string
	for _, bound := range f.bounds() {
		if bound.name == "period" {
			bound.value += "s"
		}
		parts = append(parts, bound.name+"="+bound.value)
	}
	return strings.Join(parts, ", "), nil
}

func (f *FlowControl) check() error {
	switch {
	case f.Key == "" || strings.TrimSpace(f.Key) != f.Key:
		return errors.New("flow control: want a key, without white space at its ends")
	case f.Parallelism < 0 || f.Rate < 0 || f.Parallelism == 0 && f.Rate == 0:
		return errors.New("flow control: want a parallelism or a rate, from 1")
	case f.Period < 0 || f.Period%time.Second != 0:
		return errors.New("flow control: want a period of whole seconds")
	}
	return nil
}

type bound struct{ name, value string }

// bounds are what f sets.
func (f *FlowControl) bounds() (set []bound) {
	for _, b := range []struct {
		name  string
		value int64
	}{{"parallelism", int64(f.Parallelism)}, {"rate", int64(f.Rate)}, {"period", int64(f.Period / time.Second)}} {
		if b.value > 0 {
			set = append(set, bound{b.name, strconv.FormatInt(b.value, 10)})
		}
	}
	return set
}

// FlowControlKeys lists the keys that have search in them, all when it is empty
// (GET /v2/flowControl).
func (c *Client) FlowControlKeys(ctx context.Context, search string) ([]FlowControlKey, error) {
	q := newQuery()
	if search != "" {
		q.add("search", search)
	}
	var out []FlowControlKey
	if err := c.list(ctx, "/v2/flowControl", q, &out); err != nil {
		return nil, fmt.Errorf("list flow control: %w", err)
	}
	return out, nil
}

// FlowControlKey looks up a key; [ErrNotFound] when no message had it yet (GET
// /v2/flowControl/{key}).
func (c *Client) FlowControlKey(ctx context.Context, key string) (FlowControlKey, error) {
	var out FlowControlKey
	path, err := flowPath(key, "")
	if err == nil {
		err = c.do(ctx, call{method: http.MethodGet, path: path, out: &out})
	}
	if err != nil {
		return FlowControlKey{}, fmt.Errorf("get flow control: %w", err)
	}
	return out, nil
}

// PauseFlowControl stops deliveries of a key; its messages wait (POST
// /v2/flowControl/{key}/pause). The key need not be known yet. An attempt under
// way is not stopped.
func (c *Client) PauseFlowControl(ctx context.Context, key string) error {
	return c.changeFlow(ctx, "pause", key, nil)
}

// ResumeFlowControl lets a key's messages go again (POST
// /v2/flowControl/{key}/resume).
func (c *Client) ResumeFlowControl(ctx context.Context, key string) error {
	return c.changeFlow(ctx, "resume", key, nil)
}

// PinFlowControl sets what bounds f.Key from now on, whatever messages say (POST
// /v2/flowControl/{key}/pin): its Parallelism, its Rate and Period, or both. A
// pinned rate begins with a new period. The key need not be known yet.
func (c *Client) PinFlowControl(ctx context.Context, f FlowControl) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("pin flow control: %w", err)
	}
	query := url.Values{}
	for _, b := range f.bounds() {
		query.Set(b.name, b.value)
	}
	return c.changeFlow(ctx, "pin", f.Key, query)
}

// UnpinFlowControl lets messages say again what bounds a key: its parallelism,
// its rate, or both (POST /v2/flowControl/{key}/unpin). What was pinned stays
// until a message says something else.
func (c *Client) UnpinFlowControl(ctx context.Context, key string, parallelism, rate bool) error {
	if !parallelism && !rate {
		return errors.New("unpin flow control: want parallelism, rate or both")
	}
	query := url.Values{}
	if parallelism {
		query.Set("parallelism", "true")
	}
	if rate {
		query.Set("rate", "true")
	}
	return c.changeFlow(ctx, "unpin", key, query)
}

// ResetFlowControlRate begins a new period, in which nothing was delivered yet
// (POST /v2/flowControl/{key}/resetRate).
func (c *Client) ResetFlowControlRate(ctx context.Context, key string) error {
	return c.changeFlow(ctx, "resetRate", key, nil)
}

func (c *Client) changeFlow(ctx context.Context, action, key string, query url.Values) error {
	path, err := flowPath(key, "/"+action)
	if err == nil {
		err = c.do(ctx, call{method: http.MethodPost, path: path, query: query})
	}
	if err != nil {
		return fmt.Errorf("%s flow control: %w", action, err)
	}
	return nil
}

// flowPath is the path of a key, which may have any character in it, or of an
// action on it.
func flowPath(key, action string) (string, error) {
	path, err := itemPath("/v2/flowControl/", key)
	return path + action, err
}

// GlobalParallelism says how many attempts are under way, and how many may be
// (GET /v2/globalParallelism).
func (c *Client) GlobalParallelism(ctx context.Context) (GlobalParallelism, error) {
	var out GlobalParallelism
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/globalParallelism", out: &out}); err != nil {
		return GlobalParallelism{}, fmt.Errorf("get global parallelism: %w", err)
	}
	return out, nil
}
