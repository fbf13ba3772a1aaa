package store_test

import (
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// segment is one of the log, with two rows and two marks.
func segment(tenant, first, last int64) *engine.Segment {
	return &engine.Segment{
		Space: engine.SpaceLog, Tenant: tenant, First: first, Last: last, Seqs: engine.Ascending{1, 2},
		Places: map[int64]engine.Ascending{7: {0, 1}, maxInt: {1}},
	}
}

func insertSegments(t *testing.T, s engine.Store, from, through int64, segments ...*engine.Segment) bool {
	t.Helper()
	return inUpdate(t, s, func(tx engine.Tx) (bool, error) {
		for _, seg := range segments {
			if err := tx.PutMarks(seg, []int64{7}); err != nil {
				return false, err
			}
			if err := tx.PutMarks(seg, []int64{7, maxInt}); err != nil { // again, after a crash
				return false, err
			}
		}
		return tx.InsertSegments(segments, from, through)
	})
}

// Segments are found from any key on, in either direction, each tenant's and
// space's by themselves, and give back what was put into them.
func TestSegments(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		other := segment(1, 1, 25)
		other.Space = engine.SpaceDLQ
		equal(t, "first", insertSegments(t, s, 0, 30, segment(1, 10, 20), segment(2, 15, 30), other), true)
		equal(t, "through", read(t, s, engine.Tx.IndexedThrough), 30)
		equal(t, "by one who knew of none", insertSegments(t, s, 0, 40, segment(1, 31, 40)), false)
		equal(t, "through after that", read(t, s, engine.Tx.IndexedThrough), 30)
		equal(t, "second", insertSegments(t, s, 30, maxInt-1, segment(1, 31, maxInt-1)), true)

		for _, test := range []struct {
			tenant, at int64
			newest     bool
			want       int64 // its last key; 0: none
		}{
			{1, 0, false, 20}, {1, 20, false, 20}, {1, 21, false, maxInt - 1}, {1, maxInt, false, 0},
			{1, maxInt, true, maxInt - 1}, {1, maxInt - 1, true, 20}, {1, 20, true, 0},
			{2, 0, false, 30}, {2, maxInt, true, 30}, {3, 0, false, 0}, {3, maxInt, true, 0},
		} {
			got := read(t, s, func(tx engine.Tx) ([]*engine.Segment, error) {
				return tx.NextSegments(engine.SpaceLog, test.tenant, test.at, test.newest, 1)
			})
			last := int64(0)
			if len(got) > 0 {
				last = got[0].Last
			}
			if last != test.want {
				t.Errorf("tenant %d at %d, newest %t: ends at %d, want %d", test.tenant, test.at, test.newest, last, test.want)
			}
		}
		one := segment(1, 31, maxInt-1)
		equal(t, "seqs", read(t, s, func(tx engine.Tx) (engine.Ascending, error) { return tx.SegmentSeqs(one) }), one.Seqs)
		for mark, want := range map[int64]engine.Ascending{7: {0, 1}, maxInt: {1}, 8: nil} {
			equal(t, "places", read(t, s, func(tx engine.Tx) (engine.Ascending, error) { return tx.Places(one, mark) }), want)
		}
		var all []int64
		for at := new(engine.Segment); ; {
			next := read(t, s, func(tx engine.Tx) ([]*engine.Segment, error) { return tx.SegmentsAfter(at, 1) })
			if len(next) == 0 {
				break
			}
			at = next[0]
			all = append(all, int64(at.Space), at.Tenant, at.First, at.Last)
		}
		equal(t, "all", all, []int64{1, 1, 10, 20, 1, 1, 31, maxInt - 1, 1, 2, 15, 30, 2, 1, 1, 25})

		// One that was not finished, and ended elsewhere.
		update(t, s, func(tx engine.Tx) error { return tx.PutMarks(segment(1, 31, 35), []int64{7}) })
		equal(t, "deleted by steps", inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.DeleteSegment(one, 2) }), 2)
		equal(t, "the rest", inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.DeleteSegment(one, 2) }), 2)
		equal(t, "the others' marks", read(t, s, func(tx engine.Tx) (engine.Ascending, error) { return tx.Places(segment(1, 10, 20), 7) }), engine.Ascending{0, 1})
	})
}

// A segment is in use while a row of its space is left between its ends.
func TestSegmentUsed(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			if err := tx.InsertMessages([]*engine.Message{message(10)}); err != nil {
				return err
			}
			if err := tx.InsertSettlements([]*engine.Settlement{{Seq: 20, Message: 10}}); err != nil {
				return err
			}
			if err := tx.InsertDLQ(&engine.DLQEntry{Seq: 30, Tenant: 1, Message: 10}); err != nil {
				return err
			}
			return tx.InsertRun(run(40, "wfr_1"))
		})
		for _, test := range []struct {
			space       engine.Space
			first, last int64
			want        bool
		}{
			{engine.SpaceLog, 1, 9, false}, {engine.SpaceLog, 1, 10, true}, {engine.SpaceLog, 11, 19, false},
			{engine.SpaceLog, 20, 25, true}, {engine.SpaceLog, 21, 99, false},
			{engine.SpaceDLQ, 1, 29, false}, {engine.SpaceDLQ, 30, 30, true},
			{engine.SpaceRuns, 1, 39, false}, {engine.SpaceRuns, 1, 99, true},
		} {
			used := read(t, s, func(tx engine.Tx) (bool, error) {
				return tx.SegmentUsed(&engine.Segment{Space: test.space, Tenant: 1, First: test.first, Last: test.last})
			})
			if used != test.want {
				t.Errorf("space %d from %d to %d: %t", test.space, test.first, test.last, used)
			}
		}
	})
}

// What is scanned has all that rows are found by.
func TestScannedRows(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		m, r := fullMessage(), fullRun(40)
		m.Seq = 10
		entry := &engine.DLQEntry{Seq: 30, Tenant: 1, Message: 10, Run: 40, Status: 503}
		settled := &engine.Settlement{Seq: 20, Tenant: 1, Message: 10, Result: engine.Failed, StartedAt: 7, Error: "refused"}
		insertMessages(t, s, m)
		insertRuns(t, s, r)
		update(t, s, func(tx engine.Tx) error {
			if err := tx.InsertDLQ(entry); err != nil {
				return err
			}
			return tx.InsertSettlements([]*engine.Settlement{settled})
		})
		update(t, s, func(tx engine.Tx) error {
			page := engine.Page{To: maxInt, Limit: 2}
			messages, _, err := tx.ScanMessages(page)
			if err != nil {
				return err
			}
			equal(t, "messages", messages, []*engine.Message{{
				Key: engine.Key{Seq: 10}, Tenant: m.Tenant, Run: m.Run, URL: m.URL, CallerIP: m.CallerIP, Settings: m.Settings,
			}})
			settlements, _, err := tx.ScanSettlements(page)
			if err != nil {
				return err
			}
			equal(t, "settlements", settlements, []*engine.Settlement{settled})
			entries, _, err := tx.ScanDLQ(page)
			if err != nil {
				return err
			}
			equal(t, "entries", entries, []*engine.DLQEntry{entry})
			runs, _, err := tx.ScanRuns(page)
			if err != nil {
				return err
			}
			equal(t, "runs", runs, []*engine.Run{{
				Seq: 40, Tenant: r.Tenant, ID: r.ID, URL: r.URL, CallerIP: r.CallerIP, Settings: r.Settings,
			}})
			return nil
		})
	})
}

// A scan of sealed rows, which have their bodies with them, ends before it has
// read too many bytes, and says so.
func TestScanLargeRows(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const large = 3 << 20
		for seq := range int64(6) {
			m := message(seq + 1)
			m.Body = make([]byte, large)
			insertMessages(t, s, m)
		}
		var seen []int64
		for page := (engine.Page{To: maxInt, Limit: 100}); ; {
			more := false
			update(t, s, func(tx engine.Tx) (err error) {
				rows, m, err := tx.ScanMessages(page)
				for _, r := range rows {
					seen, page.From = append(seen, r.Seq), r.Seq+1
				}
				more = m
				return err
			})
			if !more {
				break
			}
		}
		equal(t, "all", seen, []int64{1, 2, 3, 4, 5, 6})
	})
}

// The oldest entries beyond a number are a tenant's own, as is what is trimmed.
func TestTrimDLQ(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		update(t, s, func(tx engine.Tx) error {
			for seq := int64(1); seq <= 10; seq++ {
				if err := tx.InsertDLQ(&engine.DLQEntry{Seq: seq, Tenant: 1 + seq%2, Message: seq}); err != nil {
					return err
				}
			}
			return nil
		})
		beyond := func(tenant int64, most int) int64 {
			return read(t, s, func(tx engine.Tx) (int64, error) { return tx.DLQBeyond(tenant, most) })
		}
		trim := func(through int64) int {
			return inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.TrimDLQ(1, through, 2) })
		}
		equal(t, "none beyond", beyond(1, 5), 0)
		equal(t, "the third newest", beyond(1, 2), 6)
		equal(t, "nobody's", beyond(3, 0), 0)
		equal(t, "trimmed", []int{trim(6), trim(6), trim(6)}, []int{2, 1, 0})
		rows := inUpdate(t, s, func(tx engine.Tx) ([]*engine.DLQEntry, error) {
			rows, _, err := tx.ScanDLQ(engine.Page{To: maxInt, Limit: 100})
			return rows, err
		})
		left, err := keysOf(rows, nil, func(d *engine.DLQEntry) int64 { return d.Seq })
		equal(t, "left", left, []int64{1, 3, 5, 7, 8, 9, 10})
		equal(t, "error", err, nil)
		equal(t, "expired", inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.PurgeDLQ(1, 100) }), 7)
		equal(t, "there", read(t, s, func(tx engine.Tx) (bool, error) { return tx.InDLQ(7) }), false)
	})
}
