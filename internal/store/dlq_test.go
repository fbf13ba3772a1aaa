package store_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func fullDLQEntry(seq int64) *engine.DLQEntry {
	return &engine.DLQEntry{
		Seq: seq, Tenant: 1, Message: maxInt - 1, Run: maxInt - 2, Status: 599, Header: oddHeader(), Body: allBytes(),
	}
}

func lockDLQEntry(tenant, seq int64) func(engine.Tx) (*engine.DLQEntry, error) {
	return func(tx engine.Tx) (*engine.DLQEntry, error) { return tx.LockDLQEntry(tenant, seq) }
}

// An entry reads back as it was written, for its own tenant alone, until it is
// deleted; deleting what is not there is an error, or it would be done twice.
func TestDLQEntryRoundTrip(t *testing.T) {
	everyFieldSet(t, fullDLQEntry(1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full, zero := fullDLQEntry(maxInt), &engine.DLQEntry{Seq: 1, Tenant: 1}
		large := &engine.DLQEntry{Seq: 2, Tenant: 1, Body: largeBody()}
		empty := &engine.DLQEntry{Seq: 3, Tenant: 1, Body: []byte{}}
		update(t, s, func(tx engine.Tx) error {
			for _, d := range []*engine.DLQEntry{full, zero, large, empty} {
				if err := tx.InsertDLQ(d); err != nil {
					return err
				}
			}
			return nil
		})
		empty.Body = nil
		for _, want := range []*engine.DLQEntry{full, zero, large, empty} {
			equal(t, "entry", inUpdate(t, s, lockDLQEntry(1, want.Seq)), want)
			equal(t, "entry in a view", read(t, s, lockDLQEntry(1, want.Seq)), want)
			equal(t, "entry of another tenant", inUpdate(t, s, lockDLQEntry(2, want.Seq)), nil)
		}
		update(t, s, func(tx engine.Tx) error { return tx.DeleteDLQ(2) })
		equal(t, "deleted", inUpdate(t, s, lockDLQEntry(1, 2)), nil)
		equal(t, "another", inUpdate(t, s, lockDLQEntry(1, 1)), zero)
		if err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.DeleteDLQ(2) }); err == nil {
			t.Error("deleted twice")
		}
	})
}

func TestScanDLQ(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		testListing(t, s, listing{
			insert: func(tx engine.Tx, tenant, seq int64) error {
				return tx.InsertDLQ(&engine.DLQEntry{Seq: seq, Tenant: tenant, Message: maxInt - seq})
			},
			list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
				rows, more, err := tx.ScanDLQ(p)
				return scanned(tenant, rows, more, err, func(r *engine.DLQEntry) (int64, int64) { return r.Seq, r.Tenant })
			},
		})
	})
}

// An entry that is to be deleted is locked: where several empty the DLQ at once,
// or take entries out of it, each entry is one's, and nobody's update fails.
func TestDLQIsEmptiedByMany(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const entries, takers, page = 60, 6, 7
		update(t, s, func(tx engine.Tx) error {
			for seq := range int64(entries) {
				if err := tx.InsertDLQ(&engine.DLQEntry{Seq: seq + 1, Tenant: 1}); err != nil {
					return err
				}
			}
			return nil
		})
		var taken atomic.Int64
		take := func(find func(engine.Tx) ([]*engine.DLQEntry, error)) (n int) {
			err := s.Update(context.Background(), func(tx engine.Tx) error {
				found, err := find(tx)
				n = len(found)
				for _, d := range found {
					if err := tx.DeleteDLQ(d.Seq); err != nil {
						return err
					}
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			taken.Add(int64(n))
			return n
		}
		var all sync.WaitGroup
		for i := range takers {
			all.Go(func() {
				if i%2 == 0 {
					first := func(tx engine.Tx) ([]*engine.DLQEntry, error) {
						rows, _, err := tx.ScanDLQ(engine.Page{To: maxInt, Limit: page})
						if err != nil {
							return nil, err
						}
						var held []*engine.DLQEntry
						for _, row := range rows {
							d, err := tx.LockDLQEntry(1, row.Seq)
							if err != nil {
								return nil, err
							}
							if d != nil {
								held = append(held, d)
							}
						}
						return held, nil
					}
					for taken.Load() < entries {
						take(first)
					}
					return
				}
				for seq := int64(entries); seq > 0; seq-- {
					take(func(tx engine.Tx) ([]*engine.DLQEntry, error) {
						d, err := tx.LockDLQEntry(1, seq)
						if d == nil {
							return nil, err
						}
						return []*engine.DLQEntry{d}, err
					})
				}
			})
		}
		all.Wait()
		equal(t, "taken", taken.Load(), entries)
	})
}
