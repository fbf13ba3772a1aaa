package client

import (
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// Filter picks messages by what they are. Within a field any of the values may
// match; every field that is set must. The zero Filter picks all.
type Filter struct {
	URLs            []string // destinations, in full
	Hosts           []string // hosts of the destinations; not for the DLQ
	Paths           []string // paths of the destinations; not for the DLQ
	URLGroups       []string
	QueueNames      []string
	ScheduleIDs     []string
	Labels          []string
	FlowControlKeys []string
	CallerIPs       []string
	From            time.Time // inclusive, to the millisecond; zero: no bound
	To              time.Time // inclusive, to the millisecond; zero: no bound
}

// Order is the order of a list.
type Order string

const (
	OldestFirst Order = "earliestFirst" // by when it came to be
	NewestFirst Order = "latestFirst"   // by when it came to be
)

func (f Filter) query() *query {
	q := newQuery()
	q.add("url", f.URLs...)
	q.add("host", f.Hosts...)
	q.add("path", f.Paths...)
	q.add("topicName", f.URLGroups...)
	q.add("queueName", f.QueueNames...)
	q.add("scheduleId", f.ScheduleIDs...)
	q.add("label", f.Labels...)
	q.add("flowControlKey", f.FlowControlKeys...)
	q.add("callerIp", f.CallerIPs...)
	q.addTime("fromDate", f.From)
	q.addTime("toDate", f.To)
	return q
}

// query collects parameters and the first thing wrong with one.
type query struct {
	url.Values
	err error
}

func newQuery() *query { return &query{Values: url.Values{}} }

// maxIDs is how many ids go in one query, so that it stays within what proxies
// accept, and the page of a bulk call.
const maxIDs = 100

// checkSelection refuses, of a call that changes what it selects, a selection
// that is not exactly one of ids, the filter in q, and everything.
func (q *query) checkSelection(ids []string, all bool) error {
	if q.err != nil {
		return q.err
	}
	given := 0
	for _, is := range []bool{ids != nil, len(q.Values) > 0, all} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("want exactly one of ids, a filter and all")
	}
	return nil
}

// add refuses empty values: a server reads one as no filter at all, and what
// was meant for nothing would be done to everything.
func (q *query) add(key string, values ...string) {
	for _, v := range values {
		if v == "" && q.err == nil {
			q.err = fmt.Errorf("parameter %s: empty value", key)
		}
		q.Values.Add(key, v)
	}
}

func (q *query) addTime(key string, t time.Time) {
	if !t.IsZero() {
		q.add(key, strconv.FormatInt(t.UnixMilli(), 10))
	}
}

// addPage adds what has a default, and does not select.
func (q *query) addPage(cursor string, count int, order Order) {
	if cursor != "" {
		q.add("cursor", cursor)
	}
	if count > 0 {
		q.add("count", strconv.Itoa(count))
	}
	if order != "" {
		q.add("order", string(order))
	}
}

// pages walks all pages from the one at cursor on.
func pages[T any](cursor string, fetch func(cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for at := cursor; ; {
			items, next, err := fetch(at)
			if err == nil && next != "" && next == at {
				err = fmt.Errorf("list next page: server repeats cursor %q", next)
			}
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			at = next
		}
	}
}
