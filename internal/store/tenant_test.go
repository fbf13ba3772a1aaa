package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func tenant(name string) *engine.Tenant {
	return &engine.Tenant{
		UserID: name, CurrentKey: "sig_current_" + name, NextKey: "sig_next_" + name, RotatedAt: 12,
		Settings: engine.TenantSettings{SignCalls: "never", SignWith: []string{name}},
		Limits: engine.TenantLimits{
			MaxMessageBytes: 1, MaxRetries: 2, MaxDelay: 3, MaxTimeout: 4, GlobalParallelism: 5, MaxQueues: 6, MaxParallelism: 7,
			MaxURLGroups: 8, MaxEndpoints: 9, MaxSchedules: 10, MessagesPerDay: maxInt, RequestsPerSecond: 12,
		},
		Secrets: engine.TenantSecrets{RedactKey: []byte(name), CurrentSeed: []byte("c" + name), NextSeed: []byte("n" + name)},
	}
}

func insertTenants(t *testing.T, s engine.Store, tenants ...*engine.Tenant) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, n := range tenants {
			if err := tx.InsertTenant(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// A tenant reads back as it was written, under the id it was given.
func TestTenantRoundTrip(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		equal(t, "none", read(t, s, engine.Tx.Tenants), nil)
		a, b := tenant(oddText), tenant("b")
		insertTenants(t, s, a, b)
		everyFieldSet(t, a)
		if a.ID == b.ID || a.ID <= 0 || b.ID <= 0 {
			t.Errorf("ids %d and %d", a.ID, b.ID)
		}
		equal(t, "all", read(t, s, engine.Tx.Tenants), []*engine.Tenant{a, b})
		lock := func(id int64) func(engine.Tx) (*engine.Tenant, error) {
			return func(tx engine.Tx) (*engine.Tenant, error) { return tx.LockTenant(id) }
		}
		equal(t, "locked", inUpdate(t, s, lock(b.ID)), b)
		equal(t, "locked, absent", inUpdate(t, s, lock(99)), nil)
	})
}

// Keys, settings, limits and secrets change for one tenant, the one named, which must exist.
func TestUpdateTenant(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b := tenant("a"), tenant("b")
		insertTenants(t, s, a, b)
		rotated := &engine.Tenant{
			ID: b.ID, UserID: "not a key", CurrentKey: "sig_2", NextKey: "sig_3", RotatedAt: 34,
			Settings: engine.TenantSettings{SignCalls: "same-origin"}, Limits: engine.TenantLimits{MaxQueues: 13}, Secrets: engine.TenantSecrets{NextSeed: []byte{1}},
		}
		update(t, s, func(tx engine.Tx) error { return tx.UpdateTenant(rotated) })
		b.CurrentKey, b.NextKey, b.RotatedAt, b.Settings, b.Secrets = "sig_2", "sig_3", 34, rotated.Settings, rotated.Secrets
		b.Limits = rotated.Limits
		equal(t, "after", read(t, s, engine.Tx.Tenants), []*engine.Tenant{a, b})
		err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.UpdateTenant(&engine.Tenant{ID: 99}) })
		if err == nil {
			t.Error("no error for a tenant that is not there")
		}
	})
}

// Tenants made at once, as by nodes that start together, each get an id.
func TestTenantsInsertedTogether(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const n = 8
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertTenant(tenant(fmt.Sprint(i))) })
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		ids := map[int64]bool{}
		for _, n := range read(t, s, engine.Tx.Tenants) {
			ids[n.ID] = true
		}
		equal(t, "ids", len(ids), n)
	})
}
