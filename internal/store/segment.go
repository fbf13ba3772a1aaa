package store

import (
	"database/sql"
	"time"

	"github.com/signposthq/signpost/internal/engine"
)

// committedAfter is how long a transaction of another connection may take from
// its first key to its commit.
const committedAfter = 10 * time.Second

func (t *tx) Complete(now int64) int64 {
	if t.inOrder {
		return maxSeq
	}
	return engine.FirstSeq(now - committedAfter.Milliseconds())
}

const maxSeq = int64(^uint64(0) >> 1)

func (t *tx) IndexedThrough() (seq int64, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan(&seq) }, `select through from indexing where id = 1`)
	return seq, err
}

func (t *tx) InsertSegments(segments []*engine.Segment, from, through int64) (bool, error) {
	n, err := t.exec(`update indexing set through = $1 where id = 1 and through = $2`, through, from)
	if err != nil || n == 0 {
		return false, err
	}
	for _, s := range segments {
		_, err := t.exec(`insert into segments (space, tenant, last, first, seqs) values ($1, $2, $3, $4, $5)`,
			int64(s.Space), s.Tenant, s.Last, s.First, []byte(s.Seqs))
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

func (t *tx) PutMarks(s *engine.Segment, marks []int64) error {
	for _, mark := range marks {
		_, err := t.exec(`
			insert into marks (space, tenant, last, mark, places) values ($1, $2, $3, $4, $5)
			on conflict (space, tenant, last, mark) do update set places = excluded.places`,
			int64(s.Space), s.Tenant, s.Last, mark, []byte(s.Places[mark]))
		if err != nil {
			return err
		}
	}
	return nil
}

func scanSegment(r *sql.Rows) (*engine.Segment, error) {
	var s engine.Segment
	return &s, r.Scan(&s.Space, &s.Tenant, &s.First, &s.Last)
}

func (t *tx) NextSegments(space engine.Space, tenant, at int64, newest bool, limit int) ([]*engine.Segment, error) {
	const where = `select space, tenant, first, last from segments where space = $1 and tenant = $2 and last `
	if newest {
		return collect(t, scanSegment, where+`< $3 order by last desc limit $4`, int64(space), tenant, at, limit)
	}
	return collect(t, scanSegment, where+`>= $3 order by last limit $4`, int64(space), tenant, at, limit)
}

func (t *tx) SegmentSeqs(s *engine.Segment) (engine.Ascending, error) {
	return t.ascending(`select seqs from segments where space = $1 and tenant = $2 and last = $3`, int64(s.Space), s.Tenant, s.Last)
}

func (t *tx) Places(s *engine.Segment, mark int64) (engine.Ascending, error) {
	return t.ascending(`select places from marks where space = $1 and tenant = $2 and last = $3 and mark = $4`,
		int64(s.Space), s.Tenant, s.Last, mark)
}

func (t *tx) ascending(query string, args ...any) (list engine.Ascending, err error) {
	err = t.each(func(r *sql.Rows) error { return r.Scan((*[]byte)(&list)) }, query, args...)
	return list, err
}

func (t *tx) SegmentsAfter(s *engine.Segment, limit int) ([]*engine.Segment, error) {
	return collect(t, scanSegment, `
		select space, tenant, first, last from segments where (space, tenant, last) > ($1, $2, $3)
		order by space, tenant, last limit $4`, int64(s.Space), s.Tenant, s.Last, limit)
}

// inSpace says whether a row is left in a range, by space.
var inSpace = map[engine.Space]string{
	engine.SpaceLog: `select 1 where exists (select 1 from messages where seq between $1 and $2)
		or exists (select 1 from settlements where seq between $1 and $2)`,
	engine.SpaceDLQ:  `select 1 where exists (select 1 from dlq where seq between $1 and $2)`,
	engine.SpaceRuns: `select 1 where exists (select 1 from runs where seq between $1 and $2)`,
}

func (t *tx) SegmentUsed(s *engine.Segment) (used bool, err error) {
	err = t.each(func(*sql.Rows) error { used = true; return nil }, inSpace[s.Space], s.First, s.Last)
	return used, err
}

// DeleteSegment deletes the marks as well that one has left which was not
// finished.
func (t *tx) DeleteSegment(s *engine.Segment, limit int) (int, error) {
	n, err := t.exec(`
		delete from marks where space = $1 and tenant = $2 and (last, mark) in
		(select last, mark from marks where space = $1 and tenant = $2 and last >= $3 and last <= $4 order by last, mark limit $5)`,
		int64(s.Space), s.Tenant, s.First, s.Last, limit)
	if err != nil || int(n) >= limit {
		return int(n), err
	}
	gone, err := t.exec(`delete from segments where space = $1 and tenant = $2 and last = $3`, int64(s.Space), s.Tenant, s.Last)
	return int(n + gone), err
}
