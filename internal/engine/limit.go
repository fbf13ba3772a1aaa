package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// TenantLimits are limits that the operator has set for a tenant. A zero field
// means the server's.
type TenantLimits struct {
	MaxMessageBytes   int64 `json:"maxMessageBytes,omitempty"`
	MaxRetries        int64 `json:"maxRetries,omitempty"`
	MaxDelay          int64 `json:"maxDelay,omitempty"`   // seconds
	MaxTimeout        int64 `json:"maxTimeout,omitempty"` // seconds
	GlobalParallelism int64 `json:"globalParallelism,omitempty"`
	MaxQueues         int64 `json:"maxQueues,omitempty"`
	MaxParallelism    int64 `json:"maxParallelism,omitempty"`
	MaxURLGroups      int64 `json:"maxUrlGroups,omitempty"`
	MaxEndpoints      int64 `json:"maxEndpoints,omitempty"`
	MaxSchedules      int64 `json:"maxSchedules,omitempty"`
	MessagesPerDay    int64 `json:"messagesPerDay,omitempty"`
	// RequestsPerSecond is about those that see and manage, with all tokens of
	// the tenant together.
	RequestsPerSecond int64 `json:"requestsPerSecond,omitempty"`
}

// of are the limits of a tenant: its own where it has some, the server's else.
func (l *Limits) of(own *TenantLimits) *Limits {
	if *own == (TenantLimits{}) {
		return l
	}
	out := *l
	override(&out.MaxBody, own.MaxMessageBytes)
	override(&out.MaxRetries, int(own.MaxRetries))
	override(&out.MaxDelay, time.Duration(own.MaxDelay)*time.Second)
	override(&out.MaxTimeout, time.Duration(own.MaxTimeout)*time.Second)
	override(&out.GlobalParallelism, int(own.GlobalParallelism))
	override(&out.MaxQueues, int(own.MaxQueues))
	override(&out.MaxParallelism, int(own.MaxParallelism))
	override(&out.MaxURLGroups, int(own.MaxURLGroups))
	override(&out.MaxEndpoints, int(own.MaxEndpoints))
	override(&out.MaxSchedules, int(own.MaxSchedules))
	override(&out.MessagesPerDay, own.MessagesPerDay)
	return &out
}

// inForce are limits as a tenant has them, all of them.
func (l *Limits) inForce() TenantLimits {
	return TenantLimits{
		MaxMessageBytes: l.MaxBody, MaxRetries: int64(l.MaxRetries),
		MaxDelay: int64(l.MaxDelay.Seconds()), MaxTimeout: int64(l.MaxTimeout.Seconds()),
		GlobalParallelism: int64(l.GlobalParallelism),
		MaxQueues:         int64(l.MaxQueues), MaxParallelism: int64(l.MaxParallelism),
		MaxURLGroups: int64(l.MaxURLGroups), MaxEndpoints: int64(l.MaxEndpoints), MaxSchedules: int64(l.MaxSchedules),
		MessagesPerDay: l.MessagesPerDay,
	}
}

// mostLimit is the greatest value of any limit.
const mostLimit = 1<<31 - 1

// changed is l with some fields, by their names in JSON, set anew; nil or 0
// makes one the server's again.
func (l TenantLimits) changed(to map[string]*int64) (TenantLimits, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	fields := map[string]int64{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return l, err
	}
	for name, value := range to {
		if value == nil {
			value = new(int64)
		}
		if *value < 0 || *value > mostLimit {
			return l, errorf(Invalid, "%.100s: expected a whole number from 1 to %d, or null or 0 for the server's default, got %d", name, mostLimit, *value)
		}
		fields[name] = *value
	}
	if text, err = json.Marshal(fields); err != nil {
		return l, err
	}
	var out TenantLimits
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		name, _ := strings.CutPrefix(err.Error(), "json: unknown field ")
		return l, errorf(Invalid, "body: %.100s is not the name of a limit", name)
	}
	return out, nil
}

// LimitsStatus is what a tenant may have, and what it has.
type LimitsStatus struct {
	Own     TenantLimits // where they are not the server's
	InForce TenantLimits // with the server's; RequestsPerSecond is not the engine's

	Queues    int
	URLGroups int
	Schedules int
	Attempts  int   // under way
	Messages  int64 // added today; 0 where nothing limits them
}

// LimitsOf are the caller's.
func (e *Engine) LimitsOf(ctx context.Context, who *Caller) (LimitsStatus, error) {
	return e.limitsStatus(ctx, who.Tenant)
}

// TenantLimits are those of the tenant of a user id, for the operator.
func (e *Engine) TenantLimits(ctx context.Context, who *Caller, userID string) (LimitsStatus, error) {
	t, err := e.tenantFor(ctx, who, userID)
	if err != nil {
		return LimitsStatus{}, err
	}
	return e.limitsStatus(ctx, t)
}

func (e *Engine) limitsStatus(ctx context.Context, t *Tenant) (out LimitsStatus, err error) {
	out = LimitsStatus{Own: t.Limits, InForce: e.limitsOf(t).inForce(), Attempts: e.queue.flying(t.ID)}
	err = e.store.View(ctx, func(tx Tx) (err error) {
		if out.Queues, err = tx.CountQueues(t.ID); err != nil {
			return fmt.Errorf("count queues: %w", err)
		}
		if out.URLGroups, err = tx.CountURLGroups(t.ID); err != nil {
			return fmt.Errorf("count URL groups: %w", err)
		}
		if out.Schedules, err = tx.CountSchedules(t.ID); err != nil {
			return fmt.Errorf("count schedules: %w", err)
		}
		if out.InForce.MessagesPerDay > 0 {
			out.Messages, err = tx.MessagesOn(t.ID, dayOf(unixMillis(time.Now())))
		}
		return err
	})
	return out, err
}

// tenantFor is the tenant of a user id, for the operator.
func (e *Engine) tenantFor(ctx context.Context, who *Caller, userID string) (t *Tenant, err error) {
	if err := who.mustOperate(); err != nil {
		return nil, err
	}
	err = e.store.View(ctx, func(tx Tx) error {
		if t, err = tenantOf(tx, userID); err == nil && t == nil {
			err = errorf(NotFound, "tenant %.100q not found", userID)
		}
		return err
	})
	return t, err
}

// ChangeLimits changes limits of the tenant of a user id, for the operator. They
// hold at once: what is there already and beyond them stays, and an attempt
// under way is not cut off.
func (e *Engine) ChangeLimits(ctx context.Context, who *Caller, userID string, to map[string]*int64) (LimitsStatus, error) {
	t, err := e.tenantFor(ctx, who, userID)
	if err != nil {
		return LimitsStatus{}, err
	}
	t, err = e.changeTenant(ctx, &Caller{Tenant: t}, func(c *change, t *Tenant) error {
		before := t.Limits
		if t.Limits, err = before.changed(to); err != nil || before == t.Limits {
			return err
		}
		return c.audit(who, "limits.change", t.UserID, before, t.Limits)
	})
	if err != nil {
		return LimitsStatus{}, err
	}
	e.queue.signal() // more attempts may be under way than before
	return e.limitsStatus(ctx, t)
}

// limitsOf are a tenant's limits.
func (e *Engine) limitsOf(t *Tenant) *Limits { return e.limits.of(&t.Limits) }

// limitsOfID are those of the tenant of an id.
func (e *Engine) limitsOfID(tenant int64) *Limits {
	if t := e.tenants.get(tenant); t != nil {
		return e.limitsOf(t)
	}
	return &e.limits
}

// DefaultRetries are those of a tenant.
func (e *Engine) DefaultRetries(tenant int64) int {
	return min(DefaultRetries, e.limitsOfID(tenant).MaxRetries)
}

// MaxBody is how many bytes the body of a caller's message may have.
func (e *Engine) MaxBody(who *Caller) int64 { return e.limitsOf(who.Tenant).MaxBody }
