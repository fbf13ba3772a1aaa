package store

import (
	"context"
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/pgtest"
	"github.com/signposthq/signpost/internal/wire"
)

// planned is the verbs' statements on their way to the database, with how it
// means to run each.
type planned struct {
	querier
	explain string
	plans   []string
	err     error
}

func (p *planned) exec(query string, args ...any) (int64, error) {
	p.note(query, args)
	return p.querier.exec(query, args...)
}

func (p *planned) query(query string, args ...any) (*sql.Rows, error) {
	p.note(query, args)
	return p.querier.query(query, args...)
}

func (p *planned) note(query string, args []any) {
	rows, err := p.querier.query(p.explain+query, args...)
	if err != nil {
		p.err = err
		return
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		p.err = err
		return
	}
	var plan []string
	for rows.Next() {
		// The last column is the text, in both databases.
		into := make([]any, len(columns))
		for i := range into {
			into[i] = new(any)
		}
		text := new(string)
		into[len(into)-1] = text
		if p.err = rows.Scan(into...); p.err != nil {
			return
		}
		plan = append(plan, *text)
	}
	p.err = rows.Err()
	p.plans = append(p.plans, strings.Join(plan, "; "))
}

// planOf runs a verb and explains its statements, each on a line.
func planOf(t *testing.T, s engine.Store, verb func(engine.Tx) error, explain string, before ...string) string {
	t.Helper()
	var plans []string
	err := s.Update(context.Background(), func(etx engine.Tx) error {
		inner := etx.(*tx)
		for _, statement := range before {
			if _, err := inner.exec(statement); err != nil {
				return err
			}
		}
		p := &planned{querier: inner.querier, explain: explain}
		if err := verb(&tx{p, inner.dialect, inner.ring}); err != nil {
			return err
		}
		plans = p.plans
		return p.err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plans, "\n")
}

const farFuture = int64(1) << 62

var (
	anyPage    = engine.Page{To: farFuture, Limit: 10}
	newestPage = engine.Page{To: farFuture, Limit: 10, Newest: true}
)

// plans are how SQLite is to find the rows: each line is a statement's. An
// insert has none.
var plans = []struct {
	name string
	verb func(engine.Tx) error
	want string
}{
	{"LastSeq", func(tx engine.Tx) error { _, err := tx.LastSeq(); return err }, ""}, // below
	{"InsertTenant", func(tx engine.Tx) error { return tx.InsertTenant(&engine.Tenant{}) }, "SEARCH tenants\n"},
	{"LockTenant", func(tx engine.Tx) error { _, err := tx.LockTenant(1); return err },
		"SEARCH tenants USING INTEGER PRIMARY KEY (rowid=?)"},
	{"UpdateTenant", func(tx engine.Tx) error { return tx.UpdateTenant(&engine.Tenant{ID: 1}) },
		"SEARCH tenants USING INTEGER PRIMARY KEY (rowid=?)"},
	{"Endpoints", func(tx engine.Tx) error { _, err := tx.Endpoints(); return err }, "SCAN endpoints"}, // in the key's order
	{"PutEndpoints", func(tx engine.Tx) error { return tx.PutEndpoints([]*engine.Endpoint{{Tenant: 1}}) }, ""},
	{"DeleteEndpoints", func(tx engine.Tx) error { return tx.DeleteEndpoints([]*engine.Endpoint{{Tenant: 1}}) },
		"SEARCH endpoints USING PRIMARY KEY (tenant=? AND hash=?)"},

	{"TokenByHash", func(tx engine.Tx) error { _, err := tx.TokenByHash([]byte("h")); return err },
		"SEARCH tokens USING PRIMARY KEY (hash=?)"},
	{"Tokens", func(tx engine.Tx) error { _, err := tx.Tokens(1); return err },
		"SEARCH tokens USING INDEX tokens_tenant (tenant=?)"},
	{"TouchTokens", func(tx engine.Tx) error { return tx.TouchTokens([]engine.TokenUse{{Hash: []byte("h")}}) },
		"SEARCH tokens USING PRIMARY KEY (hash=?)"},
	{"DeleteToken", func(tx engine.Tx) error { return tx.DeleteToken([]byte("t")) }, "SEARCH tokens USING PRIMARY KEY (hash=?)"},

	{"ListAudit", func(tx engine.Tx) error { _, err := tx.ListAudit(1, anyPage); return err },
		"SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ListAudit, newest", func(tx engine.Tx) error { _, err := tx.ListAudit(1, newestPage); return err },
		"SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"PurgeAudit", func(tx engine.Tx) error { _, err := tx.PurgeAudit(1, 10); return err },
		"SEARCH audit USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SEARCH audit USING INTEGER PRIMARY KEY (rowid<?)"},

	{"Messages, one", func(tx engine.Tx) error { _, err := tx.Messages([]int64{1}); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"MessageBytes", func(tx engine.Tx) error { _, err := tx.MessageBytes(1); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"Messages, many", func(tx engine.Tx) error { _, err := tx.Messages([]int64{1, 2}); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SCAN json_each VIRTUAL TABLE INDEX"},
	{"LockMessage", func(tx engine.Tx) error { _, err := tx.LockMessage(1); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"SettleMessages", func(tx engine.Tx) error { _, err := tx.SettleMessages([]engine.Transition{{Seq: 1}}); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"DueMessages", func(tx engine.Tx) error { _, err := tx.DueMessages(1, engine.Due{}, 10); return err },
		"SEARCH messages USING INDEX messages_due (tenant=? AND due=? AND rowid>?)\n" +
			"SEARCH messages USING INDEX messages_due (tenant=? AND due>?)"},
	{"PendingMessages", func(tx engine.Tx) error { _, err := tx.PendingMessages(1, engine.Due{}, 10); return err },
		"SEARCH messages USING INDEX messages_due (tenant=? AND due=? AND rowid>?)\n" +
			"SEARCH messages USING INDEX messages_due (tenant=? AND due>?)"},
	{"SetFlow", func(tx engine.Tx) error { return tx.SetFlow(1, 2) }, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"Waiting", func(tx engine.Tx) error { _, err := tx.Waiting(1, 1, 10); return err },
		"SEARCH messages USING INDEX messages_waiting (tenant=? AND lane=?)"},
	{"CountWaiting", func(tx engine.Tx) error { _, err := tx.CountWaiting(1, 1, 5); return err },
		"SEARCH messages USING COVERING INDEX messages_waiting (tenant=? AND lane=? AND due<?)"},
	{"WaitingMessages", func(tx engine.Tx) error { _, err := tx.WaitingMessages(1, 1, engine.Due{}, 10); return err },
		"SEARCH messages USING INDEX messages_waiting (tenant=? AND lane=? AND due=? AND rowid>?)\n" +
			"SEARCH messages USING INDEX messages_waiting (tenant=? AND lane=? AND due>?)"},
	{"NextLane", func(tx engine.Tx) error { _, err := tx.NextLane(1, 1); return err },
		"SEARCH messages USING COVERING INDEX messages_waiting (tenant=? AND lane>?)"},

	{"InsertQueue", func(tx engine.Tx) error { return tx.InsertQueue(&engine.Queue{Seq: 9, Tenant: 9, Name: "q"}) }, ""},
	{"LockQueue", func(tx engine.Tx) error { _, err := tx.LockQueue(1); return err }, "SEARCH queues USING INTEGER PRIMARY KEY (rowid=?)"},
	{"LockQueueNamed", func(tx engine.Tx) error { _, err := tx.LockQueueNamed(1, "q"); return err },
		"SEARCH queues USING INDEX queues_name (tenant=? AND name=?)"},
	{"UpdateQueue", func(tx engine.Tx) error { return tx.UpdateQueue(&engine.Queue{Seq: 1}) }, "SEARCH queues USING INTEGER PRIMARY KEY (rowid=?)"},
	{"DeleteQueue", func(tx engine.Tx) error { return tx.DeleteQueue(1) },
		"SEARCH slots USING PRIMARY KEY (lane=?)\nSEARCH queues USING INTEGER PRIMARY KEY (rowid=?)"},
	{"Queues", func(tx engine.Tx) error { _, err := tx.Queues(1); return err }, "SEARCH queues USING INDEX queues_name (tenant=?)"},
	{"CountQueues", func(tx engine.Tx) error { _, err := tx.CountQueues(1); return err },
		"SEARCH queues USING COVERING INDEX queues_name (tenant=?)"},

	{"InsertFlowKey", func(tx engine.Tx) error { return tx.InsertFlowKey(&engine.FlowKey{Seq: 9, Tenant: 9, Key: "k"}) }, ""},
	{"LockFlowKey", func(tx engine.Tx) error { _, err := tx.LockFlowKey(1); return err },
		"SEARCH flow_keys USING INTEGER PRIMARY KEY (rowid=?)"},
	{"LockFlowKeyNamed", func(tx engine.Tx) error { _, err := tx.LockFlowKeyNamed(1, "k"); return err },
		"SEARCH flow_keys USING INDEX flow_keys_hash (tenant=? AND hash=?)"},
	{"UpdateFlowKey", func(tx engine.Tx) error { return tx.UpdateFlowKey(&engine.FlowKey{Seq: 1}) },
		"SEARCH flow_keys USING INTEGER PRIMARY KEY (rowid=?)"},
	{"FlowKeys", func(tx engine.Tx) error { _, err := tx.FlowKeys(1); return err },
		"SEARCH flow_keys USING INDEX flow_keys_hash (tenant=?)"},
	{"PurgeFlowKeys", func(tx engine.Tx) error { _, err := tx.PurgeFlowKeys(1, 10); return err },
		"SEARCH flow_keys USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SEARCH flow_keys USING INDEX flow_keys_used (used_at<?); " +
			"CORRELATED SCALAR SUBQUERY; SEARCH messages USING COVERING INDEX messages_waiting (tenant=? AND lane=?)"},

	{"Slot", func(tx engine.Tx) error { _, err := tx.Slot(1, 1); return err }, "SEARCH slots USING PRIMARY KEY (lane=? AND message=?)"},
	{"PutSlot", func(tx engine.Tx) error { return tx.PutSlot(1, 1, 2) }, ""},
	{"PutSlot, none", func(tx engine.Tx) error { return tx.PutSlot(1, 1, 0) }, "SEARCH slots USING PRIMARY KEY (lane=? AND message=?)"},
	{"Slots", func(tx engine.Tx) error { _, err := tx.Slots(1); return err }, "SEARCH slots USING PRIMARY KEY (lane=?)"},

	{"ScanMessages", func(tx engine.Tx) error { _, _, err := tx.ScanMessages(anyPage); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ScanMessages, newest", func(tx engine.Tx) error { _, _, err := tx.ScanMessages(newestPage); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},

	{"URLGroup", func(tx engine.Tx) error { _, err := tx.URLGroup(1, "g"); return err },
		"SEARCH url_groups USING INDEX url_groups_name (tenant=? AND name=?)"},
	{"LockURLGroup", func(tx engine.Tx) error { _, err := tx.LockURLGroup(1, "g"); return err },
		"SEARCH url_groups USING INDEX url_groups_name (tenant=? AND name=?)"},
	{"URLGroups", func(tx engine.Tx) error { _, err := tx.URLGroups(1); return err },
		"SEARCH url_groups USING INDEX url_groups_name (tenant=?)"},
	{"CountURLGroups", func(tx engine.Tx) error { _, err := tx.CountURLGroups(1); return err },
		"SEARCH url_groups USING COVERING INDEX url_groups_name (tenant=?)"},
	{"UpdateURLGroup", func(tx engine.Tx) error { return tx.UpdateURLGroup(&engine.URLGroup{Seq: 1}) },
		"SEARCH url_groups USING INTEGER PRIMARY KEY (rowid=?)"},
	{"DeleteURLGroup", func(tx engine.Tx) error { return tx.DeleteURLGroup(1) },
		"SEARCH url_groups USING INTEGER PRIMARY KEY (rowid=?)"},

	{"MessageStates", func(tx engine.Tx) error { _, err := tx.MessageStates([]int64{1, 2}); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SCAN json_each VIRTUAL TABLE INDEX"},
	{"LockSchedule", func(tx engine.Tx) error { _, err := tx.LockSchedule(1); return err },
		"SEARCH schedules USING INTEGER PRIMARY KEY (rowid=?)"},
	{"LockScheduleNamed", func(tx engine.Tx) error { _, err := tx.LockScheduleNamed(1, "s"); return err },
		"SEARCH schedules USING INDEX schedules_id (tenant=? AND id=?)"},
	{"Schedules", func(tx engine.Tx) error { _, err := tx.Schedules(1); return err },
		"SEARCH schedules USING INDEX schedules_id (tenant=?)"},
	{"CountSchedules", func(tx engine.Tx) error { _, err := tx.CountSchedules(1); return err },
		"SEARCH schedules USING COVERING INDEX schedules_id (tenant=?)"},
	{"NextSchedules", func(tx engine.Tx) error { _, err := tx.NextSchedules(10); return err },
		"SEARCH schedules USING COVERING INDEX schedules_next (next_at>?)"},
	{"UpdateSchedule", func(tx engine.Tx) error { return tx.UpdateSchedule(&engine.Schedule{Seq: 1}) },
		"SEARCH schedules USING INTEGER PRIMARY KEY (rowid=?)"},
	{"AdvanceSchedule", func(tx engine.Tx) error { return tx.AdvanceSchedule(&engine.Schedule{Seq: 1}) },
		"SEARCH schedules USING INTEGER PRIMARY KEY (rowid=?)"},
	{"WakeSchedules", func(tx engine.Tx) error { _, err := tx.WakeSchedules([]byte("h"), 1); return err },
		"SEARCH schedules USING INDEX schedules_token (token=?)"},
	{"DeleteSchedule", func(tx engine.Tx) error { return tx.DeleteSchedule(1) },
		"SEARCH schedules USING INTEGER PRIMARY KEY (rowid=?)"},

	{"Deduplication", func(tx engine.Tx) error { _, err := tx.Deduplication(1, []byte("h"), 1); return err },
		"SEARCH deduplications USING PRIMARY KEY (tenant=? AND hash=?)"},
	{"PutDeduplication", func(tx engine.Tx) error { return tx.PutDeduplication(1, []byte("h"), engine.Key{Seq: 1}, 1, 2) },
		"SEARCH deduplications USING PRIMARY KEY (tenant=? AND hash=?)\n"},

	{"SettlementsOf", func(tx engine.Tx) error { _, err := tx.SettlementsOf(1); return err },
		"SEARCH settlements USING INDEX settlements_message (message=?)"},
	{"FailureOf", func(tx engine.Tx) error { _, err := tx.FailureOf(1); return err },
		"SEARCH settlements USING INDEX settlements_message (message=?)"},
	{"ScanSettlements", func(tx engine.Tx) error { _, _, err := tx.ScanSettlements(anyPage); return err },
		"SEARCH settlements USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ScanSettlements, newest", func(tx engine.Tx) error { _, _, err := tx.ScanSettlements(newestPage); return err },
		"SEARCH settlements USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},

	{"LockDLQEntry", func(tx engine.Tx) error { _, err := tx.LockDLQEntry(1, 1); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?)"},
	{"ScanDLQ", func(tx engine.Tx) error { _, _, err := tx.ScanDLQ(anyPage); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ScanDLQ, newest", func(tx engine.Tx) error { _, _, err := tx.ScanDLQ(newestPage); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"DeleteDLQ", func(tx engine.Tx) error { return tx.DeleteDLQ(1) }, "SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?)"},

	{"Run", func(tx engine.Tx) error { _, err := tx.Run(1); return err }, "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"LockRun", func(tx engine.Tx) error { _, err := tx.LockRun(1); return err }, "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"RunByID", func(tx engine.Tx) error { _, err := tx.RunByID(1, "wfr_none"); return err },
		"SEARCH runs USING INDEX runs_id (id=? AND tenant=? AND closed=?)\n" +
			"SEARCH runs USING INDEX runs_id (id=? AND tenant=? AND closed>?)"},
	{"LockActiveRun", func(tx engine.Tx) error { _, err := tx.LockActiveRun(1, "wfr_1"); return err },
		"SEARCH runs USING INDEX runs_id (id=? AND tenant=? AND closed=?)"},
	{"UpdateRun", func(tx engine.Tx) error { return tx.UpdateRun(&engine.Run{Seq: 1}) }, "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"AdvanceRun", func(tx engine.Tx) error { return tx.AdvanceRun(&engine.Run{Seq: 1}) }, "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"ScanRuns", func(tx engine.Tx) error { _, _, err := tx.ScanRuns(anyPage); return err },
		"SEARCH runs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ScanRuns, newest", func(tx engine.Tx) error { _, _, err := tx.ScanRuns(newestPage); return err },
		"SEARCH runs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	{"ListActiveRuns", func(tx engine.Tx) error { _, err := tx.ListActiveRuns(1, anyPage); return err },
		"SEARCH runs USING INDEX runs_state (tenant=? AND state=? AND rowid>? AND rowid<?)"},

	{"SetLogMessage", func(tx engine.Tx) error { return tx.SetLogMessage(&engine.LogEntry{Run: 1}) },
		"SEARCH run_log USING PRIMARY KEY (run=? AND idx=?)"},
	{"Log", func(tx engine.Tx) error { _, err := tx.Log(1, 0, 5); return err },
		"SEARCH run_log USING PRIMARY KEY (run=? AND idx>? AND idx<?)\nSEARCH run_log USING PRIMARY KEY ((run,idx)>(?,?))"},
	{"EachLog", func(tx engine.Tx) error { return tx.EachLog(1, 0, 5, func(*engine.LogEntry) bool { return false }) },
		strings.Repeat("\nSEARCH run_log USING PRIMARY KEY ((run,idx)>(?,?))", 2)[1:]},
	{"LogBytes", func(tx engine.Tx) error { _, _, err := tx.LogBytes(1, 0, 5); return err },
		"SEARCH run_log USING PRIMARY KEY (run=? AND idx>? AND idx<?)\n" +
			"SEARCH run_log USING PRIMARY KEY ((run,idx)>(?,?))\n" +
			"SEARCH run_log USING PRIMARY KEY (run=? AND idx>? AND idx<?)"},
	{"LogSteps", func(tx engine.Tx) error { _, err := tx.LogSteps(1, 0, 5); return err },
		"SEARCH run_log USING PRIMARY KEY ((run,idx)>(?,?))"},
	{"LogStep", func(tx engine.Tx) error { _, err := tx.LogStep(1, 1, 0, wire.CallStep); return err },
		"SEARCH run_log USING PRIMARY KEY (run=?)"},
	{"PendingOfRun", func(tx engine.Tx) error { _, err := tx.PendingOfRun(1); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SEARCH run_log USING PRIMARY KEY (run=?)"},

	{"Wait", func(tx engine.Tx) error { _, err := tx.Wait(1); return err }, "SEARCH waits USING INTEGER PRIMARY KEY (rowid=?)"},
	{"WaitOfStep", func(tx engine.Tx) error { _, err := tx.WaitOfStep(1, 1); return err },
		"SEARCH waits USING INDEX waits_step (run=? AND step_id=?)"},
	{"WaitsOfChild", func(tx engine.Tx) error { _, err := tx.WaitsOfChild(1); return err },
		"SEARCH waits USING INDEX waits_child (child=?)"},
	{"WaitsOfRun", func(tx engine.Tx) error { _, err := tx.WaitsOfRun(1); return err },
		"SEARCH waits USING INDEX waits_step (run=?)"},
	{"RunWaiting", func(tx engine.Tx) error { _, err := tx.RunWaiting(1, engine.WaitEvent, "e"); return err },
		"SEARCH waits USING INDEX waits_step (run=?)"},
	{"AllWaiting", func(tx engine.Tx) error { _, err := tx.AllWaiting(1, engine.WaitEvent, "e", 1, 10); return err },
		"SEARCH waits USING INDEX waits_event (tenant=? AND event=? AND rowid>?)"},
	{"NextDeadlines", func(tx engine.Tx) error { _, err := tx.NextDeadlines(10); return err },
		"SEARCH waits USING COVERING INDEX waits_deadline (deadline>?)"},
	{"EndWait", func(tx engine.Tx) error { return tx.EndWait(1, 2) }, "SEARCH waits USING INTEGER PRIMARY KEY (rowid=?)"},
	{"EndWaitsOfRun", func(tx engine.Tx) error { return tx.EndWaitsOfRun(1) }, "SEARCH waits USING INDEX waits_step (run=?)"},
	{"MoveWaits", func(tx engine.Tx) error { return tx.MoveWaits(1, 2) },
		"SEARCH waits USING INDEX waits_child (child=?); CORRELATED SCALAR SUBQUERY; SEARCH runs USING INTEGER PRIMARY KEY (rowid=?); " +
			"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?)"},
	{"NextNote", func(tx engine.Tx) error { _, err := tx.NextNote(1, 1, engine.WaitEvent, "e", 1); return err },
		"SEARCH notes USING INDEX notes_event (run=? AND event=? AND rowid>?)"},
	{"Broadcasts", func(tx engine.Tx) error { _, err := tx.Broadcasts(); return err },
		"SEARCH notes USING INDEX notes_size (run=?)"},
	{"CountNotes", func(tx engine.Tx) error { _, _, err := tx.CountNotes(1, engine.WaitEvent); return err },
		"SEARCH notes USING COVERING INDEX notes_size (run=? AND kind=?)"},
	{"DeleteNote", func(tx engine.Tx) error { return tx.DeleteNote(1) }, "SEARCH notes USING INTEGER PRIMARY KEY (rowid=?)"},
	{"DeleteNotesOfRun", func(tx engine.Tx) error { return tx.DeleteNotesOfRun(1) }, "SEARCH notes USING INDEX notes_size (run=?)"},
	{"MoveNotes", func(tx engine.Tx) error { return tx.MoveNotes(1, 2) }, "SEARCH notes USING INDEX notes_size (run=?)"},
	{"CopyWebhooks", func(tx engine.Tx) error { return tx.CopyWebhooks(1, 2) }, "SEARCH webhooks USING PRIMARY KEY (run=?)"},
	{"PutWebhook", func(tx engine.Tx) error { return tx.PutWebhook(1, "e") }, ""},
	{"HasWebhook", func(tx engine.Tx) error { _, err := tx.HasWebhook(1, "e"); return err },
		"SEARCH webhooks USING PRIMARY KEY (run=? AND event=?)"},

	{"Reseal, rows by a number", func(etx engine.Tx) error { _, err := etx.(*tx).rowsAfter(&sealedTables[1], [2]int64{}); return err },
		"SEARCH messages USING INTEGER PRIMARY KEY (rowid>?)"},
	{"Reseal, rows by two", func(etx engine.Tx) error { _, err := etx.(*tx).rowsAfter(&sealedTables[5], [2]int64{}); return err },
		"SEARCH run_log USING PRIMARY KEY ((run,idx)>(?,?))"},
	{"Reseal, progress", func(etx engine.Tx) error { _, err := etx.(*tx).passed(&sealedTables[1], 1); return err },
		"SCAN CONSTANT ROW; SCALAR SUBQUERY; SEARCH messages; SCALAR SUBQUERY; SEARCH messages"},
	{"Settlements", func(tx engine.Tx) error { _, err := tx.Settlements([]int64{1, 2}); return err },
		"SEARCH settlements USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SCAN json_each VIRTUAL TABLE INDEX"},
	{"DLQEntries", func(tx engine.Tx) error { _, err := tx.DLQEntries([]int64{1, 2}); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SCAN json_each VIRTUAL TABLE INDEX"},
	{"Runs", func(tx engine.Tx) error { _, err := tx.Runs([]int64{1, 2}); return err },
		"SEARCH runs USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SCAN json_each VIRTUAL TABLE INDEX"},
	{"LastRun", func(tx engine.Tx) error { _, err := tx.LastRun(1); return err },
		"CO-ROUTINE chain; SETUP; SEARCH runs USING INTEGER PRIMARY KEY (rowid=?); RECURSIVE STEP; SCAN chain; " +
			"SEARCH later USING INTEGER PRIMARY KEY (rowid=?); SCAN chain; CORRELATED SCALAR SUBQUERY; SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"RunsInState", func(tx engine.Tx) error {
		_, err := tx.RunsInState(1, engine.RunFailed, 1, 5)
		return err
	}, "SEARCH runs USING COVERING INDEX runs_state (tenant=? AND state=? AND rowid>? AND rowid<?)"},
	{"InDLQ", func(tx engine.Tx) error { _, err := tx.InDLQ(1); return err },
		"SEARCH dlq USING COVERING INDEX dlq_message (message=?)"},
	{"DLQBeyond", func(tx engine.Tx) error { _, err := tx.DLQBeyond(1, 10); return err },
		"SEARCH dlq USING COVERING INDEX dlq_tenant (tenant=?)"},
	{"TrimDLQ", func(tx engine.Tx) error { _, err := tx.TrimDLQ(1, 10, 10); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SEARCH dlq USING COVERING INDEX dlq_tenant (tenant=? AND rowid<?)"},
	{"PurgeDLQ", func(tx engine.Tx) error { _, err := tx.PurgeDLQ(1, 10); return err },
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY; SEARCH dlq USING INTEGER PRIMARY KEY (rowid<?)"},
	{"ExpiredRuns", func(tx engine.Tx) error {
		_, _, err := tx.ExpiredRuns(0, engine.Millis(farFuture), 10)
		return err
	}, "SEARCH runs USING INTEGER PRIMARY KEY (rowid<?); CORRELATED SCALAR SUBQUERY; SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?); " +
		"CORRELATED SCALAR SUBQUERY; SEARCH messages USING INTEGER PRIMARY KEY (rowid=?); " +
		"CORRELATED SCALAR SUBQUERY; SEARCH waits USING INDEX waits_child (child=?); SEARCH waiting USING INTEGER PRIMARY KEY (rowid=?); " +
		"SEARCH dlq USING INTEGER PRIMARY KEY (rowid=?); " +
		"CORRELATED SCALAR SUBQUERY; SEARCH later USING INTEGER PRIMARY KEY (rowid=?)"},
	{"ExpiredMessages", func(tx engine.Tx) error {
		_, _, err := tx.ExpiredMessages(0, engine.Millis(farFuture), 10)
		return err
	}, "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?); CORRELATED SCALAR SUBQUERY; SEARCH runs USING INTEGER PRIMARY KEY (rowid=?); " +
		"CORRELATED SCALAR SUBQUERY; SEARCH dlq USING COVERING INDEX dlq_message (message=?); " +
		"CORRELATED SCALAR SUBQUERY; SEARCH settlements USING COVERING INDEX settlements_message (message=? AND rowid>?)"},
	{"DeleteRuns", func(tx engine.Tx) error { return tx.DeleteRuns([]int64{7}) },
		"SEARCH run_log USING PRIMARY KEY (run=?)\nSEARCH waits USING INDEX waits_step (run=?)\n" +
			"SEARCH webhooks USING PRIMARY KEY (run=?)\nSEARCH notes USING INDEX notes_size (run=?)\nSEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"},
	{"DeleteMessages", func(tx engine.Tx) error { return tx.DeleteMessages([]int64{7}) },
		"SEARCH settlements USING INDEX settlements_message (message=?)\nSEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"},
	{"PurgeDeduplications", func(tx engine.Tx) error { _, err := tx.PurgeDeduplications(1, 10); return err }, ""},

	{"NextSegments", func(tx engine.Tx) error { _, err := tx.NextSegments(engine.SpaceLog, 1, 5, false, 9); return err },
		"SEARCH segments USING PRIMARY KEY (space=? AND tenant=? AND last>?)"},
	{"NextSegments, newest", func(tx engine.Tx) error { _, err := tx.NextSegments(engine.SpaceLog, 1, 5, true, 9); return err },
		"SEARCH segments USING PRIMARY KEY (space=? AND tenant=? AND last<?)"},
	{"SegmentSeqs", func(tx engine.Tx) error { _, err := tx.SegmentSeqs(new(engine.Segment)); return err },
		"SEARCH segments USING PRIMARY KEY (space=? AND tenant=? AND last=?)"},
	{"Places", func(tx engine.Tx) error { _, err := tx.Places(new(engine.Segment), 1); return err },
		"SEARCH marks USING PRIMARY KEY (space=? AND tenant=? AND last=? AND mark=?)"},
	{"PutMarks", func(tx engine.Tx) error {
		return tx.PutMarks(&engine.Segment{Places: map[int64]engine.Ascending{1: {0}}}, []int64{1})
	}, ""},
	{"SegmentsAfter", func(tx engine.Tx) error { _, err := tx.SegmentsAfter(new(engine.Segment), 1); return err },
		"SEARCH segments USING PRIMARY KEY ((space,tenant,last)>(?,?,?))"},
	{"SegmentUsed", func(tx engine.Tx) error {
		_, err := tx.SegmentUsed(&engine.Segment{Space: engine.SpaceLog})
		return err
	}, ""},
	{"DeleteSegment", func(tx engine.Tx) error { _, err := tx.DeleteSegment(new(engine.Segment), 10); return err }, ""},
}

// prepared is a store with a row for every verb that insists on one.
func prepared(t *testing.T, s engine.Store, err error) engine.Store {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	err = s.Update(context.Background(), func(tx engine.Tx) error {
		for _, insert := range []func() error{
			func() error { return tx.InsertTenant(&engine.Tenant{}) },
			func() error { return tx.InsertToken(&engine.Token{Hash: []byte("t"), Tenant: 1}) },
			func() error {
				return tx.InsertRun(&engine.Run{Seq: 1, Tenant: 1, ID: "wfr_1", State: engine.RunStarted})
			},
			func() error {
				return tx.InsertRun(&engine.Run{Seq: 2, Tenant: 1, ID: "wfr_2", State: engine.RunSuccess})
			},
			func() error { return tx.InsertLog(&engine.LogEntry{Run: 1}) },
			func() error {
				return tx.InsertLog(&engine.LogEntry{Run: 1, Index: 1, Source: engine.LogPlace{Run: 1}})
			},
			func() error { return tx.InsertSchedule(&engine.Schedule{Seq: 1, Tenant: 1, ID: "s"}) },
			func() error { return tx.InsertWait(&engine.Wait{Seq: 1, Tenant: 1, Run: 1}) },
			func() error { return tx.InsertURLGroup(&engine.URLGroup{Seq: 1, Tenant: 1, Name: "g"}) },
			func() error { return tx.InsertDLQ(&engine.DLQEntry{Seq: 1, Tenant: 1}) },
			func() error {
				return tx.InsertMessages([]*engine.Message{{Key: engine.Key{Seq: 1}, State: engine.Delivered}})
			},
			func() error { return tx.InsertQueue(&engine.Queue{Seq: 1, Tenant: 1, Name: "q"}) },
			func() error { return tx.InsertFlowKey(&engine.FlowKey{Seq: 1, Tenant: 1, Key: "k", UsedAt: 100}) },
		} {
			if err := insert(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	spaces = regexp.MustCompile(` \d+:?`) // numbers of subqueries and virtual indexes
	// What grows without bound must not be read from end to end, nor sorted.
	wholeTable = regexp.MustCompile(`SCAN (messages|settlements|run_log|runs|dlq|deduplications|tokens|audit|queues|flow_keys|slots|url_groups|segments|marks|waits|notes|webhooks|later)\b|TEMP B-TREE`)
)

// Every statement finds its rows by the key or index that is meant for it.
func TestSQLitePlans(t *testing.T) {
	ss, err := OpenSQLite(context.Background(), t.TempDir())
	s := prepared(t, ss, err)
	for _, test := range plans {
		got := spaces.ReplaceAllString(planOf(t, s, test.verb, "explain query plan "), "")
		if test.want != "" && got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if found := wholeTable.FindString(got); found != "" {
			t.Errorf("%s: %s in\n%s", test.name, found, got)
		}
		t.Logf("%s:\n%s", test.name, got)
	}
}

// So does PostgreSQL, once the tables are so large that it is worth it.
func TestPostgresPlans(t *testing.T) {
	ps, err := OpenPostgres(context.Background(), pgtest.DSN(t))
	s := prepared(t, ps, err)
	for _, test := range plans {
		got := planOf(t, s, test.verb, "explain ", "set local enable_seqscan = off", "set local enable_bitmapscan = off")
		if strings.Contains(got, "Seq Scan") {
			t.Errorf("%s:\n%s", test.name, got)
		}
		t.Logf("%s:\n%s", test.name, got)
	}
}
