package store_test

import (
	"net/http"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func urlGroup(seq, tenant int64, name string) *engine.URLGroup {
	return &engine.URLGroup{
		Seq: seq, Tenant: tenant, Name: name, UpdatedAt: seq + 1,
		Endpoints: []engine.GroupEndpoint{{URL: "https://a.example/x?a=ä"}, {Name: "the second", URL: "https://b.example"}},
		Header:    http.Header{"Upstash-Retries": {"3"}, "Upstash-Forward-A": {"b", "c"}}, Prefix: "https://a.example/ü",
	}
}

func findURLGroup(t testing.TB, s engine.Store, tenant int64, name string) *engine.URLGroup {
	t.Helper()
	return read(t, s, func(tx engine.Tx) (*engine.URLGroup, error) { return tx.URLGroup(tenant, name) })
}

// A group comes back as it was written, endpoints in their order; nothing is
// found under another name or another tenant.
func TestURLGroups(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b, other := urlGroup(1, 1, "a"), urlGroup(2, 1, "B-.1"), urlGroup(3, 2, "a")
		b.Header, b.Prefix = nil, ""
		update(t, s, func(tx engine.Tx) error {
			for _, g := range []*engine.URLGroup{a, b, other} {
				if err := tx.InsertURLGroup(g); err != nil {
					return err
				}
			}
			return nil
		})
		equal(t, "group", findURLGroup(t, s, 1, "a"), a)
		equal(t, "group of another tenant", findURLGroup(t, s, 2, "a"), other)
		for _, name := range []string{"A", "b-.1", "", "a\x00", "\xff"} {
			equal(t, "group "+name, findURLGroup(t, s, 1, name), nil)
		}
		all := func() []*engine.URLGroup {
			return read(t, s, func(tx engine.Tx) ([]*engine.URLGroup, error) { return tx.URLGroups(1) })
		}
		count := func(tenant int64) int {
			return read(t, s, func(tx engine.Tx) (int, error) { return tx.CountURLGroups(tenant) })
		}
		equal(t, "all", all(), []*engine.URLGroup{b, a})
		equal(t, "count", []int{count(1), count(2), count(3)}, []int{2, 1, 0})

		changed := *a
		changed.Endpoints = []engine.GroupEndpoint{{Name: "n", URL: "https://c.example"}}
		changed.Header, changed.Prefix, changed.UpdatedAt = nil, "https://c.example", 99
		update(t, s, func(tx engine.Tx) error {
			locked, err := tx.LockURLGroup(1, "a")
			if err != nil {
				return err
			}
			locked.Endpoints, locked.Header, locked.Prefix, locked.UpdatedAt = changed.Endpoints, changed.Header, changed.Prefix, changed.UpdatedAt
			return tx.UpdateURLGroup(locked)
		})
		equal(t, "changed", findURLGroup(t, s, 1, "a"), &changed)
		equal(t, "the other one", findURLGroup(t, s, 2, "a"), other)

		update(t, s, func(tx engine.Tx) error { return tx.DeleteURLGroup(1) })
		equal(t, "deleted", findURLGroup(t, s, 1, "a"), nil)
		equal(t, "all", all(), []*engine.URLGroup{b})
		equal(t, "last key", read(t, s, engine.Tx.LastSeq), 3)
		for name, fn := range map[string]func(engine.Tx) error{
			"delete": func(tx engine.Tx) error { return tx.DeleteURLGroup(1) },
			"update": func(tx engine.Tx) error { return tx.UpdateURLGroup(a) },
			"insert": func(tx engine.Tx) error { return tx.InsertURLGroup(urlGroup(9, 1, "B-.1")) },
		} {
			if s.Update(t.Context(), fn) == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
