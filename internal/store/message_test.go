package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func fullMessage() *engine.Message {
	return &engine.Message{
		Key: engine.Key{Seq: maxInt, Rnd: maxInt - 1}, Tenant: maxInt - 2, State: engine.Failed, Kind: engine.KindFailureCall,
		Due: maxInt - 3, NotBefore: maxInt - 4, Retried: 998, MaxRetries: 999, Run: maxInt - 5, LogIndex: 12,
		Method: "PATCH", URL: "https://api.example/" + oddText, CallerIP: "2001:db8::1",
		Header: oddHeader(), Settings: allSettings(), Body: allBytes(),
		Queue: maxInt - 6, Flow: maxInt - 7, Lane: maxInt - 8,
	}
}

// A message reads back as it was written, byte for byte. No bytes and no
// headers are nil, whichever way they were written.
func TestMessageRoundTrip(t *testing.T) {
	everyFieldSet(t, fullMessage())
	settings := allSettings()
	everyFieldSet(t, &settings)
	tests := []struct {
		name         string
		write, reads *engine.Message // reads nil: as written
	}{
		{"full", fullMessage(), nil},
		{"zero", &engine.Message{}, nil},
		{"negative", &engine.Message{Key: engine.Key{Seq: 1}, LogIndex: -1, Due: -maxInt - 1}, nil},
		{"empty", &engine.Message{Header: http.Header{}, Body: []byte{}}, &engine.Message{}},
		{"empty labels", &engine.Message{Settings: engine.Settings{Labels: []string{}}}, &engine.Message{}},
		{"header without values", &engine.Message{Header: http.Header{"A": {}}}, nil},
		{"one zero byte", &engine.Message{Body: []byte{0}}, nil},
		{"large", &engine.Message{Body: largeBody(), Header: http.Header{"X-Large": {strings.Repeat("v", 64<<10)}}}, nil},
	}
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for i, test := range tests {
			write, reads := *test.write, test.reads
			if reads == nil {
				reads = test.write
			}
			want := *reads
			if write.Seq == 0 {
				write.Seq = int64(i + 100)
				want.Seq = write.Seq
			}
			insertMessages(t, s, &write)
			equal(t, test.name, messages(t, s, write.Seq), []*engine.Message{&want})
			lock := func(tx engine.Tx) (*engine.Message, error) { return tx.LockMessage(write.Seq) }
			equal(t, test.name+", locked", inUpdate(t, s, lock), &want)
		}
	})
}

// Rows that are read are the reader's: what one does to its row another does
// not see. Header and settings are shared between readers and not written to.
func TestMessagesAreCopies(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		m := message(1)
		m.Body = []byte("body")
		insertMessages(t, s, m)
		mine := messages(t, s, 1)[0]
		mine.Body[0], mine.URL, mine.Retried = 'B', "changed", 9
		equal(t, "read again", messages(t, s, 1), []*engine.Message{m})
	})
}

// Text one of the databases can't keep is refused by both, with the whole
// update: what is tried out on one works on the other.
func TestTextNobodyCanKeep(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for _, text := range []string{"a\x00b", "\x00", "caf\xe9", "\xed\xa0\x80"} {
			for field, bad := range map[string]*engine.Message{
				"method": {Method: text}, "url": {URL: text}, "caller ip": {CallerIP: text},
			} {
				bad.Key = engine.Key{Seq: 2}
				err := s.Update(context.Background(), func(tx engine.Tx) error {
					return tx.InsertMessages([]*engine.Message{message(1), bad})
				})
				if err == nil {
					t.Errorf("%s %q was accepted", field, text)
				}
			}
			err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertRun(run(1, text)) })
			if err == nil {
				t.Errorf("run id %q was accepted", text)
			}
		}
		equal(t, "rows left", messages(t, s, 1, 2), nil)
	})
}

// Messages are found by key, in the order of their keys, each once, whatever
// order they are asked for in; what is not there is left out.
func TestMessagesByKey(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const n = 3000 // more than a statement takes as single parameters
		var all []*engine.Message
		var seqs []int64
		for i := range int64(n) {
			all = append(all, message(maxInt-n+i))
			seqs = append(seqs, maxInt-n+i)
		}
		insertMessages(t, s, all...)
		equal(t, "all", messages(t, s, seqs...), all)
		slices.Reverse(seqs)
		equal(t, "all, reversed", messages(t, s, seqs...), all)
		equal(t, "some", messages(t, s, all[7].Seq, 5, all[3].Seq, all[7].Seq, -1), []*engine.Message{all[3], all[7]})
		equal(t, "one", messages(t, s, all[3].Seq), []*engine.Message{all[3]})
		equal(t, "absent", messages(t, s, 5), nil)
		equal(t, "none", messages(t, s), nil)
		lock := func(tx engine.Tx) (*engine.Message, error) { return tx.LockMessage(5) }
		equal(t, "locked, absent", inUpdate(t, s, lock), nil)
	})
}

// A key is one message's, for ever.
func TestMessageKeyIsTaken(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		first, second := message(1), message(1)
		second.URL = "https://other.example"
		insertMessages(t, s, first)
		err := s.Update(context.Background(), func(tx engine.Tx) error { return tx.InsertMessages([]*engine.Message{message(2), second}) })
		if err == nil {
			t.Error("a second message of the same key was accepted")
		}
		equal(t, "rows", messages(t, s, 1, 2), []*engine.Message{first})
	})
}

// A transition applies to a message that is still as it was when it was
// decided; of others it is reported that it does not, and they stay.
func TestSettleMessages(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		retried := message(3)
		retried.Retried = 1
		canceling := message(4)
		canceling.State = engine.Canceling
		insertMessages(t, s, message(1), message(2), retried, canceling, message(5))
		missed := inUpdate(t, s, func(tx engine.Tx) ([]int, error) {
			return tx.SettleMessages([]engine.Transition{
				{Seq: 1, From: engine.Pending, To: engine.Delivered, Due: 11},
				{Seq: 2, From: engine.Canceling, To: engine.Canceled},                                             // 1: wrong state
				{Seq: 3, From: engine.Pending, To: engine.Failed},                                                 // 2: another attempt's
				{Seq: 3, From: engine.Pending, Attempt: 1, To: engine.Pending, Due: 33, Retried: 2},               // a retry
				{Seq: 3, From: engine.Pending, Attempt: 1, To: engine.Pending, Due: 34, Retried: 2},               // 4: once only
				{Seq: 4, From: engine.Canceling, To: engine.Canceled, Due: 44},                                    // the last word
				{Seq: 99, From: engine.Pending, To: engine.Delivered},                                             // 6: absent
				{Seq: 1, From: engine.Delivered, To: engine.Pending, Due: maxInt, Retried: 999},                   // there and back
				{Seq: 1, From: engine.Pending, Attempt: 999, To: engine.Delivered, Due: maxInt - 1, Retried: 998}, // in one go
			})
		})
		equal(t, "missed", missed, []int{1, 2, 4, 6})
		one, two, three, four := message(1), message(2), message(3), message(4)
		one.State, one.Due, one.Retried = engine.Delivered, maxInt-1, 998
		three.Due, three.Retried = 33, 2
		four.State, four.Due = engine.Canceled, 44
		equal(t, "rows", messages(t, s, 1, 2, 3, 4, 5), []*engine.Message{one, two, three, four, message(5)})
		none := inUpdate(t, s, func(tx engine.Tx) ([]int, error) { return tx.SettleMessages(nil) })
		equal(t, "missed of none", none, nil)
	})
}

func at(due, seq int64) engine.Due { return engine.Due{At: due, Seq: seq} }

// What is due comes in the order of (due, seq), of one tenant; ties of due are
// cut by seq, and a page begins right behind the one before.
func TestDueMessages(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		var all []*engine.Message
		add := func(seq, due int64, state engine.State) {
			m := message(seq)
			m.Due, m.State = due, state
			all = append(all, m)
		}
		add(1, 300, engine.Pending)
		add(2, 100, engine.Pending)
		add(3, 200, engine.Canceling)
		add(4, 200, engine.Pending)
		add(5, 200, engine.Pending)
		add(6, 0, engine.Pending)
		add(7, maxInt, engine.Pending)
		add(8, 100, engine.Delivered)
		add(9, 100, engine.Failed)
		add(10, 100, engine.Canceled)
		add(11, 100, engine.Waiting)
		other := message(12)
		other.Due, other.Tenant = 100, 2
		all = append(all, other)
		insertMessages(t, s, all...)
		due := func(after engine.Due, limit int) []engine.Due {
			return read(t, s, func(tx engine.Tx) ([]engine.Due, error) { return tx.DueMessages(1, after, limit) })
		}
		want := []engine.Due{at(0, 6), at(100, 2), at(200, 3), at(200, 4), at(200, 5), at(300, 1), at(maxInt, 7)}
		equal(t, "all", due(engine.Due{}, 100), want)
		for limit := 1; limit <= len(want); limit++ {
			var paged []engine.Due
			for page := due(engine.Due{}, limit); len(page) > 0; page = due(page[len(page)-1], limit) {
				if len(page) > limit {
					t.Fatalf("%d rows, at most %d were asked for", len(page), limit)
				}
				paged = append(paged, page...)
			}
			equal(t, fmt.Sprintf("by %d", limit), paged, want)
		}
		equal(t, "from between", due(engine.Due{At: 200, Seq: 4}, 1), []engine.Due{at(200, 5)})
		equal(t, "from a point without a row", due(engine.Due{At: 150, Seq: maxInt}, 1), []engine.Due{at(200, 3)})

		update(t, s, func(tx engine.Tx) error {
			_, err := tx.SettleMessages([]engine.Transition{
				{Seq: 2, From: engine.Pending, To: engine.Delivered, Due: 100},
				{Seq: 4, From: engine.Pending, To: engine.Pending, Due: 400, Retried: 1},
				{Seq: 3, From: engine.Canceling, To: engine.Canceled, Due: 200},
				{Seq: 8, From: engine.Delivered, To: engine.Pending, Due: 50},
			})
			return err
		})
		equal(t, "settled", due(engine.Due{}, 100), []engine.Due{at(0, 6), at(50, 8), at(200, 5), at(300, 1), at(400, 4), at(maxInt, 7)})
	})
}

// PendingMessages are one tenant's, in the same order, with all columns, and
// without those that are cancelled already.
func TestPendingMessages(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full := fullMessage()
		full.Seq, full.Tenant, full.State, full.Due = 1, 1, engine.Pending, 100
		tie := message(2)
		tie.Due = 100
		canceling, other := message(3), message(4)
		canceling.State, other.Tenant = engine.Canceling, 2
		soonest := message(5)
		soonest.Due = 50
		insertMessages(t, s, full, tie, canceling, other, soonest)
		pending := func(tenant int64, after engine.Due, limit int) []*engine.Message {
			return read(t, s, func(tx engine.Tx) ([]*engine.Message, error) { return tx.PendingMessages(tenant, after, limit) })
		}
		equal(t, "all", pending(1, engine.Due{}, 10), []*engine.Message{soonest, full, tie})
		equal(t, "first", pending(1, engine.Due{}, 1), []*engine.Message{soonest})
		equal(t, "next", pending(1, engine.Due{At: 50, Seq: 5}, 1), []*engine.Message{full})
		equal(t, "last", pending(1, engine.Due{At: 100, Seq: 1}, 10), []*engine.Message{tie})
		equal(t, "end", pending(1, engine.Due{At: 100, Seq: 2}, 10), nil)
		equal(t, "other tenant", pending(2, engine.Due{}, 10), []*engine.Message{other})
		equal(t, "nobody", pending(3, engine.Due{}, 10), nil)
	})
}

func TestScanMessages(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		testListing(t, s, listing{
			insert: func(tx engine.Tx, tenant, seq int64) error {
				m := message(seq)
				m.Tenant, m.Due = tenant, -seq // in no order a list may fall for
				return tx.InsertMessages([]*engine.Message{m})
			},
			list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
				rows, more, err := tx.ScanMessages(p)
				return scanned(tenant, rows, more, err, func(r *engine.Message) (int64, int64) { return r.Seq, r.Tenant })
			},
		})
	})
	forEachStore(t, func(t *testing.T, s engine.Store) {
		m := fullMessage()
		m.Seq-- // a page goes up to but without a key
		insertMessages(t, s, m)
		got := read(t, s, func(tx engine.Tx) ([]*engine.Message, error) {
			rows, _, err := tx.ScanMessages(engine.Page{To: maxInt, Limit: 1})
			return rows, err
		})
		equal(t, "what rows are found by", got, []*engine.Message{{
			Key: engine.Key{Seq: m.Seq}, Tenant: m.Tenant, Run: m.Run, URL: m.URL, CallerIP: m.CallerIP, Settings: m.Settings,
		}})
	})
}

func deduplication(t *testing.T, s engine.Store, tenant int64, hash []byte, now int64) engine.Key {
	t.Helper()
	return inUpdate(t, s, func(tx engine.Tx) (engine.Key, error) { return tx.Deduplication(tenant, hash, now) })
}

// A hash is held from its put until it expires, for one tenant; then it may be
// put again, and nobody has to have cleaned up before.
func TestDeduplication(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
		first, second := engine.Key{Seq: 1, Rnd: maxInt}, engine.Key{Seq: 2, Rnd: 20}
		put := func(tenant int64, key engine.Key, now, expires int64) error {
			return s.Update(context.Background(), func(tx engine.Tx) error {
				return tx.PutDeduplication(tenant, a[:], key, now, expires)
			})
		}
		equal(t, "before", deduplication(t, s, 1, a[:], 0), engine.Key{})
		if err := put(1, first, 1000, 2000); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name   string
			tenant int64
			hash   []byte
			now    int64
			want   engine.Key
		}{
			{"held", 1, a[:], 1000, first},
			{"held to the end", 1, a[:], 1999, first},
			{"expired", 1, a[:], 2000, engine.Key{}},
			{"another hash", 1, b[:], 1000, engine.Key{}},
			{"a prefix", 1, a[:31], 1000, engine.Key{}},
			{"another tenant", 2, a[:], 1000, engine.Key{}},
		} {
			equal(t, test.name, deduplication(t, s, test.tenant, test.hash, test.now), test.want)
		}
		if err := put(1, second, 1999, 3000); err == nil {
			t.Error("a hash was taken from its holder")
		}
		equal(t, "still held", deduplication(t, s, 1, a[:], 1999), first)
		if err := put(2, second, 1500, 3000); err != nil {
			t.Errorf("another tenant's: %v", err)
		}
		if err := put(1, second, 2000, 3000); err != nil {
			t.Errorf("after it expired: %v", err)
		}
		equal(t, "overtaken", deduplication(t, s, 1, a[:], 2000), second)
	})
}

// Of those who put the same hash at once exactly one holds it, and all others
// are answered with that one, also where an expired one stands in the way.
func TestDeduplicationsPutTogether(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		const rounds, putters, now = 5, 8, 1000
		for round := range int64(rounds) {
			hash := sha256.Sum256(fmt.Append(nil, round))
			if round%2 == 1 {
				update(t, s, func(tx engine.Tx) error {
					return tx.PutDeduplication(1, hash[:], engine.Key{Seq: 999}, now-10, now)
				})
			}
			var won atomic.Int64
			answers := make([]engine.Key, putters)
			var all sync.WaitGroup
			for i := range answers {
				all.Go(func() {
					mine := engine.Key{Seq: round*putters + int64(i) + 1, Rnd: 7}
					var winner bool
					err := s.Update(context.Background(), func(tx engine.Tx) error {
						held, err := tx.Deduplication(1, hash[:], now)
						if answers[i], winner = held, false; err != nil || held != (engine.Key{}) {
							return err
						}
						answers[i], winner = mine, true
						return tx.PutDeduplication(1, hash[:], mine, now, now+1)
					})
					if err != nil {
						t.Error(err)
					}
					if winner {
						won.Add(1)
					}
				})
			}
			all.Wait()
			equal(t, "winners", won.Load(), 1)
			for _, got := range answers {
				equal(t, "answer", got, answers[0])
			}
			equal(t, "holder", deduplication(t, s, 1, hash[:], now), answers[0])
		}
	})
}

// LastSeq is the greatest key in use, whatever it is used for: a new key is
// always greater.
func TestLastSeq(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		last := func() int64 { t.Helper(); return read(t, s, engine.Tx.LastSeq) }
		equal(t, "empty", last(), 0)
		insertMessages(t, s, message(10), message(5))
		equal(t, "message", last(), 10)
		update(t, s, func(tx engine.Tx) error { return tx.InsertSettlements([]*engine.Settlement{{Seq: 20, Message: 5}}) })
		equal(t, "settlement", last(), 20)
		update(t, s, func(tx engine.Tx) error { return tx.InsertDLQ(&engine.DLQEntry{Seq: 30, Message: 5}) })
		equal(t, "DLQ entry", last(), 30)
		insertRuns(t, s, run(40, "wfr_1"))
		equal(t, "run", last(), 40)
		update(t, s, func(tx engine.Tx) error { return tx.InsertQueue(&engine.Queue{Seq: 50, Tenant: 1, Name: "q"}) })
		equal(t, "queue", last(), 50)
		update(t, s, func(tx engine.Tx) error { return tx.InsertFlowKey(&engine.FlowKey{Seq: 60, Tenant: 1, Key: "k"}) })
		equal(t, "flow-control key", last(), 60)
		insertWaits(t, s, waitOf(70, 1, 1, "e"))
		equal(t, "wait", last(), 70)
		insertNotes(t, s, note(80, 1, "e"))
		equal(t, "note", last(), 80)
		insertMessages(t, s, message(maxInt))
		equal(t, "greatest", last(), maxInt)
	})
}

// The size of what is to be read is known before it is read.
func TestBytes(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		for i, size := range []int{0, 1, 5000, 1 << 20} {
			m := message(int64(i + 1))
			m.Body = make([]byte, size)
			insertMessages(t, s, m)
			n := inUpdate(t, s, func(tx engine.Tx) (int64, error) { return tx.MessageBytes(m.Seq) })
			if over := n - int64(size); over < 0 || over > 1000 {
				t.Errorf("a message of %d bytes takes %d", size, n)
			}
		}
		equal(t, "no message", inUpdate(t, s, func(tx engine.Tx) (int64, error) { return tx.MessageBytes(99) }), int64(0))

		err := s.Update(context.Background(), func(tx engine.Tx) error {
			for i, size := range []int{0, 10, 200, 3000} {
				if err := tx.InsertLog(&engine.LogEntry{Run: 7, Index: i, Message: engine.Key{Seq: int64(i)}, Body: make([]byte, size)}); err != nil {
					return err
				}
			}
			return tx.InsertLog(&engine.LogEntry{Run: 9, Body: make([]byte, 50)})
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ run, from, to, entries, bytes int }{
			{7, 0, 3, 4, 3210}, {7, 1, 2, 2, 210}, {7, 0, 0, 1, 0}, {7, 2, 9, 2, 3200}, {7, 4, 9, 0, 0}, {7, 1, 0, 0, 0},
			{8, 0, 3, 0, 0}, {9, 0, 0, 1, 50},
		} {
			got := inUpdate(t, s, func(tx engine.Tx) ([]int, error) {
				entries, bytes, err := tx.LogBytes(int64(test.run), test.from, test.to)
				return []int{entries, int(bytes)}, err
			})
			equal(t, fmt.Sprintf("%+v", test), got, []int{test.entries, test.bytes})
		}
	})
}
