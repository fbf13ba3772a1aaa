package workflow

import (
	"net/http"
	"strconv"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// Sleep is the step of waiting for d, rounded up to whole seconds. Nothing of
// the endpoint runs meanwhile, be it for a second or a year. The error is that
// of an earlier step that failed.
func (c *Context) Sleep(name string, d time.Duration) error {
	_, err := c.SleepAsync(name, d).Get()
	return err
}

// SleepAsync is [Context.Sleep] in parallel to other steps: see [Future].
func (c *Context) SleepAsync(name string, d time.Duration) *Future[struct{}] {
	seconds := wholeSeconds(d)
	return c.timer(name, wire.StepSleepFor, func(s *wire.Step, h http.Header) {
		s.SleepFor = secondsOf(seconds)
		h.Set(wire.HeaderDelay, strconv.FormatInt(seconds, 10)+"s")
	})
}

// SleepUntil is the step of waiting for the time t, rounded up to a whole
// second. A time that has passed is no wait. t must come to the same in every
// call: take it from the payload or from a [Run], not from time.Now.
func (c *Context) SleepUntil(name string, t time.Time) error {
	_, err := c.SleepUntilAsync(name, t).Get()
	return err
}

// SleepUntilAsync is [Context.SleepUntil] in parallel to other steps: see
// [Future].
func (c *Context) SleepUntilAsync(name string, t time.Time) *Future[struct{}] {
	at := t.Unix()
	if t.Nanosecond() > 0 {
		at++
	}
	return c.timer(name, wire.StepSleepUntil, func(s *wire.Step, h http.Header) {
		s.SleepUntil = secondsOf(at)
		h.Set(wire.HeaderNotBefore, strconv.FormatInt(at, 10))
	})
}

func (c *Context) timer(name string, kind wire.StepType, set func(*wire.Step, http.Header)) *Future[struct{}] {
	return &Future[struct{}]{decode: decodeOut[struct{}], task: c.use(&task{
		name: name,
		kind: kind,
		plan: set,
		do: func(x *execution, place, concurrent int) (report, error) {
			s := wire.Step{StepID: place, StepName: name, StepType: kind, Concurrent: concurrent}
			h := x.run.deliveredHeader()
			if concurrent == 1 {
				set(&s, h)
			} else {
				set(&s, http.Header{}) // its plan has waited already
			}
			return published(x.message(s, h))
		},
	})}
}

func secondsOf(n int64) *wire.Seconds {
	s := wire.Seconds(n)
	return &s
}
