package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/store"
	"github.com/signposthq/signpost/internal/wire"
)

// keyed opens a database with master keys: those of masterKey, none for none.
type keyed func(keys ...byte) (engine.Store, error)

func masterKeys(keys []byte) (all [][]byte) {
	for _, n := range keys {
		all = append(all, masterKey(n))
	}
	return all
}

// keyedDatabases are databases that can be opened with different keys, and with SQL.
var keyedDatabases = map[string]func(t *testing.T) (keyed, *sql.DB){
	"sqlite": func(t *testing.T) (keyed, *sql.DB) {
		dir := t.TempDir()
		return func(keys ...byte) (engine.Store, error) {
			return store.OpenSQLite(context.Background(), dir, masterKeys(keys)...)
		}, openSQL(t, "sqlite", filepath.Join(dir, "signpost.db"))
	},
	"postgres": func(t *testing.T) (keyed, *sql.DB) {
		dsn := pgtest.DSN(t)
		return func(keys ...byte) (engine.Store, error) {
			return store.OpenPostgres(context.Background(), dsn, masterKeys(keys)...)
		}, openSQL(t, "pgx", dsn)
	},
}

func forEachKeyed(t *testing.T, fn func(t *testing.T, o keyed, db *sql.DB)) {
	t.Helper()
	for name, make := range keyedDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, db := make(t)
			fn(t, o, db)
		})
	}
}

func openKeyed(t testing.TB, o keyed, keys ...byte) engine.Store {
	t.Helper()
	return open(t, func() (engine.Store, error) { return o(keys...) })
}

const canary = "cAnArY-7f3a91"

// secrets are rows that have the canary wherever there may be one, under keys
// from first on.
type secrets struct {
	tenant     *engine.Tenant
	message    *engine.Message
	settlement *engine.Settlement
	entry      *engine.DLQEntry
	run        *engine.Run
	log        *engine.LogEntry
	shared     *engine.LogEntry // has its body
	audit      *engine.AuditEntry
	group      *engine.URLGroup
	key        *engine.FlowKey
	schedule   *engine.Schedule
	wait       *engine.Wait
	note       *engine.Note
}

func secretsAt(first int64) *secrets {
	header := http.Header{"Authorization": {"Bearer " + canary}}
	callback := &wire.Callback{URL: "https://cb.example/?t=" + canary, Header: http.Header{"Upstash-Forward-A": {canary}}}
	settings := engine.Settings{Callback: callback, FailureCallback: callback, StepName: canary, RetryDelay: "1000"}
	m := message(first)
	m.URL, m.Header, m.Settings, m.Body = "https://api.example/?t="+canary, header, settings, []byte("body "+canary)
	r := run(first+3, fmt.Sprint("wfr_", first))
	r.URL, r.Header, r.Settings, r.Response = "https://app.example/?t="+canary, header, settings, []byte(canary)
	log := &engine.LogEntry{Run: first + 3, Index: 1, Message: m.Key, CallType: wire.CallStep, Body: []byte(`{"out":"` + canary + `"}`)}
	return &secrets{
		tenant: &engine.Tenant{
			UserID: "user", CurrentKey: "sig_" + canary, NextKey: "sig_next_" + canary,
			Secrets: engine.TenantSecrets{RedactKey: []byte(canary)},
		},
		message: m,
		settlement: &engine.Settlement{
			Seq: first + 1, Tenant: 1, Message: first, Result: engine.Failed, Error: "it said " + canary, Header: header, Body: []byte(canary),
		},
		entry:  &engine.DLQEntry{Seq: first + 2, Tenant: 1, Message: first, Header: header, Body: []byte(canary)},
		run:    r,
		log:    log,
		shared: sharedEntry(first+4, 1, log),
		audit:  &engine.AuditEntry{Seq: first + 4, Tenant: 1, Action: "message.cancel", Object: canary, Before: canary, After: canary},
		schedule: &engine.Schedule{
			Seq: first + 8, Tenant: 1, ID: fmt.Sprint("s", first), NextAt: 1, Destination: "https://app.example/?t=" + canary,
			Header: header, Body: []byte(canary), Settings: engine.ScheduleSettings{Cron: "0 0 * * *", Error: canary},
		},
		wait: &engine.Wait{
			Seq: first + 6, Tenant: 1, Run: first + 3, StepID: 1, Kind: engine.WaitEvent, URL: "https://app.example/?t=" + canary, Header: header,
			Settings: engine.WaitSettings{Event: canary, TimeoutURL: canary, TimeoutHeader: header, Step: wire.Step{StepName: canary, Concurrent: 1}},
		},
		note: &engine.Note{
			Seq: first + 9, Tenant: 1, Run: first + 3, Kind: engine.WaitEvent, Event: canary, Prefix: "https://app.example/" + canary, Body: []byte(canary),
		},
		group: &engine.URLGroup{
			Seq: first + 7, Tenant: 1, Name: fmt.Sprint("g", first), Header: header,
			Endpoints: []engine.GroupEndpoint{{Name: canary, URL: "https://app.example/?t=" + canary}},
			Prefix:    "https://app.example/" + canary,
		},
		key: &engine.FlowKey{Seq: first + 5, Tenant: 1, Key: fmt.Sprint(canary, first), Period: 1},
	}
}

func (x *secrets) insert(tx engine.Tx) error {
	return errors.Join(tx.InsertTenant(x.tenant), x.insertRows(tx))
}

// insertRows inserts all but the tenant.
func (x *secrets) insertRows(tx engine.Tx) error {
	return errors.Join(
		tx.InsertMessages([]*engine.Message{x.message}),
		tx.InsertSettlements([]*engine.Settlement{x.settlement}), tx.InsertDLQ(x.entry), tx.InsertRun(x.run), tx.InsertLog(x.log), tx.InsertLog(x.shared),
		tx.InsertAudit(x.audit),
		tx.InsertURLGroup(x.group), tx.InsertFlowKey(x.key), tx.InsertSchedule(x.schedule),
		tx.InsertWait(x.wait), tx.InsertNote(x.note),
	)
}

// read is what the store has in their place.
func (x *secrets) read(tx engine.Tx) (got *secrets, err error) {
	got = &secrets{}
	tenants, err1 := tx.Tenants()
	for _, n := range tenants {
		if n.ID == x.tenant.ID {
			got.tenant = n
		}
	}
	messages, err2 := tx.Messages([]int64{x.message.Seq})
	settlements, err3 := tx.SettlementsOf(x.message.Seq)
	var err4, err5 error
	got.entry, err4 = tx.LockDLQEntry(1, x.entry.Seq)
	got.run, err5 = tx.Run(x.run.Seq)
	log, err6 := tx.Log(x.log.Run, 0, 9)
	shared, err13 := tx.Log(x.shared.Run, 0, 9)
	audit, err7 := tx.ListAudit(1, engine.Page{From: x.audit.Seq, To: x.audit.Seq + 1, Limit: 2})
	var err8, err9, err10, err11, err12 error
	got.group, err8 = tx.URLGroup(1, x.group.Name)
	got.key, err9 = tx.LockFlowKeyNamed(1, x.key.Key)
	got.schedule, err10 = tx.LockSchedule(x.schedule.Seq)
	got.wait, err11 = tx.Wait(x.wait.Seq)
	got.note, err12 = tx.NextNote(1, x.note.Run, x.note.Kind, x.note.Event, 0)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11, err12, err13); err != nil {
		return nil, err
	}
	if len(messages) != 1 || len(settlements) != 1 || len(log) != 1 || len(shared) != 1 || len(audit) != 1 {
		return nil, errors.New("a row is missing")
	}
	got.message, got.settlement, got.log, got.shared, got.audit = messages[0], settlements[0], log[0], shared[0], audit[0]
	return got, nil
}

func (x *secrets) check(t testing.TB, s engine.Store) {
	t.Helper()
	got := read(t, s, x.read)
	if x.tenant.ID != 0 {
		equal(t, "tenant", got.tenant, x.tenant)
	}
	equal(t, "message", got.message, x.message)
	equal(t, "settlement", got.settlement, x.settlement)
	equal(t, "DLQ entry", got.entry, x.entry)
	equal(t, "run", got.run, x.run)
	equal(t, "log entry", got.log, x.log)
	equal(t, "log entry with the same body", got.shared, x.shared)
	equal(t, "audit entry", got.audit, x.audit)
	equal(t, "URL group", got.group, x.group)
	equal(t, "flow-control key", got.key, x.key)
	equal(t, "schedule", got.schedule, x.schedule)
	equal(t, "wait", got.wait, x.wait)
	equal(t, "note", got.note, x.note)
}

// tables are all there are, so that a new one is not forgotten.
func tables(t testing.TB, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.Query(`select name from sqlite_master where type = 'table'`)
	if err != nil {
		rows, err = db.Query(`select tablename from pg_tables where schemaname = current_schema()`)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// find says in which columns the canary is to be seen.
func find(t testing.TB, db *sql.DB) (found []string) {
	t.Helper()
	for _, table := range tables(t, db) {
		rows, err := db.Query(`select * from ` + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(sql.RawBytes)
			}
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				if bytes.Contains(*v.(*sql.RawBytes), []byte(canary)) {
					found = append(found, table+"."+columns[i])
				}
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// What a user sends or an endpoint answers can't be read in the database, in
// whatever column and table, nor can signing keys.
func TestT18SealedRowsShowNothing(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s, x := openKeyed(t, o, 1), secretsAt(10)
		update(t, s, x.insert)
		x.check(t, s)
		equal(t, "found in", find(t, db), nil)
		update(t, s, func(tx engine.Tx) error {
			return errors.Join(tx.UpdateRun(x.run), tx.UpdateTenant(x.tenant), tx.UpdateURLGroup(x.group), tx.UpdateSchedule(x.schedule))
		})
		equal(t, "found after updates in", find(t, db), nil)
		x.check(t, s)
	})
}

// Without a master key everything is found: the search works.
func TestPlainRowsAreFound(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s, x := openKeyed(t, o), secretsAt(10)
		update(t, s, x.insert)
		equal(t, "columns", len(find(t, db)), 33)
	})
}

// A sealed value opens in its own row and as it was written, or not at all.
func TestT18SealedValuesStayInTheirRows(t *testing.T) {
	tampers := map[string]string{
		"another row's":   `update messages set sealed = (select sealed from messages where seq = 20) where seq = 10`,
		"another table's": `update messages set sealed = (select sealed from settlements where seq = 11) where seq = 10`,
		"another key's":   `update messages set sealed = (select wrapped from data_keys limit 1) where seq = 10`,
		"nothing":         `update messages set sealed = $1 where seq = 10`,
		"other bits":      `update messages set sealed = $1 where seq = 10`,
		"cut off":         `update messages set sealed = $1 where seq = 10`,
		"unknown key":     `update messages set sealed = $1 where seq = 10`,
		"unknown form":    `update messages set sealed = $1 where seq = 10`,
	}
	change := map[string]func(b []byte) []byte{
		"nothing":      func([]byte) []byte { return []byte{0} },
		"other bits":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut off":      func(b []byte) []byte { return b[:len(b)-1] },
		"unknown key":  func(b []byte) []byte { b[4]++; return b },
		"unknown form": func(b []byte) []byte { b[0]++; return b },
	}
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s := openKeyed(t, o, 1)
		update(t, s, secretsAt(10).insert)
		update(t, s, secretsAt(20).insert)
		original := scanOne[[]byte](t, db, `select sealed from messages where seq = 10`)
		for name, statement := range tampers {
			var args []any
			if fn := change[name]; fn != nil {
				args = append(args, fn(bytes.Clone(original)))
			}
			if _, err := db.Exec(statement, args...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			err := s.View(context.Background(), func(tx engine.Tx) error { _, err := tx.Messages([]int64{10}); return err })
			if err == nil || !strings.Contains(err.Error(), "messages 10: a sealed row can't be opened") || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: got %v, want an error that names the row", name, err)
			}
		}
		if _, err := db.Exec(`update messages set sealed = $1 where seq = 10`, original); err != nil {
			t.Fatal(err)
		}
		equal(t, "put right", messages(t, s, 10)[0].Body, secretsAt(10).message.Body)
	})
}

// What a user sends is what the user gets, even if it looks like something the
// store has sealed: before there is a master key, with one, and after the
// change from one to the other.
func TestT18NothingIsTakenForSealed(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s := openKeyed(t, o, 1)
		insertMessages(t, s, message(1))
		imitation := scanOne[[]byte](t, db, `select sealed from messages where seq = 1`)
		bodies := [][]byte{imitation, imitation[:5], {1}, {0}, {1, 0, 0, 0, 1}, append(bytes.Clone(imitation[:5]), allBytes()...), nil}
		insert := func(s engine.Store, first int64) {
			for i, body := range bodies {
				m := message(first + int64(i))
				m.Body = body
				insertMessages(t, s, m)
			}
		}
		check := func(s engine.Store, first int64) {
			t.Helper()
			for i, body := range bodies {
				equal(t, fmt.Sprint("body ", i), messages(t, s, first+int64(i))[0].Body, body)
			}
		}
		insert(s, 100)
		check(s, 100)

		o, _ = keyedDatabases[strings.TrimPrefix(t.Name(), "TestT18NothingIsTakenForSealed/")](t)
		s = openKeyed(t, o)
		insert(s, 100)
		update(t, s, func(tx engine.Tx) error { return tx.InsertTenant(tenant("a")) })
		check(s, 100)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openKeyed(t, o, 1)
		check(s, 100)
		resealAll(t, s)
		check(s, 100)
		insert(s, 200)
		check(s, 200)
	})
}

// A sealed database is opened with its key, or not at all; the error names the
// key that is missing, and tells none.
func TestMasterKeyIsNeeded(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		s, x := openKeyed(t, o, 1), secretsAt(10)
		update(t, s, x.insert)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		id := store.MasterKeyID(masterKey(1))
		for _, keys := range [][]byte{nil, {2}, {2, 3}} {
			for range 2 { // nothing is left behind, no lock either
				_, err := o(keys...)
				if !errors.Is(err, store.ErrMasterKey) || !strings.Contains(err.Error(), id) {
					t.Fatalf("keys %v: got %v, want an error with %s", keys, err, id)
				}
			}
		}
		for _, keys := range [][]byte{{1}, {2, 1}, {1}} { // the first seals only what is sealed anew
			s := openKeyed(t, o, keys...)
			x.check(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "data keys", scanOne[int](t, db, `select count(*) from data_keys`), 1)
	})
}

func TestShortMasterKey(t *testing.T) {
	for _, key := range [][]byte{{}, make([]byte, 16), make([]byte, 31), make([]byte, 33)} {
		_, err := store.OpenSQLite(context.Background(), t.TempDir(), masterKey(1), key)
		if !errors.Is(err, store.ErrMasterKey) || !strings.Contains(err.Error(), "master key 2: expected 32 bytes") {
			t.Errorf("%d bytes: got %v", len(key), err)
		}
	}
}

// files are a directory's, with the canary or without.
func filesWith(t testing.TB, dir, what string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(what)) {
			names = append(names, e.Name())
		}
	}
	return names
}
