package engine

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Space is what a segment is about: keys of one sequence, that one kind of list
// is ordered by.
type Space int

const (
	SpaceLog  Space = 1 // messages and settlements: the events
	SpaceDLQ  Space = 2
	SpaceRuns Space = 3
)

// Segment is the part of a space that a tenant's rows of a range make up, and at
// which places among them the rows with a mark are. A mark stands for a value
// of an attribute.
type Segment struct {
	Space       Space
	Tenant      int64
	First, Last int64 // keys of its rows
	Seqs        Ascending
	Places      map[int64]Ascending // by mark, in Seqs
}

// Ascending is a list of growing numbers, each as its distance from the one
// before, as a varint.
type Ascending []byte

func ascending(list []int64) Ascending {
	b := make([]byte, 0, 2*len(list)+8)
	last := int64(0)
	for _, v := range list {
		b = binary.AppendUvarint(b, uint64(v-last))
		last = v
	}
	return b
}

var errDamaged = errors.New("a list of numbers is damaged")

// each calls fn for each number, until it has had enough.
func (a Ascending) each(fn func(v int64) bool) error {
	last := int64(0)
	for i := 0; i < len(a); {
		step, n := uint64(a[i]), 1
		if step >= 0x80 { // most are small
			if step, n = binary.Uvarint(a[i:]); n <= 0 {
				return errDamaged
			}
		}
		if i += n; last+int64(step) < last {
			return errDamaged
		}
		if last += int64(step); !fn(last) {
			break
		}
	}
	return nil
}

// placeSet is a set of places in a segment, a bit for each.
type placeSet []uint64

func (s placeSet) has(place int) bool {
	return place/64 < len(s) && s[place/64]&(1<<(place%64)) != 0
}

// mostPlaces is more than a segment has.
const mostPlaces = 1 << 20

// add adds places, and gives back the set, which may have moved.
func (s placeSet) add(places Ascending) (placeSet, error) {
	err := places.each(func(v int64) bool {
		if v >= mostPlaces {
			return false
		}
		for int(v/64) >= len(s) {
			s = append(s, make([]uint64, len(s)+64)...)
		}
		s[v/64] |= 1 << (v % 64)
		return true
	})
	return s, err
}

// keep leaves what is in another set as well, and says whether that is anything.
func (s placeSet) keep(other placeSet) (any bool) {
	for i := range s {
		if i >= len(other) {
			s[i] = 0
		} else {
			s[i] &= other[i]
		}
		any = any || s[i] != 0
	}
	return any
}

const (
	segmentRows = 16384
	indexStep   = 500
	markStep    = 500 // marks that are written in one transaction
	indexEvery  = 250 * time.Millisecond
)

// Kinds of marks.
const (
	markURL      = 'u'
	markOrigin   = 'o' // as a URLPrefix has it
	markHost     = 'h' // with the port, and without
	markPath     = 'p'
	markLabel    = 'l'
	markCaller   = 'c'
	markGroup    = 'g'
	markQueue    = 'q'
	markSchedule = 's'
	markFlow     = 'f'
	markState    = 'e' // of an event
	markStatus   = 'r' // of a response in the DLQ
	markMessage  = 'm' // in the DLQ: its key
	markRun      = 'w' // id; of a message, the run's key
	markRunURL   = 'v' // in the DLQ
	markOfRun    = 'k' // of a message that is; in the DLQ: whether it is a run's
)

// marker makes a tenant's marks. They are keyed, so that who reads the database
// learns nothing from them but which rows have a value in common.
type marker struct {
	mac hash.Hash
	sum [sha256.Size]byte

	// What was made before: values are few, as a rule.
	urls  map[string][]int64
	marks map[markOf]int64
}

type markOf struct {
	kind  byte
	value string
}

const markerMost = 4096 // values that are remembered

func newMarker(t *Tenant) *marker {
	return &marker{mac: hmac.New(sha256.New, t.Secrets.RedactKey), urls: map[string][]int64{}, marks: map[markOf]int64{}}
}

func (k *marker) mark(kind byte, value string) int64 {
	if mark, ok := k.marks[markOf{kind, value}]; ok {
		return mark
	}
	k.mac.Reset()
	k.mac.Write([]byte{'m', 'a', 'r', 'k', kind})
	k.mac.Write([]byte(value))
	mark := int64(binary.BigEndian.Uint64(k.mac.Sum(k.sum[:0])) >> 1)
	if len(k.marks) >= markerMost {
		clear(k.marks)
	}
	k.marks[markOf{kind, value}] = mark
	return mark
}

// add adds the mark of a value that is there.
func (k *marker) add(marks []int64, kind byte, value string) []int64 {
	if value == "" {
		return marks
	}
	return append(marks, k.mark(kind, value))
}

// ofURL is the marks of all that is asked of a URL.
func (k *marker) ofURL(raw string) []int64 {
	if marks, ok := k.urls[raw]; ok {
		return marks
	}
	marks := k.add(nil, markURL, raw)
	if u, err := url.Parse(raw); err == nil {
		marks = k.add(marks, markHost, u.Host)
		if name := u.Hostname(); name != u.Host {
			marks = k.add(marks, markHost, name)
		}
		marks = k.add(marks, markPath, pathOf(u))
	}
	if p, ok := parsePlace(raw); ok {
		marks = k.add(marks, markOrigin, p.origin)
	}
	if len(k.urls) >= markerMost {
		clear(k.urls)
	}
	k.urls[raw] = marks
	return marks
}

func (k *marker) ofMessage(m *Message) []int64 {
	s := &m.Settings
	marks := append(make([]int64, 0, 12), k.ofURL(m.URL)...)
	marks = k.add(marks, markCaller, m.CallerIP)
	marks = k.add(marks, markGroup, s.URLGroup)
	marks = k.add(marks, markQueue, s.Queue)
	marks = k.add(marks, markSchedule, s.ScheduleID)
	marks = k.add(marks, markFlow, s.flowKey())
	if m.Run != 0 {
		marks = k.add(marks, markOfRun, "true")
		marks = k.add(marks, markRun, strconv.FormatInt(m.Run, 10))
	}
	for _, label := range s.Labels {
		marks = k.add(marks, markLabel, label)
	}
	return marks
}

func (k *marker) ofSettlement(s *Settlement) (marks []int64) {
	for _, ev := range settlementEvents(nil, s) {
		marks = k.add(marks, markState, string(ev.State))
	}
	return marks
}

func (k *marker) ofEntry(d *DLQEntry, run *Run) (marks []int64) {
	marks = k.add(marks, markStatus, strconv.Itoa(d.Status))
	marks = k.add(marks, markMessage, strconv.FormatInt(d.Message, 10))
	marks = k.add(marks, markOfRun, strconv.FormatBool(run != nil))
	if run != nil {
		marks = k.add(marks, markRun, run.ID)
		marks = k.add(marks, markRunURL, run.URL)
	}
	return marks
}

func (k *marker) ofRun(r *Run) []int64 {
	marks := slices.Clone(k.ofURL(r.URL))
	marks = k.add(marks, markRun, r.ID)
	marks = k.add(marks, markCaller, r.CallerIP)
	marks = k.add(marks, markFlow, r.Settings.flowKey())
	for _, label := range r.Settings.Labels {
		marks = k.add(marks, markLabel, label)
	}
	return marks
}

// indexed is a row, and the marks it has.
type indexed struct {
	seq, tenant int64
	space       Space
	marks       []int64
}

// index knows what rows there are and how to find them. It follows what is
// committed at a small distance; what it does not know yet is read from the
// tables.
type index struct {
	state   atomic.Pointer[indexState]
	wake    chan struct{}
	segment int // rows that are written together
	step    int // rows of a table that are read at a time
	// indexLoop's:
	markers *markers
	recent  map[int64][]int64 // marks of messages, which settlements will want
}

// indexState never changes: another one takes its place. Rows up to base are in
// segments, those from there to through are the ones that will be next.
type indexState struct {
	base, through int64
	open          []indexed
}

func (ix *index) init(through int64, ms *markers) {
	ix.segment, ix.step = segmentRows, indexStep
	ix.markers, ix.recent = ms, map[int64][]int64{}
	ix.wake = make(chan struct{}, 1)
	ix.signal() // of what a former process has left
	ix.state.Store(&indexState{base: through, through: through})
}

// signal says that there are new rows.
func (ix *index) signal() {
	select {
	case ix.wake <- struct{}{}:
	default:
	}
}

// indexLoop follows what is committed.
func (e *Engine) indexLoop(ctx context.Context) {
	defer close(e.indexDone)
	var late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.index.wake:
			if behind := e.followIndex(ctx); behind > 0 {
				late = time.After(behind)
			}
		case <-late:
			e.followIndex(ctx)
		}
	}
}

// followIndex takes in what there is, and says how long it will be until all of
// that is complete.
func (e *Engine) followIndex(ctx context.Context) (behind time.Duration) {
	pause := indexEvery
	for more := true; more; {
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(pause):
		}
		began := time.Now()
		var err error
		more, behind, err = e.indexMore(ctx)
		if err != nil && ctx.Err() == nil {
			e.log.Error("index messages", "error", err)
		}
		pause = time.Since(began) // a long way to go leaves others room
	}
	return behind
}

// indexMore takes the next rows in, and says whether there are more.
func (e *Engine) indexMore(ctx context.Context) (more bool, behind time.Duration, err error) {
	old := e.index.state.Load()
	next := *old
	err = e.store.View(ctx, func(tx Tx) error {
		now := unixMillis(time.Now())
		p := Page{From: old.through + 1, To: tx.Complete(now), Limit: e.index.step}
		if p.To != maxSeq {
			behind = time.Duration(now-Millis(p.To)) * time.Millisecond
		}
		var rows []indexed
		rows, next.through, more, err = e.readIndexed(tx, p)
		next.open = append(old.open, rows...)
		return err
	})
	if err != nil {
		return false, 0, err
	}
	if len(next.open) >= e.index.segment {
		if err := e.writeSegments(ctx, &next); err != nil {
			return false, 0, fmt.Errorf("write segments: %w", err)
		}
	}
	e.index.state.Store(&next)
	return more, behind, nil
}

// writeSegments makes segments of what is open.
func (e *Engine) writeSegments(ctx context.Context, s *indexState) error {
	segments, through := segmentsOf(s.open), s.through
	for _, seg := range segments {
		for marks := range slices.Chunk(slices.Sorted(maps.Keys(seg.Places)), markStep) {
			if err := e.store.Update(ctx, func(tx Tx) error { return tx.PutMarks(seg, marks) }); err != nil {
				return err
			}
		}
	}
	err := e.store.Update(ctx, func(tx Tx) error {
		ok, err := tx.InsertSegments(segments, s.base, through)
		if err == nil && !ok {
			through, err = tx.IndexedThrough() // another node was faster
		}
		return err
	})
	if err == nil {
		*s = indexState{base: through, through: through}
	}
	return err
}

// readIndexed reads a page of rows. It is complete up to through.
func (e *Engine) readIndexed(tx Tx, p Page) (rows []indexed, through int64, more bool, err error) {
	r := newRowReader(tx, e.index.markers, p)
	if r.of = e.index.recent; len(r.of) > 2*e.index.segment {
		clear(r.of)
	}
	for _, space := range []Space{SpaceLog, SpaceDLQ, SpaceRuns} {
		if err := r.read(space); err != nil {
			return nil, 0, false, err
		}
	}
	rows, through, more = r.sorted(), p.From-1, r.more()
	if len(rows) > 0 {
		through = rows[len(rows)-1].seq
	}
	if more {
		through = r.end
	}
	return rows, through, more, nil
}

// markers are those of all tenants.
type markers struct {
	known   map[int64]*marker
	tenants *tenantCache
}

func (e *Engine) markers() *markers {
	return &markers{known: map[int64]*marker{}, tenants: &e.tenants}
}

// of is a tenant's; nil if there is no such tenant any more.
func (ms *markers) of(tx Tx, tenant int64) (*marker, error) {
	if k := ms.known[tenant]; k != nil {
		return k, nil
	}
	t := ms.tenants.get(tenant)
	if t == nil { // made by another node
		all, err := tx.Tenants()
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(t *Tenant) bool { return t.ID == tenant }); i >= 0 {
			t = all[i]
		}
	}
	if t == nil {
		return nil, nil
	}
	ms.known[tenant] = newMarker(t)
	return ms.known[tenant], nil
}

// rowReader reads rows with their marks. What it has read of all tables is
// complete up to end, in the page's direction.
type rowReader struct {
	tx      Tx
	markers *markers
	page    Page
	end     int64
	rows    []indexed
	of      map[int64][]int64 // marks of messages
}

func newRowReader(tx Tx, ms *markers, p Page) *rowReader {
	r := &rowReader{tx: tx, markers: ms, page: p, of: map[int64][]int64{}}
	if r.end = p.To - 1; p.Newest {
		r.end = p.From
	}
	return r
}

// more says whether the page has rows beyond what was read.
func (r *rowReader) more() bool {
	if r.page.Newest {
		return r.end > r.page.From
	}
	return r.end < r.page.To-1
}

func (r *rowReader) read(space Space) error {
	switch space {
	case SpaceLog:
		if err := r.readMessages(); err != nil {
			return err
		}
		return r.readSettlements()
	case SpaceDLQ:
		return r.readDLQ()
	}
	return r.readRuns()
}

func (r *rowReader) readMessages() error {
	rows, more, err := r.tx.ScanMessages(r.page)
	if err != nil {
		return err
	}
	for _, m := range rows {
		k, err := r.markers.of(r.tx, m.Tenant)
		if err != nil {
			return err
		}
		if k != nil {
			r.of[m.Seq] = k.ofMessage(m)
			r.add(SpaceLog, m.Seq, m.Tenant, append(slices.Clone(r.of[m.Seq]), k.mark(markState, string(EventCreated))))
		}
	}
	if more {
		r.ends(rows[len(rows)-1].Seq)
	}
	return nil
}

func (r *rowReader) readSettlements() error {
	rows, more, err := r.tx.ScanSettlements(r.page)
	if err != nil {
		return err
	}
	if err := attributes(r, rows, func(s *Settlement) int64 { return s.Message }); err != nil {
		return err
	}
	for _, s := range rows {
		k, err := r.markers.of(r.tx, s.Tenant)
		if err != nil {
			return err
		}
		if k != nil {
			r.add(SpaceLog, s.Seq, s.Tenant, append(k.ofSettlement(s), r.of[s.Message]...))
		}
	}
	if more {
		r.ends(rows[len(rows)-1].Seq)
	}
	return nil
}

func (r *rowReader) readDLQ() error {
	rows, more, err := r.tx.ScanDLQ(r.page)
	if err != nil {
		return err
	}
	if err := attributes(r, rows, func(d *DLQEntry) int64 { return d.Message }); err != nil {
		return err
	}
	for _, d := range rows {
		k, err := r.markers.of(r.tx, d.Tenant)
		if err != nil {
			return err
		}
		var run *Run
		if d.Run != 0 {
			if run, err = r.tx.Run(d.Run); err != nil {
				return err
			}
		}
		if k != nil {
			r.add(SpaceDLQ, d.Seq, d.Tenant, append(k.ofEntry(d, run), r.of[d.Message]...))
		}
	}
	if more {
		r.ends(rows[len(rows)-1].Seq)
	}
	return nil
}

func (r *rowReader) readRuns() error {
	rows, more, err := r.tx.ScanRuns(r.page)
	if err != nil {
		return err
	}
	for _, run := range rows {
		k, err := r.markers.of(r.tx, run.Tenant)
		if err != nil {
			return err
		}
		if k != nil {
			r.add(SpaceRuns, run.Seq, run.Tenant, k.ofRun(run))
		}
	}
	if more {
		r.ends(rows[len(rows)-1].Seq)
	}
	return nil
}

func (r *rowReader) add(space Space, seq, tenant int64, marks []int64) {
	r.rows = append(r.rows, indexed{seq, tenant, space, marks})
}

// ends takes up a table that has more rows behind its last one.
func (r *rowReader) ends(last int64) {
	if r.page.Newest {
		r.end = max(r.end, last)
	} else {
		r.end = min(r.end, last)
	}
}

// attributes reads the marks of rows' messages that are not known yet.
func attributes[T any](r *rowReader, rows []T, message func(T) int64) error {
	missing := map[int64]bool{}
	for _, row := range rows {
		if seq := message(row); r.of[seq] == nil {
			missing[seq] = true
		}
	}
	for seqs := range slices.Chunk(slices.Sorted(maps.Keys(missing)), fetchRows) {
		messages, err := r.tx.Messages(seqs)
		if err != nil {
			return err
		}
		for _, m := range messages {
			k, err := r.markers.of(r.tx, m.Tenant)
			if err != nil {
				return err
			}
			if k != nil {
				r.of[m.Seq] = k.ofMessage(m)
			}
		}
	}
	return nil
}

// sorted is what was read completely, in the order of the page.
func (r *rowReader) sorted() []indexed {
	rows := slices.DeleteFunc(r.rows, func(row indexed) bool {
		return r.page.Newest && row.seq < r.end || !r.page.Newest && row.seq > r.end
	})
	slices.SortFunc(rows, func(a, b indexed) int {
		if r.page.Newest {
			a, b = b, a
		}
		return cmp.Compare(a.seq, b.seq)
	})
	return rows
}

// segmentsOf are the segments that rows, in order, make up.
func segmentsOf(rows []indexed) (out []*Segment) {
	type owner struct {
		space  Space
		tenant int64
	}
	of := map[owner][]indexed{}
	for _, row := range rows {
		o := owner{row.space, row.tenant}
		of[o] = append(of[o], row)
	}
	for o, own := range of {
		out = append(out, segmentOf(o.space, o.tenant, own))
	}
	return out
}

func segmentOf(space Space, tenant int64, rows []indexed) *Segment {
	s := &Segment{Space: space, Tenant: tenant, First: rows[0].seq, Last: rows[len(rows)-1].seq, Places: map[int64]Ascending{}}
	seqs := make([]int64, len(rows))
	places := map[int64][]int64{}
	for i, row := range rows {
		seqs[i] = row.seq
		for _, mark := range row.marks {
			if of := places[mark]; len(of) == 0 || of[len(of)-1] != int64(i) {
				places[mark] = append(of, int64(i))
			}
		}
	}
	s.Seqs = ascending(seqs)
	for mark, of := range places {
		s.Places[mark] = ascending(of)
	}
	return s
}

// query is what to look for: rows that have, of each group, one of its marks.
type query struct {
	marker *marker
	groups [][]int64
}

func newQuery(who *Caller) *query {
	q := &query{marker: newMarker(who.Tenant)}
	if place, ok := parsePlace(string(who.Token.URLPrefix)); ok {
		q.want(markOrigin, place.origin)
	}
	return q
}

// want narrows the query to rows with one of some values; with none it stays as
// it is.
func (q *query) want(kind byte, values ...string) {
	if len(values) == 0 {
		return
	}
	group := make([]int64, len(values))
	for i, v := range values {
		group[i] = q.marker.mark(kind, v)
	}
	q.groups = append(q.groups, group)
}

func (q *query) wantMessage(f *MessageFilter) {
	q.want(markURL, f.URLs...)
	q.want(markLabel, f.Labels...)
	q.want(markSchedule, f.Schedules...)
	q.want(markFlow, f.FlowKeys...)
	q.want(markGroup, f.URLGroups...)
	q.want(markQueue, f.Queues...)
	q.want(markCaller, f.CallerIPs...)
	q.want(markPath, f.Paths...)
	q.want(markHost, f.Hosts...)
}

func (q *query) wantRun(f *RunFilter) {
	q.want(markURL, f.URLs...)
	q.want(markHost, f.Hosts...)
	q.want(markPath, f.Paths...)
	q.want(markLabel, f.Labels...)
	q.want(markFlow, f.FlowKeys...)
	q.want(markCaller, f.CallerIPs...)
	q.want(markRun, f.IDs...)
	ids := make([]string, len(f.IDsAt))
	for i, ref := range f.IDsAt {
		ids[i] = ref.ID
	}
	q.want(markRun, ids...)
}

func (q *query) matches(marks []int64) bool {
	for _, group := range q.groups {
		if !slices.ContainsFunc(group, func(m int64) bool { return slices.Contains(marks, m) }) {
			return false
		}
	}
	return true
}

// places are where in a segment such rows are; some says whether there are any.
// Without groups every row is one, and places is nil.
func (q *query) places(tx Tx, s *Segment) (places placeSet, some bool, err error) {
	for _, group := range q.groups {
		var of placeSet
		for _, mark := range group {
			list, err := tx.Places(s, mark)
			if err != nil {
				return nil, false, err
			}
			if of, err = of.add(list); err != nil {
				return nil, false, err
			}
		}
		if places == nil {
			places = of
		}
		if !places.keep(of) {
			return nil, false, nil
		}
	}
	return places, true, nil
}

// search goes through the keys of a tenant's rows in a space that a query
// selects, in order: through the rows that are not indexed, those that will be
// the next segment, and the segments.
type search struct {
	tx       Tx
	markers  *markers
	tenant   int64
	space    Space
	query    *query
	page     Page // what is left
	known    *indexState
	step     int
	among    func(from, to int64) ([]int64, error) // keys of a range, in order, that alone count; nil: all do
	found    []int64                               // and not given yet
	segments []*Segment                            // that come next
	before   int64                                 // newest first: those from here on are behind us; 0: none is
}

// search begins one. Take known before the transaction begins: what it has in
// segments is there then.
func (e *Engine) search(tx Tx, who *Caller, space Space, q *query, p Page, known *indexState) *search {
	return &search{tx: tx, markers: e.markers(), tenant: who.ID, space: space, query: q, page: p, known: known, step: min(e.index.step, searchStep)}
}

// next is some keys, in order. Before position, in the direction of the page,
// there is none left but them; at the end there are no more.
func (s *search) next(most int) (seqs []int64, position int64, end bool, err error) {
	if len(s.found) == 0 {
		if end, err = s.advance(); err != nil {
			return nil, 0, false, err
		}
	}
	if len(s.found) > most {
		seqs, s.found = s.found[:most], s.found[most:]
		return seqs, beyond(seqs[most-1], s.page.Newest), false, nil
	}
	seqs, s.found = s.found, nil
	return seqs, s.position(), end, nil
}

// beyond is the position behind a key.
func beyond(seq int64, newest bool) int64 {
	if newest {
		return seq - 1
	}
	return seq + 1
}

// position is where the page is to go on.
func (s *search) position() int64 {
	if s.page.Newest {
		return s.page.To - 1
	}
	return s.page.From
}

func (s *search) advance() (end bool, err error) {
	p, k := &s.page, s.known
	if p.From >= p.To {
		return true, nil
	}
	if p.Newest {
		switch {
		case p.To > k.through+1:
			return false, s.unindexed(Page{From: max(p.From, k.through+1), To: p.To, Newest: true})
		case p.To > k.base+1:
			s.open(max(p.From, k.base+1), p.To)
			return false, nil
		}
		return s.written()
	}
	switch {
	case p.From <= k.base:
		return s.written()
	case p.From <= k.through:
		s.open(p.From, min(p.To, k.through+1))
		return false, nil
	}
	return false, s.unindexed(Page{From: p.From, To: p.To})
}

// passed takes a range off the page that has been looked through.
func (s *search) passed(from, to int64) {
	if s.page.Newest {
		s.page.To = from
	} else {
		s.page.From = to
	}
}

func (s *search) unindexed(p Page) error {
	p.Limit = s.step
	r := newRowReader(s.tx, s.markers, p)
	if err := r.read(s.space); err != nil {
		return err
	}
	for _, row := range r.sorted() {
		if row.tenant == s.tenant && s.query.matches(row.marks) {
			s.found = append(s.found, row.seq)
		}
	}
	if p.Newest {
		s.passed(r.end, 0)
	} else {
		s.passed(0, r.end+1)
	}
	return nil
}

// open looks through the rows of the next segment that are in a range.
func (s *search) open(from, to int64) {
	at := func(seq int64) int {
		i, _ := slices.BinarySearchFunc(s.known.open, seq, func(row indexed, seq int64) int { return cmp.Compare(row.seq, seq) })
		return i
	}
	for _, row := range s.known.open[at(from):at(to)] {
		if row.space == s.space && row.tenant == s.tenant && s.query.matches(row.marks) {
			s.found = append(s.found, row.seq)
		}
	}
	if s.page.Newest {
		slices.Reverse(s.found)
	}
	s.passed(from, to)
}

// written looks through the next segment.
func (s *search) written() (end bool, err error) {
	p := &s.page
	seg, err := s.nextSegment()
	if err != nil {
		return false, err
	}
	if seg == nil || seg.Last < p.From || seg.First >= p.To {
		if p.Newest || p.To <= s.known.base+1 {
			return true, nil
		}
		s.passed(0, s.known.base+1)
		return false, nil
	}
	from, to := max(seg.First, p.From), min(seg.Last+1, p.To)
	defer func() { s.passed(from, to) }()
	var among []int64
	if s.among != nil {
		if among, err = s.among(from, to); err != nil || len(among) == 0 {
			return false, err
		}
	}
	places, some, err := s.query.places(s.tx, seg)
	if err != nil || !some {
		return false, err
	}
	seqs, err := s.tx.SegmentSeqs(seg)
	if err != nil {
		return false, err
	}
	place := -1
	err = seqs.each(func(seq int64) bool {
		place++
		if seq < from || places != nil && !places.has(place) {
			return true
		}
		if _, counts := slices.BinarySearch(among, seq); seq < to && (s.among == nil || counts) {
			s.found = append(s.found, seq)
		}
		return seq < to
	})
	if err != nil {
		return false, err
	}
	if p.Newest {
		slices.Reverse(s.found)
	}
	return false, nil
}

// nextSegment is the first one that may have rows of the page; nil at the end.
func (s *search) nextSegment() (_ *Segment, err error) {
	const many = 64
	if !s.page.Newest {
		if len(s.segments) == 0 {
			if s.segments, err = s.tx.NextSegments(s.space, s.tenant, s.page.From, false, many); err != nil {
				return nil, err
			}
		}
		seg := s.take()
		if seg != nil && seg.Last > s.known.base {
			seg = nil // written since
		}
		return seg, nil
	}
	if s.before == 0 {
		// The page may begin in the middle of one.
		s.before = s.page.To
		first, err := s.tx.NextSegments(s.space, s.tenant, s.page.To-1, false, 1)
		if err != nil {
			return nil, err
		}
		if len(first) > 0 && first[0].Last <= s.known.base && first[0].First < s.page.To {
			s.before = first[0].Last
			return first[0], nil
		}
	}
	if len(s.segments) == 0 {
		if s.segments, err = s.tx.NextSegments(s.space, s.tenant, s.before, true, many); err != nil {
			return nil, err
		}
	}
	seg := s.take()
	if seg != nil {
		s.before = seg.Last
	}
	return seg, nil
}

func (s *search) take() *Segment {
	if len(s.segments) == 0 {
		return nil
	}
	seg := s.segments[0]
	s.segments = s.segments[1:]
	return seg
}

const (
	fetchRows  = 32                    // rows with bodies that are read at a time
	listTime   = 50 * time.Millisecond // a list looks for more
	listLooks  = 8                     // and so often in any case
	searchStep = 200                   // rows that are not indexed are looked through at a time
)

// listing is a page of a list in the making. When its time is over, what there
// is goes out, with a cursor: a list answers at once, whatever it looks for.
type listing[T any] struct {
	rows  func() (rows []T, position int64, end bool, err error)
	take  func(T) (bool, error) // whether the filter selects it; may complete it
	bytes func(T) int
	count int
	hurry
	*Reading // nil: all there can be is little
}

// hurry is when a list is to answer what it has. Looks that find something are
// not hurried, as long as few were in vain: how much they do is bounded by the
// page, and on a busy machine, too, pages are to be whole.
type hurry struct {
	until time.Time
	looks int // that may be in vain
}

func (h *hurry) over(found bool) bool {
	if found && h.looks >= 0 {
		return false
	}
	h.looks--
	return h.looks < 0 && time.Now().After(h.until)
}

// read is the page, and where the next begins: at a row that had no room, or
// else at a position; 0 at the end.
func (l *listing[T]) read() (page []T, next *T, position int64, err error) {
	size := 0
	for {
		rows, position, end, err := l.rows()
		if err != nil {
			return nil, nil, 0, err
		}
		found := false
		for i := range rows {
			ok, err := l.take(rows[i])
			if err != nil {
				return nil, nil, 0, err
			}
			if !ok {
				continue
			}
			if len(page) > 0 && (len(page) == l.count || size > listBytes) {
				return page, &rows[i], 0, nil
			}
			page, found = append(page, rows[i]), true
			if l.bytes != nil {
				size += l.bytes(rows[i])
				if err := l.room(size); err != nil {
					return nil, nil, 0, err
				}
			}
		}
		switch {
		case end:
			return page, nil, 0, nil
		case l.over(found):
			return page, nil, position, nil
		}
	}
}

// byKey is the page, and the cursor of the next, where a key says where that
// begins.
func (l *listing[T]) byKey(key func(T) int64) (page []T, cursor string, err error) {
	page, next, position, err := l.read()
	if next != nil {
		position = key(*next)
	}
	if err != nil || position == 0 {
		return page, "", err
	}
	return page, DLQID(position), nil
}

// patience is what a list has that begins now.
func (e *Engine) patience() hurry { return hurry{time.Now().Add(e.listTime), e.listLooks} }
