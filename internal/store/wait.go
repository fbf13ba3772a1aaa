package store

import (
	"crypto/sha256"
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const waitColumns = `seq, tenant, run, step_id, kind, deadline, done, child, url, header, settings, sealed`

// eventHash finds rows of an event without telling its id. Those of different
// kinds have nothing to do with each other, whatever their ids.
func eventHash(kind engine.WaitKind, event string) []byte {
	sum := sha256.Sum256(append([]byte{byte(kind)}, event...))
	return sum[:16]
}

func (t *tx) scanWait(r *sql.Rows) (*engine.Wait, error) {
	var w engine.Wait
	var p private
	var sealed []byte
	err := r.Scan(&w.Seq, &w.Tenant, &w.Run, &w.StepID, &w.Kind, &w.Deadline, &w.Done, &w.Child,
		&p.texts[0], &p.texts[1], &p.texts[2], &sealed)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"waits", w.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	w.URL = p.texts[0]
	if w.Header, err = parseHeader(p.texts[1]); err != nil {
		return nil, err
	}
	return &w, parseJSON(p.texts[2], &w.Settings)
}

func (t *tx) InsertWait(w *engine.Wait) error {
	settings, err := jsonText(&w.Settings)
	if err != nil {
		return err
	}
	p := private{texts: [3]string{w.URL, headerText(w.Header), settings}}
	sealed, err := t.seal(place{"waits", w.Seq, 0}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into waits (`+waitColumns+`, event) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		w.Seq, w.Tenant, w.Run, w.StepID, int64(w.Kind), w.Deadline, w.Done, w.Child,
		p.texts[0], p.texts[1], p.texts[2], sealed, eventHash(w.Kind, w.Settings.Event))
	return err
}

func (t *tx) Wait(seq int64) (*engine.Wait, error) {
	return one(t, t.scanWait, `select `+waitColumns+` from waits where seq = $1`, seq)
}

func (t *tx) WaitOfStep(run int64, stepID int) (*engine.Wait, error) {
	return one(t, t.scanWait, `select `+waitColumns+` from waits where run = $1 and step_id = $2`, run, stepID)
}

func (t *tx) WaitsOfChild(child int64) ([]*engine.Wait, error) {
	return collect(t, t.scanWait, `select `+waitColumns+` from waits where child = $1 and child > 0 order by seq`, child)
}

func (t *tx) WaitsOfRun(run int64) ([]*engine.Wait, error) {
	return collect(t, t.scanWait, `select `+waitColumns+` from waits where run = $1 order by step_id`, run)
}

func (t *tx) RunWaiting(run int64, kind engine.WaitKind, event string) (*engine.Wait, error) {
	return one(t, t.scanWait, `
		select `+waitColumns+` from waits where run = $1 and event = $2 and done = 0 order by step_id limit 1`,
		run, eventHash(kind, event))
}

func (t *tx) AllWaiting(tenant int64, kind engine.WaitKind, event string, after int64, limit int) ([]*engine.Wait, error) {
	return collect(t, t.scanWait, `
		select `+waitColumns+` from waits where tenant = $1 and event = $2 and done = 0 and seq > $3 order by seq limit $4`,
		tenant, eventHash(kind, event), after, limit)
}

func (t *tx) NextDeadlines(limit int) ([]engine.Due, error) {
	return collect(t, scanDue, `select deadline, seq from waits where done = 0 and deadline > 0 order by deadline limit $1`, limit)
}

func (t *tx) EndWait(seq, done int64) error {
	return must(t.exec(`update waits set done = $1 where seq = $2`, done, seq))
}

func (t *tx) EndWaitsOfRun(run int64) error {
	_, err := t.exec(`update waits set done = -1 where run = $1 and done = 0`, run)
	return err
}

func (t *tx) MoveWaits(from, to int64) error {
	_, err := t.exec(`
		update waits set child = $1 where child = $2 and child > 0
			and exists (select 1 from runs join dlq on dlq.seq = runs.dlq where runs.seq = waits.run)`, to, from)
	return err
}

const noteColumns = `seq, tenant, run, kind, event_id, url_prefix, body, sealed`

func (t *tx) scanNote(r *sql.Rows) (*engine.Note, error) {
	var n engine.Note
	var p private
	var sealed []byte
	err := r.Scan(&n.Seq, &n.Tenant, &n.Run, &n.Kind, &p.texts[0], &p.texts[1], &p.blob, &sealed)
	if err != nil {
		return nil, err
	}
	err = t.open(place{"notes", n.Seq, 0}, sealed, &p)
	n.Event, n.Prefix, n.Body = p.texts[0], engine.URLPrefix(p.texts[1]), p.blob
	return &n, err
}

func (t *tx) InsertNote(n *engine.Note) error {
	p := private{texts: [3]string{n.Event, string(n.Prefix)}, blob: blob(n.Body)}
	sealed, err := t.seal(place{"notes", n.Seq, 0}, &p)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into notes (`+noteColumns+`, event, size) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		n.Seq, n.Tenant, n.Run, int64(n.Kind), p.texts[0], p.texts[1], p.blob, sealed, eventHash(n.Kind, n.Event), len(n.Body))
	return err
}

func (t *tx) NextNote(tenant, run int64, kind engine.WaitKind, event string, after int64) (*engine.Note, error) {
	return one(t, t.scanNote, `
		select `+noteColumns+` from notes where run = $1 and event = $2 and tenant = $3 and seq > $4 order by seq limit 1`,
		run, eventHash(kind, event), tenant, after)
}

func (t *tx) Broadcasts() ([]*engine.Note, error) {
	return collect(t, t.scanNote, `select `+noteColumns+` from notes where run = 0`)
}

func (t *tx) CountNotes(run int64, kind engine.WaitKind) (count int, bytes int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&count, &bytes) },
		`select count(*), cast(coalesce(sum(size), 0) as bigint) from notes where run = $1 and kind = $2`, run, int64(kind))
	return count, bytes, err
}

func (t *tx) DeleteNote(seq int64) error {
	_, err := t.exec(`delete from notes where seq = $1`, seq)
	return err
}

func (t *tx) DeleteNotesOfRun(run int64) error {
	_, err := t.exec(`delete from notes where run = $1`, run)
	return err
}

func (t *tx) MoveNotes(from, to int64) error {
	_, err := t.exec(`update notes set run = $1 where run = $2`, to, from)
	return err
}

func (t *tx) PutWebhook(run int64, event string) error {
	_, err := t.exec(`insert into webhooks (run, event) values ($1, $2) on conflict (run, event) do nothing`,
		run, eventHash(engine.WaitWebhook, event))
	return err
}

func (t *tx) HasWebhook(run int64, event string) (bool, error) {
	n, err := t.number(`select count(*) from webhooks where run = $1 and event = $2`, run, eventHash(engine.WaitWebhook, event))
	return n > 0, err
}

func (t *tx) CopyWebhooks(from, to int64) error {
	_, err := t.exec(`insert into webhooks (run, event) select cast($1 as bigint), event from webhooks where run = $2`, to, from)
	return err
}
