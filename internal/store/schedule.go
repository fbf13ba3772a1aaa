package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const scheduleColumns = `seq, tenant, id, paused, next_at, last_at, messages, destination, header, settings, body, token, sealed`

func (t *tx) scanSchedule(r *sql.Rows) (*engine.Schedule, error) {
	var s engine.Schedule
	var paused int64
	var messages string
	var p private
	var sealed []byte
	err := r.Scan(&s.Seq, &s.Tenant, &s.ID, &paused, &s.NextAt, &s.LastAt, &messages,
		&p.texts[0], &p.texts[1], &p.texts[2], &p.blob, &s.Token, &sealed)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"schedules", s.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	s.Paused, s.Destination, s.Body = paused != 0, p.texts[0], p.blob
	if err := parseJSON(messages, &s.Messages); err != nil {
		return nil, err
	}
	if s.Header, err = parseHeader(p.texts[1]); err != nil {
		return nil, err
	}
	return &s, parseJSON(p.texts[2], &s.Settings)
}

// sealSchedule is what is private of a schedule, and that sealed.
func (t *tx) sealSchedule(s *engine.Schedule) (p private, sealed []byte, err error) {
	settings, err := jsonText(&s.Settings)
	if err != nil {
		return p, nil, err
	}
	p = private{texts: [3]string{s.Destination, headerText(s.Header), settings}, blob: blob(s.Body)}
	sealed, err = t.seal(place{"schedules", s.Seq, 0}, &p)
	return p, sealed, err
}

// seqsText is a list of sequence numbers as JSON, "" when there is none.
func seqsText(seqs []int64) (string, error) {
	if len(seqs) == 0 {
		return "", nil
	}
	return jsonText(seqs)
}

func (t *tx) InsertSchedule(s *engine.Schedule) error {
	messages, err := seqsText(s.Messages)
	if err != nil {
		return err
	}
	p, sealed, err := t.sealSchedule(s)
	if err != nil {
		return err
	}
	_, err = t.exec(`
		insert into schedules (`+scheduleColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		s.Seq, s.Tenant, s.ID, flag(s.Paused), s.NextAt, s.LastAt, messages,
		p.texts[0], p.texts[1], p.texts[2], p.blob, blob(s.Token), sealed)
	return err
}

func (t *tx) LockSchedule(seq int64) (*engine.Schedule, error) {
	return one(t, t.scanSchedule, `select `+scheduleColumns+` from schedules where seq = $1`+t.forUpdate, seq)
}

func (t *tx) LockScheduleNamed(tenant int64, id string) (*engine.Schedule, error) {
	if !portable(id) {
		return nil, nil // no row can have it
	}
	return one(t, t.scanSchedule, `select `+scheduleColumns+` from schedules where tenant = $1 and id = $2`+t.forUpdate, tenant, id)
}

func (t *tx) UpdateSchedule(s *engine.Schedule) error {
	messages, err := seqsText(s.Messages)
	if err != nil {
		return err
	}
	p, sealed, err := t.sealSchedule(s)
	if err != nil {
		return err
	}
	return must(t.exec(`
		update schedules set paused = $1, next_at = $2, last_at = $3, messages = $4, destination = $5,
			header = $6, settings = $7, body = $8, token = $9, sealed = $10 where seq = $11`,
		flag(s.Paused), s.NextAt, s.LastAt, messages, p.texts[0], p.texts[1], p.texts[2], p.blob, blob(s.Token), sealed, s.Seq))
}

func (t *tx) AdvanceSchedule(s *engine.Schedule) error {
	messages, err := seqsText(s.Messages)
	if err != nil {
		return err
	}
	return must(t.exec(`update schedules set next_at = $1, last_at = $2, messages = $3 where seq = $4`,
		s.NextAt, s.LastAt, messages, s.Seq))
}

func (t *tx) WakeSchedules(token []byte, now int64) (int, error) {
	n, err := t.exec(`update schedules set next_at = $1 where token = $2 and next_at > 0`, now, token)
	return int(n), err
}

func (t *tx) DeleteSchedule(seq int64) error {
	return must(t.exec(`delete from schedules where seq = $1`, seq))
}

func (t *tx) Schedules(tenant int64) ([]*engine.Schedule, error) {
	return collect(t, t.scanSchedule, `select `+scheduleColumns+` from schedules where tenant = $1`, tenant)
}

func (t *tx) CountSchedules(tenant int64) (int, error) {
	n, err := t.number(`select count(*) from schedules where tenant = $1`, tenant)
	return int(n), err
}

func (t *tx) NextSchedules(limit int) ([]engine.Due, error) {
	return collect(t, scanDue, `select next_at, seq from schedules where next_at > 0 order by next_at limit $1`, limit)
}
