package store

import (
	"database/sql"
	"fmt"
	"iter"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/wire"
)

const runColumns = `seq, tenant, id, closed, url, state, ended_at, init_rnd, log_len, max_step, caller_ip,
	dlq, failure, failure_call, header, settings, response, sealed`

func (t *tx) scanRun(r *sql.Rows) (*engine.Run, error) {
	var run engine.Run
	var closed int64
	var p private
	var sealed []byte
	err := r.Scan(&run.Seq, &run.Tenant, &run.ID, &closed, &p.texts[0], &run.State, &run.EndedAt, &run.Init.Rnd, &run.LogLen,
		&run.MaxStep, &run.CallerIP, &run.DLQ, &run.Failure, &run.FailureCall, &p.texts[1], &p.texts[2], unshared{&p.blob}, unshared{&sealed})
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"runs", run.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	run.Init.Seq, run.URL, run.Response = run.Seq, p.texts[0], p.blob
	if run.Header, err = parseHeader(p.texts[1]); err != nil {
		return nil, err
	}
	run.Settings, err = parseSettings(p.texts[2])
	return &run, err
}

// sealRun gives the values of a run that may hold secrets.
func (t *tx) sealRun(r *engine.Run) (p private, sealed []byte, err error) {
	settings, err := settingsText(&r.Settings)
	if err != nil {
		return p, nil, err
	}
	p = private{[3]string{r.URL, headerText(r.Header), settings}, r.Response}
	sealed, err = t.seal(place{"runs", r.Seq, 0}, &p)
	return p, sealed, err
}

// closedKey frees a run's id when the run has ended.
func closedKey(r *engine.Run) int64 {
	if r.State == engine.RunStarted {
		return 0
	}
	return r.Seq
}

func (t *tx) InsertRun(r *engine.Run) error {
	p, sealed, err := t.sealRun(r)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into runs (`+runColumns+`, successor)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		r.Seq, r.Tenant, r.ID, closedKey(r), p.texts[0], int64(r.State), r.EndedAt, r.Init.Rnd, r.LogLen, r.MaxStep, r.CallerIP,
		r.DLQ, int64(r.Failure), r.FailureCall, p.texts[1], p.texts[2], blob(p.blob), sealed, r.Settings.ResumedAs)
	return err
}

// UpdateRun writes the URL too: it is sealed together with what changes.
func (t *tx) UpdateRun(r *engine.Run) error {
	p, sealed, err := t.sealRun(r)
	if err != nil {
		return err
	}
	return must(t.exec(`
		update runs set closed = $1, state = $2, ended_at = $3, log_len = $4, max_step = $5, dlq = $6, failure = $7,
			failure_call = $8, url = $9, header = $10, settings = $11, response = $12, sealed = $13, successor = $14 where seq = $15`,
		closedKey(r), int64(r.State), r.EndedAt, r.LogLen, r.MaxStep, r.DLQ, int64(r.Failure),
		r.FailureCall, p.texts[0], p.texts[1], p.texts[2], blob(p.blob), sealed, r.Settings.ResumedAs, r.Seq))
}

func (t *tx) AdvanceRun(r *engine.Run) error {
	return must(t.exec(`update runs set log_len = $1, max_step = $2 where seq = $3`, r.LogLen, r.MaxStep, r.Seq))
}

func (t *tx) Run(seq int64) (*engine.Run, error) {
	return one(t, t.scanRun, `select `+runColumns+` from runs where seq = $1`, seq)
}

func (t *tx) RunByID(tenant int64, id string) (*engine.Run, error) {
	if !portable(id) {
		return nil, nil // no row can have it
	}
	const where = `select ` + runColumns + ` from runs where tenant = $1 and id = $2 and closed `
	// An active run is newer than all that have ended. Asked for like this, the
	// index has the answer, however often the id was used.
	active, err := one(t, t.scanRun, where+`= 0`, tenant, id)
	if err != nil || active != nil {
		return active, err
	}
	return one(t, t.scanRun, where+`> 0 order by closed desc limit 1`, tenant, id)
}

func (t *tx) LockRun(seq int64) (*engine.Run, error) {
	return one(t, t.scanRun, `select `+runColumns+` from runs where seq = $1`+t.forUpdate, seq)
}

func (t *tx) LockActiveRun(tenant int64, id string) (*engine.Run, error) {
	if !portable(id) {
		return nil, nil // no row can have it
	}
	return one(t, t.scanRun, `select `+runColumns+` from runs where tenant = $1 and id = $2 and closed = 0`+t.forUpdate, tenant, id)
}

func (t *tx) Runs(seqs []int64) ([]*engine.Run, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	return collect(t, t.scanRun, `select `+runColumns+` from runs where `+t.inList+` order by seq`, t.list(seqs))
}

func (t *tx) LastRun(seq int64) (last int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&last) }, `
		with recursive chain (seq, next) as (
			select seq, successor from runs where seq = $1
			union all
			select later.seq, later.successor from chain join runs later on later.seq = chain.next
		) select seq from chain where not exists (select 1 from runs where runs.seq = chain.next)`, seq)
	return last, err
}

func (t *tx) RunsInState(tenant int64, state engine.RunState, from, to int64) ([]int64, error) {
	return t.keys(`select seq from runs where tenant = $1 and state = $2 and seq >= $3 and seq < $4 order by seq`,
		tenant, int64(state), from, to)
}

func (t *tx) ScanRuns(p engine.Page) ([]*engine.Run, bool, error) {
	return scanPage(t, p, `seq, tenant, id, url, caller_ip, settings, sealed`, `runs`, func(r *sql.Rows) (*engine.Run, int, error) {
		var run engine.Run
		var p private
		var sealed []byte
		if err := r.Scan(&run.Seq, &run.Tenant, &run.ID, &p.texts[0], &run.CallerIP, &p.texts[2], &sealed); err != nil {
			return nil, 0, err
		}
		size := len(sealed)
		if err := t.open(place{"runs", run.Seq, 0}, sealed, &p); err != nil {
			return nil, 0, err
		}
		run.URL = p.texts[0]
		settings, err := parseSettings(p.texts[2])
		run.Settings = settings
		return &run, size, err
	})
}

func (t *tx) ListActiveRuns(tenant int64, p engine.Page) ([]*engine.Run, error) {
	return collect(t, t.scanRun, `
		select `+runColumns+` from runs where state = 1 and seq >= $1 and seq < $2 and tenant = $3 order by seq limit $4`,
		p.From, p.To, tenant, p.Limit)
}

const logColumns = `run, idx, seq, rnd, call_type, step_id, target_step, source_run, source_idx`

func (t *tx) scanLog(r *sql.Rows) (*engine.LogEntry, error) {
	var e engine.LogEntry
	var callType string
	var p private
	var sealed []byte
	err := r.Scan(&e.Run, &e.Index, &e.Message.Seq, &e.Message.Rnd, &callType, &e.StepID, &e.TargetStep,
		&e.Source.Run, &e.Source.Index, unshared{&p.blob}, unshared{&sealed})
	if err != nil {
		return nil, err
	}
	err = t.open(place{"run_log", e.Run, int64(e.Index)}, sealed, &p)
	e.CallType, e.Body = wire.CallType(callType), p.blob
	return &e, err
}

// entries reads entries of a log with their bodies, wherever these are.
func (t *tx) entries(where string, args ...any) ([]*engine.LogEntry, error) {
	log, err := collect(t, t.scanLog, `select `+logColumns+`, body, sealed from run_log `+where, args...)
	if err != nil {
		return nil, err
	}
	for part := range pieces(log) {
		if part[0].Source.Run == 0 {
			continue
		}
		if _, err := t.eachBody(part, func(*engine.LogEntry) bool { return true }); err != nil {
			return nil, err
		}
	}
	return log, nil
}

// pieces are the parts of a log whose bodies stand behind each other in one log,
// this or another. To look for each by itself would cost more than to read it, if it
// is large: SQLite reads rows whole to compare their keys.
func pieces(log []*engine.LogEntry) iter.Seq[[]*engine.LogEntry] {
	return func(yield func([]*engine.LogEntry) bool) {
		for len(log) > 0 {
			next, n := log[0].Place(), 1
			for next.Index++; n < len(log) && log[n].Place() == next; next.Index++ {
				n++
			}
			if !yield(log[:n]) {
				return
			}
			log = log[n:]
		}
	}
}

// inLog selects from a place in a log on, as many as there can be. SQLite would read
// all of a row, body included, to see that it is within other bounds. What follows
// may be of another run.
const inLog = ` from run_log where (run, idx) >= ($1, $2) order by run, idx limit $3`

// eachBody reads the bodies of a piece, and calls take with each until it says no.
func (t *tx) eachBody(piece []*engine.LogEntry, take func(*engine.LogEntry) bool) (more bool, err error) {
	first, n := piece[0].Place(), 0
	err = t.each(func(r *sql.Rows) error {
		var at engine.LogPlace
		var p private
		var sealed []byte
		if err := r.Scan(&at.Run, &at.Index, unshared{&p.blob}, unshared{&sealed}); err != nil {
			return err
		}
		e := piece[n]
		if at != e.Place() {
			return nil
		}
		err := t.open(place{"run_log", at.Run, int64(at.Index)}, sealed, &p)
		n, e.Body = n+1, p.blob
		if err == nil && !take(e) {
			err = errEnough
		}
		return err
	}, `select run, idx, body, sealed`+inLog, first.Run, first.Index, len(piece))
	switch {
	case err == errEnough:
		return false, nil
	case err == nil && n != len(piece):
		err = fmt.Errorf("log %d lacks bodies that it has from log %d", piece[0].Run, first.Run)
	}
	return true, err
}

func (t *tx) EachLog(run int64, from, to int, take func(*engine.LogEntry) (more bool)) error {
	log, err := t.LogSteps(run, from, to)
	if err != nil {
		return err
	}
	for piece := range pieces(log) {
		if more, err := t.eachBody(piece, take); err != nil || !more {
			return err
		}
	}
	return nil
}

// InsertLog seals an entry whose body is elsewhere, too, so that all rows are.
func (t *tx) InsertLog(e *engine.LogEntry) error {
	var p private
	if e.Source.Run == 0 {
		p.blob = e.Body
	}
	sealed, err := t.seal(place{"run_log", e.Run, int64(e.Index)}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`insert into run_log (`+logColumns+`, body, sealed) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		e.Run, e.Index, e.Message.Seq, e.Message.Rnd, string(e.CallType), e.StepID, e.TargetStep, e.Source.Run, e.Source.Index,
		blob(p.blob), sealed)
	return err
}

func (t *tx) SetLogMessage(e *engine.LogEntry) error {
	return must(t.exec(`update run_log set seq = $1, rnd = $2 where run = $3 and idx = $4`, e.Message.Seq, e.Message.Rnd, e.Run, e.Index))
}

func (t *tx) Log(run int64, from, to int) ([]*engine.LogEntry, error) {
	return t.entries(`where run = $1 and idx >= $2 and idx <= $3 order by idx`, run, from, to)
}

func (t *tx) LogBytes(run int64, from, to int) (entries int, bytes int64, err error) {
	entries, shared, bytes, err := t.measure(run, from, to)
	if err != nil {
		return 0, 0, err
	}
	if shared > 0 {
		more, err := t.sharedBytes(run, from, to)
		if err != nil {
			return 0, 0, err
		}
		bytes += more
	}
	return entries, bytes, t.expect(bytes)
}

func (t *tx) sharedBytes(run int64, from, to int) (bytes int64, err error) {
	log, err := t.LogSteps(run, from, to)
	if err != nil {
		return 0, err
	}
	for part := range pieces(log) {
		first := part[0].Source
		if first.Run == 0 {
			continue
		}
		_, _, more, err := t.measure(first.Run, first.Index, first.Index+len(part)-1)
		if err != nil {
			return 0, err
		}
		bytes += more
	}
	return bytes, nil
}

// measure counts a part of a log, and what of it is shared. The bytes are those of
// its own bodies, without what sealing adds to them. It is asked for at every
// delivery of a run: not by inLog, which costs 80 µs more each time, though large
// bodies are read to be counted.
func (t *tx) measure(run int64, from, to int) (entries, shared int, bytes int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&entries, &shared, &bytes) }, `
		select count(*), count(case when source_run <> 0 then 1 end),
			coalesce(sum(coalesce(length(body), 0) + coalesce(length(sealed) - $1, 0)), 0)
		from run_log where run = $2 and idx >= $3 and idx <= $4`, int64(sealedBlob), run, from, to)
	return entries, shared, bytes, err
}

func (t *tx) LogSteps(run int64, from, to int) (log []*engine.LogEntry, err error) {
	err = t.each(func(r *sql.Rows) error {
		var e engine.LogEntry
		var callType string
		err := r.Scan(&e.Run, &e.Index, &e.Message.Seq, &e.Message.Rnd, &callType, &e.StepID, &e.TargetStep, &e.Source.Run, &e.Source.Index)
		if e.CallType = wire.CallType(callType); e.Run == run && e.Index <= to {
			log = append(log, &e)
		}
		return err
	}, `select `+logColumns+inLog, run, from, max(0, to-from+1))
	return log, err
}

func (t *tx) LogStep(run int64, stepID, targetStep int, callType wire.CallType) (*engine.LogEntry, error) {
	log, err := t.entries(`where run = $1 and step_id = $2 and target_step = $3 and call_type = $4 order by idx limit 1`,
		run, stepID, targetStep, string(callType))
	if err != nil || len(log) == 0 {
		return nil, err
	}
	return log[0], nil
}

func (t *tx) PendingOfRun(run int64) ([]*engine.Message, error) {
	return collect(t, t.scanMessage, `
		select `+messageColumns+` from messages
		where seq in (select seq from run_log where run = $1) and run = $1 and state in (2, 7) order by seq`, run)
}
