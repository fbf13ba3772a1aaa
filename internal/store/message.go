package store

import (
	"database/sql"

	"github.com/signposthq/signpost/internal/engine"
)

const messageColumns = `seq, rnd, tenant, state, kind, due, not_before, retried, max_retries, run, log_index,
	method, url, caller_ip, header, settings, body, sealed, queue, flow, lane`

func (t *tx) scanMessage(r *sql.Rows) (*engine.Message, error) {
	var m engine.Message
	var p private
	var sealed []byte
	err := r.Scan(&m.Seq, &m.Rnd, &m.Tenant, &m.State, &m.Kind, &m.Due, &m.NotBefore, &m.Retried, &m.MaxRetries,
		&m.Run, &m.LogIndex, &m.Method, &p.texts[0], &m.CallerIP, &p.texts[1], &p.texts[2], unshared{&p.blob}, unshared{&sealed},
		&m.Queue, &m.Flow, &m.Lane)
	if err != nil {
		return nil, err
	}
	if err := t.open(place{"messages", m.Seq, 0}, sealed, &p); err != nil {
		return nil, err
	}
	m.URL, m.Body = p.texts[0], p.blob
	if m.Header, err = parseHeader(p.texts[1]); err != nil {
		return nil, err
	}
	m.Settings, err = parseSettings(p.texts[2])
	return &m, err
}

func (t *tx) InsertMessages(messages []*engine.Message) error {
	for _, m := range messages {
		settings, err := settingsText(&m.Settings)
		if err != nil {
			return err
		}
		p := private{[3]string{m.URL, headerText(m.Header), settings}, m.Body}
		sealed, err := t.seal(place{"messages", m.Seq, 0}, &p)
		if err != nil {
			return err
		}
		_, err = t.exec(`
			insert into messages (`+messageColumns+`)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`,
			m.Seq, m.Rnd, m.Tenant, int64(m.State), int64(m.Kind), m.Due, m.NotBefore, m.Retried, m.MaxRetries,
			m.Run, m.LogIndex, m.Method, p.texts[0], m.CallerIP, p.texts[1], p.texts[2], blob(p.blob), sealed,
			m.Queue, m.Flow, m.Lane)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) Messages(seqs []int64) ([]*engine.Message, error) {
	switch len(seqs) {
	case 0:
		return nil, nil
	case 1:
		return collect(t, t.scanMessage, `select `+messageColumns+` from messages where seq = $1`, seqs[0])
	}
	return collect(t, t.scanMessage, `select `+messageColumns+` from messages where `+t.inList+` order by seq`, t.list(seqs))
}

func (t *tx) MessageStates(seqs []int64) ([]engine.MessageState, error) {
	if len(seqs) == 0 {
		return nil, nil
	}
	return collect(t, func(r *sql.Rows) (s engine.MessageState, err error) {
		return s, r.Scan(&s.Seq, &s.Rnd, &s.State)
	}, `select seq, rnd, state from messages where `+t.inList, t.list(seqs))
}

func (t *tx) MessageBytes(seq int64) (n int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&n) },
		`select coalesce(length(body), 0) + coalesce(length(sealed), 0) from messages where seq = $1`, seq)
	if err == nil {
		err = t.expect(n)
	}
	return n, err
}

func (t *tx) LockMessage(seq int64) (*engine.Message, error) {
	return one(t, t.scanMessage, `select `+messageColumns+` from messages where seq = $1`+t.forUpdate, seq)
}

func (t *tx) SettleMessages(changes []engine.Transition) (missed []int, err error) {
	const set, where = `update messages set state = $1, due = $2, retried = $3`, ` where seq = $4 and state = $5 and retried = $6`
	for i, c := range changes {
		var n int64
		if c.Lane == 0 {
			n, err = t.exec(set+where, int64(c.To), c.Due, c.Retried, c.Seq, int64(c.From), c.Attempt)
		} else {
			n, err = t.exec(set+`, lane = $7`+where, int64(c.To), c.Due, c.Retried, c.Seq, int64(c.From), c.Attempt, c.Lane)
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			missed = append(missed, i)
		}
	}
	return missed, nil
}

func (t *tx) SetFlow(message, flow int64) error {
	return must(t.exec(`update messages set flow = $1 where seq = $2`, flow, message))
}

func scanDue(r *sql.Rows) (d engine.Due, err error) {
	err = r.Scan(&d.At, &d.Seq)
	return d, err
}

// DueMessages, and PendingMessages as well, asks for what is due at the same
// time apart from what is due later: a row comparison would read all those
// again that are due at that time, of which there may be very many.
func (t *tx) DueMessages(tenant int64, after engine.Due, limit int) ([]engine.Due, error) {
	const where = `select due, seq from messages where state <= 3 and tenant = $1 and due `
	tied, err := collect(t, scanDue, where+`= $2 and seq > $3 order by seq limit $4`, tenant, after.At, after.Seq, limit)
	if err != nil || len(tied) == limit {
		return tied, err
	}
	later, err := collect(t, scanDue, where+`> $2 order by due, seq limit $3`, tenant, after.At, limit-len(tied))
	return append(tied, later...), err
}

func (t *tx) PendingMessages(tenant int64, after engine.Due, limit int) ([]*engine.Message, error) {
	// The first condition is the index's; it does not follow from the second by itself.
	const where = `select ` + messageColumns + ` from messages where state <= 3 and state = 2 and tenant = $1 and due `
	tied, err := collect(t, t.scanMessage, where+`= $2 and seq > $3 order by seq limit $4`, tenant, after.At, after.Seq, limit)
	if err != nil || len(tied) == limit {
		return tied, err
	}
	later, err := collect(t, t.scanMessage, where+`> $2 order by due, seq limit $3`, tenant, after.At, limit-len(tied))
	return append(tied, later...), err
}

// scanBytes is how much one scan reads, at least a row: bodies are sealed
// together with what it asks for.
const scanBytes = 8 << 20

// scanPage reads a page of a table, of all tenants, or as much of it as is not
// too large.
func scanPage[T any](t *tx, p engine.Page, columns, table string, scan func(*sql.Rows) (row T, size int, err error)) (out []T, more bool, err error) {
	total := 0
	order := ` order by seq limit $3`
	if p.Newest {
		order = ` order by seq desc limit $3`
	}
	err = t.each(func(r *sql.Rows) error {
		row, size, err := scan(r)
		if err != nil {
			return err
		}
		out = append(out, row)
		if total += size; total > scanBytes {
			return errEnough
		}
		return nil
	}, `select `+columns+` from `+table+` where seq >= $1 and seq < $2`+order, p.From, p.To, p.Limit)
	if err == errEnough {
		return out, true, nil
	}
	return out, len(out) == p.Limit, err
}

func (t *tx) ScanMessages(p engine.Page) ([]*engine.Message, bool, error) {
	return scanPage(t, p, `seq, tenant, run, url, caller_ip, settings, sealed`, `messages`, func(r *sql.Rows) (*engine.Message, int, error) {
		var m engine.Message
		var p private
		var sealed []byte
		if err := r.Scan(&m.Seq, &m.Tenant, &m.Run, &p.texts[0], &m.CallerIP, &p.texts[2], &sealed); err != nil {
			return nil, 0, err
		}
		size := len(sealed)
		if err := t.open(place{"messages", m.Seq, 0}, sealed, &p); err != nil {
			return nil, 0, err
		}
		m.URL = p.texts[0]
		settings, err := parseSettings(p.texts[2])
		m.Settings = settings
		return &m, size, err
	})
}

func (t *tx) Deduplication(tenant int64, hash []byte, now int64) (k engine.Key, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&k.Seq, &k.Rnd) }, `
		select seq, rnd from deduplications where tenant = $1 and hash = $2 and expires_at > $3`+t.forUpdate,
		tenant, hash, now)
	return k, err
}

func (t *tx) PutDeduplication(tenant int64, hash []byte, m engine.Key, now, expiresAt int64) error {
	_, err := t.exec(`delete from deduplications where tenant = $1 and hash = $2 and expires_at <= $3`, tenant, hash, now)
	if err != nil {
		return err
	}
	// No upsert: where another transaction put a live one meanwhile, this one
	// must fail and run again, to be answered with it.
	_, err = t.exec(`insert into deduplications (tenant, hash, seq, rnd, expires_at) values ($1, $2, $3, $4, $5)`,
		tenant, hash, m.Seq, m.Rnd, expiresAt)
	return err
}
