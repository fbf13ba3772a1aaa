package store_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashing); dir != "" {
		commitUntilKilled(dir)
	}
	if dir := os.Getenv(resealing); dir != "" {
		resealUntilKilled(dir)
	}
	pgtest.Main(m)
}

// opener opens a store on one place: the same rows each time.
type opener func() (engine.Store, error)

// kinds are the stores there are. What holds for one holds for all: the engine
// knows only engine.Store.
var kinds = []struct {
	name  string
	lasts bool // can be opened again
	fresh func(t *testing.T) opener
}{
	{"sqlite", true, func(t *testing.T) opener {
		// A directory that is not there yet, with a name that is nothing but a name.
		dir := filepath.Join(t.TempDir(), "ünd %41 ?mode=ro#x", "data")
		return func() (engine.Store, error) { return store.OpenSQLite(context.Background(), dir) }
	}},
	{"memory", false, func(t *testing.T) opener {
		return func() (engine.Store, error) { return store.OpenMemory(context.Background()) }
	}},
	{"postgres", true, func(t *testing.T) opener {
		dsn := pgtest.DSN(t)
		return func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn) }
	}},
	{"sealed sqlite", true, func(t *testing.T) opener {
		dir := t.TempDir()
		return func() (engine.Store, error) { return store.OpenSQLite(context.Background(), dir, masterKey(1)) }
	}},
	{"sealed postgres", true, func(t *testing.T) opener {
		dsn := pgtest.DSN(t)
		return func() (engine.Store, error) { return store.OpenPostgres(context.Background(), dsn, masterKey(1)) }
	}},
}

// masterKey is one of many.
func masterKey(n byte) []byte { return bytes.Repeat([]byte{n}, store.MasterKeyBytes) }

// forEachStore runs a case of the suite on a fresh store of every kind.
func forEachStore(t *testing.T, fn func(t *testing.T, s engine.Store)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			fn(t, open(t, kind.fresh(t)))
		})
	}
}

// forEachDatabase is for cases that open a store more than once.
func forEachDatabase(t *testing.T, fn func(t *testing.T, reopen opener)) {
	t.Helper()
	for _, kind := range kinds {
		if kind.lasts {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				fn(t, kind.fresh(t))
			})
		}
	}
}

func open(t testing.TB, o opener) engine.Store {
	t.Helper()
	s, err := o()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// update runs fn, which must succeed. It may run in a goroutine of the store's,
// so fn returns what is wrong instead of ending the test.
func update(t testing.TB, s engine.Store, fn func(engine.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// read is what fn sees in a View.
func read[T any](t testing.TB, s engine.Store, fn func(engine.Tx) (T, error)) (v T) {
	t.Helper()
	err := s.View(context.Background(), func(tx engine.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// inUpdate is what fn sees in an Update, where reads may lock.
func inUpdate[T any](t testing.TB, s engine.Store, fn func(engine.Tx) (T, error)) (v T) {
	t.Helper()
	update(t, s, func(tx engine.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	return v
}

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) { // which has a fast way for large bodies
		t.Errorf("%s: -want +got:\n%.10000s", what, cmp.Diff(want, got))
	}
}

// everyFieldSet keeps the round trips complete: a field added to a row has to
// be added to the row that is written and read back.
func everyFieldSet(t *testing.T, row any) {
	t.Helper()
	var check func(path string, v reflect.Value)
	check = func(path string, v reflect.Value) {
		if v.IsZero() {
			t.Errorf("%s is not set", path)
		}
		v = reflect.Indirect(v)
		if v.Kind() != reflect.Struct {
			return
		}
		for i := range v.NumField() {
			check(path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
	check(fmt.Sprintf("%T", row), reflect.ValueOf(row))
}

const (
	maxInt = int64(^uint64(0) >> 1)
	// Text that encodings get wrong: composed, right to left, beyond 16 bits, and
	// what is quoted in SQL, JSON and HTML.
	oddText = "naïve שלום 漢字 🚏\u2028 '\"\\<&>%_\t\r\n"
)

// allBytes is a body no text encoding survives.
func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func largeBody() []byte { return []byte(strings.Repeat("0123456789abcde\n", 2<<20/16)) }

func oddHeader() http.Header {
	return http.Header{"Content-Type": {"text/plain"}, "X-Many": {"a", "", "b"}, "X-Odd": {oddText}, "X-Nul": {"a\x00b"}}
}

func allSettings() engine.Settings {
	retries := 0 // not the same as none given
	return engine.Settings{
		RetryDelay: "pow(2, retried) * 1000", Timeout: 90 * time.Second, SignWith: []string{"ed25519"}, Labels: []string{"a", oddText},
		Callback:        &wire.Callback{URL: "https://cb.example/?a=1&b=2", Header: http.Header{"Upstash-Retries": {"2"}}},
		FailureCallback: &wire.Callback{URL: "https://failed.example", Header: oddHeader()}, Retries: &retries,
		Features: []string{"LazyFetch"}, ViaTrigger: true, UnknownSDK: true, StepName: oddText, StepID: 7, Concurrent: 3,
		Invoker:   &engine.Invoker{RunRef: engine.RunRef{ID: "wfr_parent", CreatedAt: 5}, URL: "https://app.example/parent", Depth: 6},
		ResumedAs: 7, RestartedAs: 8, Before: &engine.RunRef{ID: "wfr_before", CreatedAt: 6},
		Hop: 4, Redact: wire.Redact{Body: true, Headers: true, Names: []string{"Authorization"}},
		Limited: true, Queue: "q", URLGroup: "g", Endpoint: oddText, ScheduleID: "scd_1", Holds: &engine.Slot{Queue: "q", Lane: maxInt, Message: maxInt - 1},
		FlowControl: &wire.FlowControl{Key: oddText, Parallelism: 1, Rate: 2, Period: time.Minute},
	}
}

// message is a pending one of tenant 1, due in the order of its key.
func message(seq int64) *engine.Message {
	return &engine.Message{
		Key: engine.Key{Seq: seq, Rnd: seq * 1000}, Tenant: 1, State: engine.Pending, Kind: engine.KindPlain,
		Due: seq * 10, NotBefore: seq * 10, MaxRetries: 3, LogIndex: -1, Method: http.MethodPost, URL: "https://api.example",
	}
}

func insertMessages(t testing.TB, s engine.Store, messages ...*engine.Message) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error { return tx.InsertMessages(messages) })
}

func messages(t testing.TB, s engine.Store, seqs ...int64) []*engine.Message {
	t.Helper()
	return read(t, s, func(tx engine.Tx) ([]*engine.Message, error) { return tx.Messages(seqs) })
}

// run is an active one of tenant 1.
func run(seq int64, id string) *engine.Run {
	return &engine.Run{
		Seq: seq, Tenant: 1, ID: id, URL: "https://app.example/wf", State: engine.RunStarted,
		Init: engine.Key{Seq: seq, Rnd: seq * 1000},
	}
}

func insertRuns(t testing.TB, s engine.Store, runs ...*engine.Run) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, r := range runs {
			if err := tx.InsertRun(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowsOf are the keys of a kind of rows that is listed by pages.
type listing struct {
	insert func(tx engine.Tx, tenant, seq int64) error
	list   func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error)
	oldest bool // lists only in that direction
}

// testListing is the rule of all lists: the tenant's rows from From up to but
// without To, at most Limit of them, oldest or newest first.
func testListing(t *testing.T, s engine.Store, l listing) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, seq := range []int64{30, 10, 50, 20, 40, maxInt - 1} {
			if err := l.insert(tx, 1, seq); err != nil {
				return err
			}
		}
		return l.insert(tx, 2, 35)
	})
	for _, test := range []struct {
		tenant int64
		page   engine.Page
		want   []int64
	}{
		{1, engine.Page{To: maxInt, Limit: 100}, []int64{10, 20, 30, 40, 50, maxInt - 1}},
		{1, engine.Page{To: maxInt, Limit: 100, Newest: true}, []int64{maxInt - 1, 50, 40, 30, 20, 10}},
		{1, engine.Page{From: 20, To: 40, Limit: 100}, []int64{20, 30}},
		{1, engine.Page{From: 20, To: 40, Limit: 100, Newest: true}, []int64{30, 20}},
		{1, engine.Page{From: 11, To: 51, Limit: 2}, []int64{20, 30}},
		{1, engine.Page{From: 11, To: 51, Limit: 2, Newest: true}, []int64{50, 40}},
		{1, engine.Page{From: 30, To: 31, Limit: 1}, []int64{30}},
		{1, engine.Page{From: 30, To: 30, Limit: 1}, nil},
		{1, engine.Page{From: 40, To: 20, Limit: 1}, nil},
		{1, engine.Page{From: 51, To: 1000, Limit: 1}, nil},
		{1, engine.Page{To: maxInt, Limit: 0}, nil},
		{2, engine.Page{To: maxInt, Limit: 100}, []int64{35}},
		{3, engine.Page{To: maxInt, Limit: 100}, nil},
	} {
		if test.page.Newest && l.oldest {
			continue
		}
		list := func(tx engine.Tx) ([]int64, error) { return l.list(tx, test.tenant, test.page) }
		equal(t, fmt.Sprintf("tenant %d, %+v", test.tenant, test.page), read(t, s, list), test.want)
		equal(t, fmt.Sprintf("tenant %d, %+v, in an update", test.tenant, test.page), inUpdate(t, s, list), test.want)
	}
}

// keysOf maps rows to their keys, through the result of the verb that read them.
func keysOf[T any](rows []*T, err error, key func(*T) int64) (keys []int64, _ error) {
	for _, r := range rows {
		keys = append(keys, key(r))
	}
	return keys, err
}

// scanned are the keys of a tenant's rows in a page of all tenants' rows.
func scanned[T any](tenant int64, rows []*T, more bool, err error, key func(*T) (seq, tenant int64)) (keys []int64, _ error) {
	for _, r := range rows {
		if seq, of := key(r); of == tenant {
			keys = append(keys, seq)
		}
	}
	return keys, err
}
