package store_test

import (
	"net/http"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func fullSettlement(seq, message int64) *engine.Settlement {
	return &engine.Settlement{
		Seq: seq, Tenant: maxInt - 1, Message: message, Result: engine.Failed, Retried: 3, StartedAt: maxInt - 2, EndedAt: maxInt - 3,
		NextDue: maxInt - 4, Status: 599, Error: oddText, Header: oddHeader(), Body: allBytes(),
	}
}

func settlementsOf(t *testing.T, s engine.Store, message int64) []*engine.Settlement {
	t.Helper()
	return read(t, s, func(tx engine.Tx) ([]*engine.Settlement, error) { return tx.SettlementsOf(message) })
}

// A settlement reads back as it was written; a message's come oldest first,
// whatever order they were written in.
func TestSettlementRoundTrip(t *testing.T) {
	everyFieldSet(t, fullSettlement(1, 1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full, zero, large := fullSettlement(maxInt, 7), &engine.Settlement{Seq: 3, Message: 7}, fullSettlement(4, 7)
		large.Body = largeBody()
		empty := &engine.Settlement{Seq: 5, Message: 8, Header: http.Header{}, Body: []byte{}}
		update(t, s, func(tx engine.Tx) error {
			return tx.InsertSettlements([]*engine.Settlement{full, empty, zero, large})
		})
		equal(t, "of one message", settlementsOf(t, s, 7), []*engine.Settlement{zero, large, full})
		equal(t, "empty", settlementsOf(t, s, 8), []*engine.Settlement{{Seq: 5, Message: 8}})
		equal(t, "of none", settlementsOf(t, s, 9), nil)
	})
}

// Of all its attempts, the one that a message has failed with says why.
func TestFailureOf(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			return tx.InsertSettlements([]*engine.Settlement{
				{Seq: 1, Message: 7, Result: engine.Pending, Error: "the first"},
				{Seq: 2, Message: 7, Result: engine.Failed, Error: oddText, Header: oddHeader(), Body: allBytes()},
				{Seq: 3, Message: 8, Result: engine.Failed, Error: "another's"},
				{Seq: 4, Message: 9, Result: engine.Pending, Error: "tried again"},
			})
		})
		for message, want := range map[int64]string{7: oddText, 8: "another's", 9: "", 10: ""} {
			equal(t, "reason", read(t, s, func(tx engine.Tx) (string, error) { return tx.FailureOf(message) }), want)
		}
	})
}

// An error's text may hold what came from the network. It is kept as far as it
// is text: a settlement is never lost to it.
func TestSettlementErrorOfAnyBytes(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			return tx.InsertSettlements([]*engine.Settlement{{
				Seq: 1, Message: 1, Error: "a\x00b caf\xe9!", Header: http.Header{"X-Odd": {"a\x00b caf\xe9!"}},
			}})
		})
		equal(t, "settlement", settlementsOf(t, s, 1), []*engine.Settlement{{
			Seq: 1, Message: 1, Error: "a\uFFFDb caf\uFFFD!", Header: http.Header{"X-Odd": {"a\x00b caf\uFFFD!"}},
		}})
	})
}

func TestScanSettlements(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		testListing(t, s, listing{
			insert: func(tx engine.Tx, tenant, seq int64) error {
				return tx.InsertSettlements([]*engine.Settlement{{Seq: seq, Tenant: tenant, Message: maxInt - seq}})
			},
			list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
				rows, more, err := tx.ScanSettlements(p)
				return scanned(tenant, rows, more, err, func(r *engine.Settlement) (int64, int64) { return r.Seq, r.Tenant })
			},
		})
	})
}
