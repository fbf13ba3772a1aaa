package store_test

import (
	"database/sql"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

func auditEntry(seq int64) *engine.AuditEntry {
	return &engine.AuditEntry{
		Seq: seq, Tenant: 1, Actor: "tok_1", ActorName: oddText, Action: "token.create", Object: oddText,
		Before: `{"a":1}`, After: oddText, CallerIP: "2001:db8::1",
	}
}

func insertAudit(t *testing.T, s engine.Store, entries ...*engine.AuditEntry) {
	t.Helper()
	update(t, s, func(tx engine.Tx) error {
		for _, a := range entries {
			if err := tx.InsertAudit(a); err != nil {
				return err
			}
		}
		return nil
	})
}

func audit(t *testing.T, s engine.Store) []*engine.AuditEntry {
	t.Helper()
	return read(t, s, func(tx engine.Tx) ([]*engine.AuditEntry, error) {
		return tx.ListAudit(1, engine.Page{To: maxInt, Limit: 1000})
	})
}

// An entry reads back as it was written.
func TestAuditRoundTrip(t *testing.T) {
	everyFieldSet(t, auditEntry(1))
	forEachStore(t, func(t *testing.T, s engine.Store) {
		full, zero := auditEntry(maxInt-1), &engine.AuditEntry{Seq: 1, Tenant: 1}
		insertAudit(t, s, full, zero)
		equal(t, "all", audit(t, s), []*engine.AuditEntry{zero, full})
		equal(t, "last key", read(t, s, engine.Tx.LastSeq), maxInt-1)
	})
}

func TestListAudit(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		testListing(t, s, listing{
			insert: func(tx engine.Tx, tenant, seq int64) error {
				return tx.InsertAudit(&engine.AuditEntry{Seq: seq, Tenant: tenant})
			},
			list: func(tx engine.Tx, tenant int64, p engine.Page) ([]int64, error) {
				rows, err := tx.ListAudit(tenant, p)
				return keysOf(rows, err, func(a *engine.AuditEntry) int64 { return a.Seq })
			},
		})
	})
}

// The oldest entries go first, in steps, until none is older.
func TestPurgeAudit(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		stays := []*engine.AuditEntry{auditEntry(key(10, 0)), auditEntry(key(11, 0))}
		insertAudit(t, s, auditEntry(key(7, 0)), auditEntry(key(8, 0)), auditEntry(key(9, 9)))
		insertAudit(t, s, stays...)
		step := func(tx engine.Tx) (int, error) { return tx.PurgeAudit(10, 2) }
		equal(t, "first step", inUpdate(t, s, step), 2)
		equal(t, "second step", inUpdate(t, s, step), 1)
		equal(t, "third step", inUpdate(t, s, step), 0)
		equal(t, "left", audit(t, s), stays)
	})
}

// A database that was sealed before its audit log could be: that is sealed in
// the background, and nothing of it is left in plain.
func TestT18PlainAuditLogIsSealed(t *testing.T) {
	forEachKeyed(t, func(t *testing.T, o keyed, db *sql.DB) {
		if err := openKeyed(t, o, 1).Close(); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			`alter table audit drop column sealed`, `delete from migrations where name = 'migrations/0006_audit_sealing.sql'`,
			`insert into audit (seq, tenant, actor, actor_name, action, object, state_before, state_after, caller_ip)
				values (5, 1, 'tok_1', 'n', 'message.cancel', '', '` + canary + `', '', '')`,
		} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		s := openKeyed(t, o, 1)
		equal(t, "under way", sealing(t, s).UnderWay(), true)
		resealAll(t, s)
		equal(t, "found in", find(t, db), nil)
		equal(t, "before", audit(t, s)[0].Before, canary)
	})
}
