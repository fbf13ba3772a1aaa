package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

type benchRotationCmd struct {
	Time        duration `default:"60s" placeholder:"TIME" help:"How long to go on (default 60s)."`
	Every       duration `default:"5s" placeholder:"TIME" help:"Time between rotations (default 5s)."`
	Lag         duration `default:"2s" placeholder:"TIME" help:"How long after a rotation receivers get the new keys (default 2s)."`
	Receivers   int      `default:"8" placeholder:"N" help:"Receivers, each with keys of its own (default 8)."`
	Rate        int      `default:"1000" placeholder:"N" help:"Messages per second (default 1000)."`
	Concurrency int      `short:"c" default:"32" placeholder:"N" help:"Clients that publish at once (default 32)."`
	benched     `embed:""`
}

func (*benchRotationCmd) Help() string {
	return `Rotates the signing keys under load, while receivers get the new pair only some time later. No delivery may be refused, and
a second rotation right after each must be answered with 409, as no receiver has the key that it would sign with. Some
messages are retried until two rotations have passed.`
}

type rotationReport struct {
	Rotations     int     `json:"rotations"`
	HeldUp        int     `json:"heldUp"`        // answers of 409 before a rotation, to wait for receivers
	SecondRefused int     `json:"secondRefused"` // second rotations that were answered with 409: all, if all is well
	Receivers     int     `json:"receivers"`
	Messages      int     `json:"messages"`
	PerSecond     float64 `json:"messagesPerSecond"`
	Attempts      int     `json:"attempts"` // requests that receivers got
	Refused       int     `json:"refused"`  // of those, for their signature
	Reason        string  `json:"reason,omitempty"`
	Spanning      int     `json:"spanning"` // messages accepted after retries across two rotations
	Lost          int     `json:"lost"`
}

func (c *benchRotationCmd) Run(ctx context.Context, o *outside) error {
	if c.Time <= 0 || c.Every <= 0 || c.Receivers < 1 || c.Rate < 1 || c.Concurrency < 1 {
		return &usageError{errors.New("expected times above 0, and 1 receiver, message per second and client at least"), ""}
	}
	return benchmark(ctx, o, &c.benched, c.Concurrency, c.measure)
}

func (r *rotationReport) verdict() error {
	if r.Refused+r.Lost == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%d deliveries refused, %d messages lost", r.Refused, r.Lost), "the first refusal: "+r.Reason)
}

func (c *benchRotationCmd) measure(ctx context.Context) (*rotationReport, error) {
	l, err := c.newRotationLoad(ctx)
	if err != nil {
		return nil, err
	}
	defer l.stop()
	begin := time.Now()
	loadCtx, stopLoad := context.WithTimeout(ctx, time.Duration(c.Time))
	defer stopLoad()
	failed := make(chan error, 1)
	go func() {
		failed <- together(loadCtx, c.Concurrency, func(ctx context.Context) error { return l.publish(ctx, begin) })
		stopLoad()
	}()
	err = l.rotateAgainAndAgain(loadCtx)
	stopLoad()
	if cause := <-failed; cause != nil {
		err = cause
	}
	took := time.Since(begin)
	if err != nil {
		return nil, err
	}
	l.over.Store(true)
	published := int(l.published.Load())
	if err := await(ctx, time.Duration(c.Patience), l.arrived.count, func() bool { return l.arrived.distinct() >= published }); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return &rotationReport{
		Rotations: int(l.rotations.Load()), HeldUp: l.heldUp, SecondRefused: l.secondRefused,
		Receivers: c.Receivers, Messages: published, PerSecond: perSecond(published, took),
		Attempts: int(l.attempts.Load()), Refused: l.refused, Reason: l.reason, Spanning: l.spanning,
		Lost: published - l.arrived.distinct(),
	}, nil
}

// rotationLoad is the load under which keys are rotated.
type rotationLoad struct {
	*benchRotationCmd
	receivers []*rotatedReceiver
	url       string
	arrived   *arrivals
	moves     sync.WaitGroup
	stop      func()

	published, attempts, rotations atomic.Int64
	over                           atomic.Bool // whatever is asked for, nothing more is to come

	mu            sync.Mutex
	heldUp        int
	secondRefused int
	refused       int
	reason        string
	spanning      int
	stubborn      map[int]int64 // rotations at the first attempt of a message that is refused for a while
}

// rotatedReceiver verifies with one pair of keys, then with another.
type rotatedReceiver struct{ handler atomic.Pointer[http.Handler] }

func (c *benchRotationCmd) newRotationLoad(ctx context.Context) (*rotationLoad, error) {
	l := &rotationLoad{benchRotationCmd: c, arrived: &arrivals{first: map[int]time.Time{}}, stubborn: map[int]int64{}}
	keys, err := c.client.Keys(ctx)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for i := range c.Receivers {
		r := &rotatedReceiver{}
		if err := l.give(r, keys); err != nil {
			return nil, err
		}
		l.receivers = append(l.receivers, r)
		mux.HandleFunc("/"+strconv.Itoa(i), func(w http.ResponseWriter, req *http.Request) {
			l.attempts.Add(1)
			(*r.handler.Load()).ServeHTTP(w, req)
		})
	}
	url, stop, err := listen(mux)
	if err != nil {
		return nil, err
	}
	l.url = url
	l.stop = func() {
		l.moves.Wait()
		stop()
	}
	return l, nil
}

// give makes a receiver verify with a pair of keys from now on.
func (l *rotationLoad) give(r *rotatedReceiver, keys client.SigningKeys) error {
	rc, err := receiver.New(receiver.Options{
		CurrentSigningKey: keys.Current, NextSigningKey: keys.Next, RequireBinding: true, Development: true,
		OnRefusal: func(_ *http.Request, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.refused++; l.refused == 1 {
				l.reason = err.Error()
			}
		},
	})
	if err != nil {
		return err
	}
	handler := rc.Middleware(http.HandlerFunc(l.accept))
	r.handler.Store(&handler)
	return nil
}

// oneInStubborn says how many messages are refused by the handler until two
// rotations have passed since their first attempt.
const oneInStubborn = 100

// accept is what receivers do with what they have verified.
func (l *rotationLoad) accept(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // it will come again
	}
	number, _ := parseNumbered(content)
	if number%oneInStubborn == 0 && l.refuses(number) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	l.arrived.note(number, time.Now())
}

func (l *rotationLoad) refuses(number int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.rotations.Load()
	first, known := l.stubborn[number]
	if !known {
		l.stubborn[number], first = now, now
	}
	switch {
	case now-first >= 2:
		l.spanning++
		return false
	case l.over.Load():
		return false
	}
	return true
}

// outstanding bounds what is published, but not delivered: fewer than the
// server has connections to one host, so that nothing waits signed.
const outstanding = 400

// publish publishes its share of messages at the rate that is asked for.
func (l *rotationLoad) publish(ctx context.Context, begin time.Time) error {
	for {
		number := int(l.published.Add(1)) - 1
		due := begin.Add(time.Duration(number) * time.Second / time.Duration(l.Rate))
		for pause(ctx, max(time.Until(due), 0)) && number-l.arrived.count() > outstanding {
			due = time.Now().Add(5 * time.Millisecond)
		}
		if ctx.Err() != nil {
			l.published.Add(-1)
			return nil
		}
		_, err := l.client.Publish(context.WithoutCancel(ctx), client.PublishRequest{
			URL:  l.url + "/" + strconv.Itoa(mathrand.IntN(len(l.receivers))),
			Body: numbered(number, smallest), Retries: new(900), RetryDelay: "500",
		})
		if err != nil {
			return err
		}
	}
}

// rotateAgainAndAgain rotates at the pace that is asked for, or as fast as
// receivers follow.
func (l *rotationLoad) rotateAgainAndAgain(ctx context.Context) error {
	for pause(ctx, time.Duration(l.Every)) {
		keys, err := l.rotate(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // cut off by the end
		case err != nil:
			return err
		}
		l.rotations.Add(1)
		for _, r := range l.receivers {
			l.moves.Go(func() {
				lag := time.Duration(l.Lag)
				if pause(ctx, lag*9/10+mathrand.N(lag/5+1)) {
					_ = l.give(r, keys) // the server's keys are good for receivers: the first ones were
				}
			})
		}
		_, err = l.client.RotateKeys(context.WithoutCancel(ctx))
		if !errors.Is(err, client.ErrConflict) {
			return fmt.Errorf("a second rotation, before receivers could follow the first: want 409, got %v", err)
		}
		l.mu.Lock()
		l.secondRefused++
		l.mu.Unlock()
	}
	return nil
}

// rotate rotates as soon as the server lets it.
func (l *rotationLoad) rotate(ctx context.Context) (client.SigningKeys, error) {
	for since := time.Now(); ; {
		keys, err := l.client.RotateKeys(ctx)
		if !errors.Is(err, client.ErrConflict) || time.Since(since) > time.Duration(l.Patience) {
			return keys, err
		}
		l.mu.Lock()
		l.heldUp++
		l.mu.Unlock()
		pause(ctx, 100*time.Millisecond)
	}
}

func (r *rotationReport) write(w io.Writer) {
	fmt.Fprintf(w, "rotations    %8d, held up %d times until receivers had followed\n", r.Rotations, r.HeldUp)
	fmt.Fprintf(w, "a second     %8d answered with 409\n", r.SecondRefused)
	fmt.Fprintf(w, "messages     %8d to %d receivers, %.0f /s\n", r.Messages, r.Receivers, r.PerSecond)
	fmt.Fprintf(w, "attempts     %8d\nrefused      %8d\n", r.Attempts, r.Refused)
	fmt.Fprintf(w, "spanning     %8d messages were retried across two rotations\n", r.Spanning)
	fmt.Fprintf(w, "lost         %8d\n", r.Lost)
}
