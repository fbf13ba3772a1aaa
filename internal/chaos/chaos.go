// Package chaos makes deliveries go wrong on purpose: people who develop an
// endpoint see whether it does its work once although it is called twice, or
// its answer is lost.
package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

// Plan is what goes wrong, and how often. The zero value is nothing.
type Plan struct {
	Dup   float64       // share of deliveries that are made twice, the second time beside the first
	Drop  float64       // share that are lost: half of them on the way there, half on the way back
	Kill  float64       // share that are cut off while the endpoint works on them
	Delay time.Duration // longest time that a delivery is held up
}

// Parse reads a plan such as "dup=5%,drop=2%,delay=1s,kill=1%". Shares are
// percentages or numbers from 0 to 1.
func Parse(text string) (Plan, error) {
	var p Plan
	for item := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		var err error
		switch name {
		case "dup":
			p.Dup, err = share(value)
		case "drop":
			p.Drop, err = share(value)
		case "kill":
			p.Kill, err = share(value)
		case "delay":
			p.Delay, err = length(value)
		default:
			return Plan{}, fmt.Errorf("expected dup, drop, kill and delay, as in dup=5%%,drop=2%%,delay=1s,kill=1%%, got %q", item)
		}
		if err != nil {
			return Plan{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p, nil
}

// length is a time, which may be shorter than other settings need them.
func length(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	d, err := wire.ParseDuration(text)
	if err != nil {
		err = fmt.Errorf("expected a time such as 300ms or 1s, got %q", text)
	}
	return d, err
}

func share(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("expected a share such as 5%% or 0.05, got %q", text)
	}
	return v, nil
}

// Deliver makes what next delivers go wrong as planned, and logs what it did.
// The probes of a rotation of keys are left alone.
func (p Plan) Deliver(next engine.Deliverer, log *slog.Logger) engine.Deliverer {
	return &deliverer{next: next, plan: p, log: log, chance: rand.Float64}
}

type deliverer struct {
	next   engine.Deliverer
	plan   Plan
	log    *slog.Logger
	chance func() float64 // from 0 to 1, exclusive
}

// What an attempt says of itself that came to nothing here.
const (
	lostThere = "connection lost before the request was sent (chaos)"
	lostBack  = "connection lost before the response came (chaos)"
)

// killWithin is how long after the request an endpoint that has not answered is
// hung up on, at most.
const killWithin = 50 * time.Millisecond

func (d *deliverer) Deliver(ctx context.Context, a engine.Attempt) engine.Outcome {
	if a.Kind == engine.KindProbe {
		return d.next.Deliver(ctx, a)
	}
	if err := d.delay(ctx); err != nil {
		return failed(err.Error())
	}
	switch {
	case d.happens(d.plan.Drop):
		return d.drop(ctx, a)
	case d.happens(d.plan.Kill):
		return d.kill(ctx, a)
	case d.happens(d.plan.Dup):
		return d.twice(ctx, a)
	}
	return d.next.Deliver(ctx, a)
}

func (d *deliverer) happens(share float64) bool { return share > 0 && d.chance() < share }

func (d *deliverer) tell(what string, a *engine.Attempt) {
	attrs := []any{"message", strings.Join(a.Header[wire.HeaderMessageID], ""), "url", a.URL}
	if a.RunID != "" {
		attrs = append(attrs, "run", a.RunID)
	}
	d.log.Info("chaos: "+what, attrs...)
}

// delay holds a delivery up: those that are under way together overtake each
// other.
func (d *deliverer) delay(ctx context.Context) error {
	if d.plan.Delay <= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(d.chance() * float64(d.plan.Delay)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *deliverer) drop(ctx context.Context, a engine.Attempt) engine.Outcome {
	if d.chance() < .5 {
		d.tell("a request was dropped", &a)
		return failed(lostThere)
	}
	d.tell("a response was dropped", &a)
	return lose(d.next.Deliver(ctx, a))
}

// kill hangs up on the endpoint once it has the whole request, unless it
// answers at once.
func (d *deliverer) kill(ctx context.Context, a engine.Attempt) engine.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	var timer *time.Timer
	trace := httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		once.Do(func() { timer = time.AfterFunc(time.Duration(d.chance()*float64(killWithin)), cancel) })
	}}
	o := d.next.Deliver(httptrace.WithClientTrace(ctx, &trace), a)
	once.Do(func() {})
	if timer != nil {
		timer.Stop()
	}
	if ctx.Err() != nil && o.Error != "" {
		d.tell("a delivery was cut off", &a)
		o.Error = lostBack
	}
	return o
}

// twice delivers a second time beside the first. What the second is answered
// nobody hears.
func (d *deliverer) twice(ctx context.Context, a engine.Attempt) engine.Outcome {
	d.tell("a delivery was made twice", &a)
	again := a
	again.Header = maps.Clone(a.Header)
	var both sync.WaitGroup
	both.Go(func() { lose(d.next.Deliver(ctx, again)) })
	o := d.next.Deliver(ctx, a)
	both.Wait()
	return o
}

// lose is an outcome whose response nobody hears.
func lose(o engine.Outcome) engine.Outcome {
	if o.Release != nil {
		o.Release()
	}
	lost := failed(lostBack)
	lost.Start, lost.End = o.Start, o.End
	return lost
}

func failed(why string) engine.Outcome {
	now := time.Now()
	return engine.Outcome{Error: why, Start: now, End: now}
}
