package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/internal/budget"
	"github.com/signposthq/signpost/internal/engine"
)

// What large requests may take of memory, until they are answered.
const (
	smallBody    = 64 << 10 // is not counted
	largeBodies  = 8 << 20
	bodyPatience = 5 * time.Second
)

var errCrowded = &engine.Error{Code: engine.Unavailable, Message: fmt.Sprintf(
	"body: too many requests of more than %d bytes at once; try again in some seconds", smallBody)}

// measured is a body that is counted as far as it has come, once it is large.
type measured struct {
	io.Reader
	request *request
	most    int64 // how long it may get
	read    int64
	counted int64 // how far it may get before there has to be more memory
	state   atomic.Int32
}

// States of a measured body.
const (
	coming int32 = iota
	complete
	refused // too slow for those who wait
)

func (r *request) measure(body io.Reader, most int64) *measured {
	return &measured{Reader: body, request: r, most: most, counted: smallBody}
}

func (m *measured) Read(p []byte) (int, error) {
	if m.read >= m.counted {
		if err := m.count(); err != nil {
			return 0, err
		}
	}
	if m.state.Load() == refused {
		return 0, errCrowded
	}
	n, err := m.Reader.Read(p)
	m.read += int64(n)
	for _, share := range m.request.shares {
		share.Moved(n)
	}
	if err != nil && !m.state.CompareAndSwap(coming, complete) {
		err = errCrowded
	}
	return n, err
}

// bodies is the memory that the request's body is to come from. Whoever calls a
// webhook needs no token, and takes none from those who have one.
func (r *request) bodies() *budget.Budget {
	if r.caller == nil {
		return r.handler.hooks
	}
	return r.handler.bodies
}

// count waits for memory for as much again.
func (m *measured) count() error {
	r := m.request
	ctx, cancel := context.WithTimeout(r.Context(), bodyPatience)
	defer cancel()
	more := min(m.counted, m.most-m.counted)
	share, err := r.bodies().Wait(ctx, more)
	if err != nil {
		return errCrowded
	}
	if m.counted += more; share.Turn() {
		m.counted = m.most + 1
	}
	r.shares = append(r.shares, share)
	conn := http.NewResponseController(r.writer)
	share.Watch(func() {
		if m.state.CompareAndSwap(coming, refused) {
			conn.SetReadDeadline(time.Now())
		}
	})
	return nil
}

// reads makes the request one whose answer may be large.
func (r *request) reads() {
	ctx, reading := r.handler.engine.Reading(r.Context())
	r.Request, r.reading = r.WithContext(ctx), reading
	r.writer = &answering{ResponseWriter: r.writer, reading: reading}
}

// answering is the answer to a request that reads. A large one that is taken too
// slowly, while others wait for the memory it takes, is cut off.
type answering struct {
	http.ResponseWriter
	reading *engine.Reading
	slow    atomic.Bool
}

func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answering) Write(p []byte) (written int, err error) {
	if !a.reading.Large() {
		return a.ResponseWriter.Write(p)
	}
	a.reading.Watch(func() { a.slow.Store(true) })
	for len(p) > 0 && err == nil {
		if a.slow.Load() {
			return written, errTaken
		}
		n := 0
		n, err = a.ResponseWriter.Write(p[:min(len(p), smallBody)])
		a.reading.Moved(n)
		written, p = written+n, p[n:]
	}
	return written, err
}

var errTaken = errors.New("the answer is taken too slowly")

// release gives back the memory that a request took.
func (r *request) release() {
	for _, share := range r.shares {
		share.Release()
	}
	if r.reading != nil {
		r.reading.Release()
	}
}
