package store_test

import (
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func endpoint(tenant int64, url string) *engine.Endpoint {
	return &engine.Endpoint{
		Tenant: tenant, URL: url, SeenAt: 1, Echo: "verified=a; held=b", VerifiedKey: "verified", VerifiedAt: 2,
		Awaited: "awaited", Streak: 3, LackedAt: 4, Unverified: true,
	}
}

func endpoints(t *testing.T, s engine.Store) map[string]*engine.Endpoint {
	t.Helper()
	out := map[string]*engine.Endpoint{}
	for _, ep := range read(t, s, engine.Tx.Endpoints) {
		out[ep.URL+" "+string(rune('0'+ep.Tenant))] = ep
	}
	return out
}

// What endpoints told reads back as it was written, however long their URL, and
// is written over by what they tell later.
func TestEndpoints(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		equal(t, "none", read(t, s, engine.Tx.Endpoints), nil)
		long := "https://example.com/" + strings.Repeat("päth/", 800)
		a, b, other := endpoint(1, long), endpoint(1, oddText), endpoint(2, long)
		everyFieldSet(t, a)
		put := func(all ...*engine.Endpoint) {
			update(t, s, func(tx engine.Tx) error { return tx.PutEndpoints(all) })
		}
		put(a, b, other)
		equal(t, "all", endpoints(t, s), map[string]*engine.Endpoint{long + " 1": a, oddText + " 1": b, long + " 2": other})

		later := &engine.Endpoint{Tenant: 1, URL: long, SeenAt: 5}
		put(later)
		equal(t, "later", endpoints(t, s), map[string]*engine.Endpoint{long + " 1": later, oddText + " 1": b, long + " 2": other})

		update(t, s, func(tx engine.Tx) error {
			return tx.DeleteEndpoints([]*engine.Endpoint{{Tenant: 1, URL: long}, {Tenant: 2, URL: oddText}})
		})
		equal(t, "left", endpoints(t, s), map[string]*engine.Endpoint{oddText + " 1": b, long + " 2": other})
	})
}
