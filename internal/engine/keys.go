package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// EndpointStatus is an endpoint with what is to be expected of it.
type EndpointStatus struct {
	Endpoint
	State EndpointState
}

// KeyStatus is what is known of a tenant's signing keys and of who holds them.
// It tells no key.
type KeyStatus struct {
	Current       string // id of the key that signs
	Next          string
	CurrentPublic string // kid of the public key that Ed25519 signatures are verified with
	NextPublic    string
	RotatedAt     int64 // Unix ms; 0: never
	Endpoints     []EndpointStatus
}

// KeyStatus says what a rotation would meet.
func (e *Engine) KeyStatus(c *Caller) KeyStatus {
	b := &e.endpoints
	current, next := b.keyIDs(c.CurrentKey, c.Secrets.CurrentSeed), b.keyIDs(c.NextKey, c.Secrets.NextSeed)
	return KeyStatus{
		Current: current.secret, Next: next.secret, CurrentPublic: current.public, NextPublic: next.public,
		RotatedAt: c.RotatedAt, Endpoints: b.statuses(c.ID, next, unixMillis(time.Now())),
	}
}

// keyIDs names a signing key and the public key of a seed.
func (b *endpointBook) keyIDs(key string, seed []byte) keyIDs {
	if b.names == nil {
		return keyIDs{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return keyIDs{b.keyID(key), b.seedID(seed)}
}

// statuses are a tenant's endpoints, those that need care first.
func (b *endpointBook) statuses(tenant int64, next keyIDs, now int64) []EndpointStatus {
	order := []EndpointState{EndpointLagging, EndpointUnverified, EndpointUnknown, EndpointReady}
	var out []EndpointStatus
	for _, ep := range b.of(tenant) {
		out = append(out, EndpointStatus{ep, ep.State(next, now)})
	}
	slices.SortStableFunc(out, func(x, y EndpointStatus) int {
		return slices.Index(order, x.State) - slices.Index(order, y.State)
	})
	return out
}

// rotationError is why keys were not rotated.
func rotationError(lagging []EndpointStatus) *Error {
	const most = 5
	var urls []string
	for _, ep := range lagging[:min(most, len(lagging))] {
		urls = append(urls, ep.URL)
	}
	if n := len(lagging) - most; n > 0 {
		urls = append(urls, fmt.Sprintf("%d more", n))
	}
	return errorf(Conflict, "keys are not rotated: the next key would sign from then on, and these endpoints do not hold it yet: %s; "+
		"give them the pair that GET /v2/keys shows, or rotate all the same with force=true", strings.Join(urls, ", "))
}

// RotateKeys makes the next keys current and new random ones next. Deliveries
// are signed when they are sent, so the change holds from the next attempt on,
// retries included. While active endpoints are known to hold keys, but not the
// next one, it is refused as a Conflict, with those endpoints, unless forced.
func (e *Engine) RotateKeys(ctx context.Context, c *Caller, force bool) (t *Tenant, lagging []EndpointStatus, err error) {
	freshKey, freshSeed := NewSigningKey(), newSeed()
	t, err = e.changeTenant(ctx, c, func(ch *change, t *Tenant) error {
		if lagging = e.endpoints.lagging(t, ch.now); len(lagging) > 0 && !force {
			return rotationError(lagging)
		}
		t.CurrentKey, t.NextKey = t.NextKey, freshKey
		t.Secrets.CurrentSeed, t.Secrets.NextSeed = t.Secrets.NextSeed, freshSeed
		t.RotatedAt = ch.now
		return nil
	})
	return t, lagging, err
}

// lagging are the active endpoints that would refuse the tenant's next key.
func (b *endpointBook) lagging(t *Tenant, now int64) []EndpointStatus {
	all := b.statuses(t.ID, b.keyIDs(t.NextKey, t.Secrets.NextSeed), now)
	return slices.DeleteFunc(all, func(ep EndpointStatus) bool {
		return ep.State != EndpointLagging || now-ep.SeenAt > endpointActive
	})
}

const (
	writeEndpointsAfter = 5 * time.Second // changes of so long are written together
	writeEndpointsMost  = 512             // in one transaction
)

// endpointLoop writes down what the book has learned, a while after there is
// something new.
func (e *Engine) endpointLoop(ctx context.Context) {
	defer close(e.endpointsDone)
	for {
		select {
		case <-e.endpoints.news:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(writeEndpointsAfter):
		case <-ctx.Done():
			return
		}
		if _, err := e.writeEndpoints(); err != nil {
			e.log.Error("write what endpoints told of their keys; it will be tried again", "error", err)
		}
	}
}

// writeAllEndpoints is for the end: there is no later time.
func (e *Engine) writeAllEndpoints() {
	for more := true; more; {
		var err error
		if more, err = e.writeEndpoints(); err != nil {
			e.log.Error("write what endpoints told of their keys", "error", err)
			return
		}
	}
}

// writeEndpoints writes the next of the book's changes.
func (e *Engine) writeEndpoints() (more bool, err error) {
	put, gone := e.endpoints.take(writeEndpointsMost)
	if len(put)+len(gone) == 0 {
		return false, nil
	}
	err = e.update(context.Background(), func(c *change) error {
		if err := c.tx.DeleteEndpoints(gone); err != nil {
			return err
		}
		return c.tx.PutEndpoints(put)
	})
	if err != nil {
		e.endpoints.giveBack(put, gone)
		return false, err
	}
	return len(put) == writeEndpointsMost, nil
}

// take is what is to be written and deleted, deletions first.
func (b *endpointBook) take(most int) (put, gone []*Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	later := b.changed[:0]
	for _, n := range b.changed {
		switch {
		case n.dropped:
		case len(put) == most:
			later = append(later, n)
		default:
			row := n.Endpoint
			put = append(put, &row)
			n.changed, n.wroteAt = false, n.SeenAt
		}
	}
	clear(b.changed[len(later):])
	b.changed = later
	if len(later) > 0 {
		b.signal()
	}
	gone, b.gone = b.gone, nil
	return put, gone
}

// giveBack notes again what could not be written.
func (b *endpointBook) giveBack(put, gone []*Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = append(b.gone, gone...)
	for _, row := range put {
		if n := b.tenants[row.Tenant][row.URL]; n != nil && !n.changed {
			n.changed = true
			b.changed = append(b.changed, n)
		}
	}
	b.signal()
}
