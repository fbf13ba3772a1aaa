package engine

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Quota is how many messages a tenant may add on one day, of UTC. What counts
// is a message that somebody asks for: by a publish, an enqueue, each item of a
// batch, each endpoint of a URL group, each tick of a schedule, a retry out of
// the DLQ, the start of a run and each step that its endpoint reports. What
// follows from those does not: further attempts, callbacks, results of calls.
type Quota struct {
	Limit int64 // 0: there is none
	Used  int64
	Reset int64 // Unix seconds: when the next day begins
}

const (
	daySeconds = 24 * 60 * 60
	dayMillis  = 1000 * daySeconds
)

// dayOf is the number of a day.
func dayOf(ms int64) int64 { return ms / dayMillis }

// quota is a tenant's in a change.
type quota struct {
	tenant, limit, day int64
	found, used        int64 // before the change, and with it
}

// spend counts messages that a tenant adds, or refuses them all. It is called
// before anything is written for them, so that whoever adds them for others may
// go on.
func (c *change) spend(tenant int64, messages int64) error {
	if c.e.limitsOfID(tenant).MessagesPerDay == 0 {
		return nil
	}
	q, err := c.quota(tenant)
	if err != nil {
		return err
	}
	if q.limit != 0 && q.used+messages > q.limit {
		return errorf(Limited, "messages per day: at most %d are accepted, and there were %d before this request; the next day begins at 00:00 UTC",
			q.limit, q.found)
	}
	q.used += messages
	return nil
}

// quota is a tenant's of today. Its row is the tenant's own, locked: of two that
// add messages at once, one comes after the other.
func (c *change) quota(tenant int64) (*quota, error) {
	for _, q := range c.quotas {
		if q.tenant == tenant {
			return q, nil
		}
	}
	t, err := c.lockTenant(tenant)
	if err != nil {
		return nil, err
	}
	q := &quota{tenant: tenant, limit: c.e.limitsOf(t).MessagesPerDay, day: dayOf(c.now)}
	if q.used, err = c.tx.MessagesOn(tenant, q.day); err != nil {
		return nil, fmt.Errorf("count messages of the day: %w", err)
	}
	q.found = q.used
	c.quotas = append(c.quotas, q)
	return q, nil
}

func (c *change) writeQuotas() error {
	for _, q := range c.quotas {
		if q.used == q.found {
			continue
		}
		if err := c.tx.PutMessagesOn(q.tenant, q.day, q.used); err != nil {
			return fmt.Errorf("count messages of the day: %w", err)
		}
	}
	return nil
}

// quotaBook has what was last seen of each tenant's day.
type quotaBook struct {
	mu   sync.Mutex
	days map[int64]spent // by tenant
}

type spent struct{ day, messages int64 }

// apply takes note of a change that was committed, or of what one found that
// was not.
func (b *quotaBook) apply(quotas []*quota, committed bool) {
	if len(quotas) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range quotas {
		messages := q.found
		if committed {
			messages = q.used
		}
		// Of changes that are committed at once, the later one may come first.
		if s := b.days[q.tenant]; s.day < q.day || s.day == q.day && s.messages < messages {
			b.days[q.tenant] = spent{q.day, messages}
		}
	}
}

func (b *quotaBook) get(tenant int64) (spent, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.days[tenant]
	return s, ok
}

// Quota is what the caller's tenant has left of today, as far as this server
// has seen.
func (e *Engine) Quota(ctx context.Context, who *Caller) (Quota, error) {
	limit := e.limitsOf(who.Tenant).MessagesPerDay
	if limit == 0 {
		return Quota{}, nil
	}
	day := dayOf(unixMillis(time.Now()))
	s, known := e.quotas.get(who.ID)
	if !known {
		err := e.store.View(ctx, func(tx Tx) (err error) {
			s.messages, err = tx.MessagesOn(who.ID, day)
			return err
		})
		if err != nil {
			return Quota{}, err
		}
		s.day = day
	}
	if s.day < day {
		s.messages = 0
	}
	return Quota{Limit: limit, Used: s.messages, Reset: (max(s.day, day) + 1) * daySeconds}, nil
}
