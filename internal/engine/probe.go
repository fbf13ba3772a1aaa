package engine

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// ProbeRequest asks which keys an endpoint accepts.
type ProbeRequest struct {
	URL    string
	Method string // default POST
	Body   []byte
}

// ProbeAnswer is what came back from one of a probe's requests.
type ProbeAnswer struct {
	Status int    // 0: no answer
	Error  string // why there is none
}

// Accepted says whether the request was taken.
func (a *ProbeAnswer) Accepted() bool { return a.Status >= 200 && a.Status <= 299 }

// Probe is what a probe has found. An answer is nil where the question did not
// arise any more.
type Probe struct {
	EndpointStatus
	Forged  *ProbeAnswer // to a request that a key of nobody has signed: a 2xx is a hole
	Current *ProbeAnswer // to one signed with the current key
	Next    *ProbeAnswer // to one signed with the next key
}

const (
	probeTimeout  = 10 * time.Second // for each of the three requests
	probeResponse = 4 << 10
)

// ProbeKeys asks an endpoint which keys it accepts, by requests signed with a
// key of nobody, with the current and with the next one, and notes what it
// learns. Receivers of this project answer without running anything; others run
// their handler, on the body given.
func (e *Engine) ProbeKeys(ctx context.Context, c *Caller, p ProbeRequest) (*Probe, error) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// In the log before anything is signed for the endpoint.
	err := e.update(ctx, func(ch *change) error { return ch.audit(c, "keys.probe", endpointURL(p.URL), nil, nil) })
	if err != nil {
		return nil, err
	}
	out := &Probe{}
	_, o := e.ask(ctx, c.Tenant, &p, NewSigningKey(), newSeed())
	out.Forged = probeAnswer(o)
	switch {
	case out.Forged.Accepted():
		e.endpoints.change(c.Tenant, p.URL, unixMillis(o.End), func(ep *Endpoint) { ep.Unverified = true })
	case o.Status != 0:
		e.probeKeys(ctx, c.Tenant, &p, out)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ep := e.endpoints.get(c.ID, p.URL)
	next := e.endpoints.keyIDs(c.NextKey, c.Secrets.NextSeed)
	out.EndpointStatus = EndpointStatus{ep, ep.State(next, unixMillis(time.Now()))}
	return out, nil
}

// probeKeys is for an endpoint that has refused what was forged. What it says
// itself of its keys is worth more than what its answers let guess.
func (e *Engine) probeKeys(ctx context.Context, t *Tenant, p *ProbeRequest, out *Probe) {
	a, o := e.ask(ctx, t, p, t.CurrentKey, t.Secrets.CurrentSeed)
	out.Current = probeAnswer(o)
	told := e.endpoints.answered(t, &a, &o)
	if !out.Current.Accepted() {
		return // it does not take this request, whoever signs it: that says nothing of keys
	}
	a, o = e.ask(ctx, t, p, t.NextKey, t.Secrets.NextSeed)
	out.Next = probeAnswer(o)
	told = e.endpoints.answered(t, &a, &o) || told
	if told || o.Status == 0 {
		return
	}
	current := e.endpoints.keyIDs(t.CurrentKey, t.Secrets.CurrentSeed).secret
	next := e.endpoints.keyIDs(t.NextKey, t.Secrets.NextSeed).secret
	echo := wire.NewKeyEcho(current)
	if out.Next.Accepted() {
		echo = wire.NewKeyEcho(next, current)
	}
	now := unixMillis(o.End)
	e.endpoints.change(t, p.URL, now, func(ep *Endpoint) { ep.heard(echo, next, now) })
}

// ask makes one of a probe's requests.
func (e *Engine) ask(ctx context.Context, t *Tenant, p *ProbeRequest, key string, seed []byte) (Attempt, Outcome) {
	id := Key{Seq: e.seq.next(unixMillis(time.Now())), Rnd: randomInt63()}
	a := Attempt{
		Method: cmp.Or(p.Method, http.MethodPost), URL: p.URL, Body: p.Body, Kind: KindProbe,
		Timeout: min(probeTimeout, e.limitsOf(t).MaxTimeout), KeepResponse: probeResponse,
		SigningKey: key, Seed: seed, SignWith: t.Settings.SignWith,
		Header: http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"Upstash-QStash"},
			wire.HeaderMessageID: {id.String()}, wire.HeaderRetried: {"0"},
		},
	}
	o := e.deliver.Deliver(ctx, a)
	o.release() // nobody asks for the body
	return a, o
}

func probeAnswer(o Outcome) *ProbeAnswer { return &ProbeAnswer{Status: o.Status, Error: o.Error} }
