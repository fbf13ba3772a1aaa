package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// Publish is one message to accept.
type Publish struct {
	Destination string
	Config      wire.Config
	// Header is what Config was read from: the settings of a URL group are put
	// under it, and both are read anew. It holds no credentials of the request's
	// own, and need not be there for other destinations.
	Header     http.Header
	Body       []byte
	CallerIP   string
	ViaTrigger bool   // came through /v2/trigger: start a run
	Schedule   string // id of the schedule whose time it is; "": none

	limited bool // asked for with a token that is for some URLs only

	step    wire.Step // what Body says, once it was read
	stepErr error
	read    bool
}

// Published says what became of it.
type Published struct {
	MessageID    string
	URL          string
	Deduplicated bool // nothing new was made; MessageID is the earlier one
	RunID        string
	RunCreatedAt int64 // Unix ms
	// Endpoints are one for each endpoint of a URL group, in its order; then the
	// fields above are empty. Nil: the destination is no group.
	Endpoints []Published
	// Err is why this item of a batch was not accepted; nil: it was.
	Err *Error
	// ScheduleID is of the schedule that was made, and nothing else.
	ScheduleID string
}

// Publish accepts all items, in order, or none. When it returns nil they are
// on disk.
func (e *Engine) Publish(ctx context.Context, who *Caller, items []Publish) ([]Published, error) {
	return e.publish(ctx, who, items, func(*Publish, error) *Error { return nil })
}

// PublishBatch accepts items in order. What is wrong with an item by itself
// refuses them all. One that can't be accepted as things are is left out, and
// nothing of it is stored: its URL group is unknown, there is no room for its
// queue. What is of workflow runs is accepted or refused as a whole, as
// endpoints expect it; so is what is too much for a day.
func (e *Engine) PublishBatch(ctx context.Context, who *Caller, items []Publish) ([]Published, error) {
	return e.publish(ctx, who, items, func(p *Publish, err error) *Error {
		reason, ok := errors.AsType[*Error](err)
		if !ok || reason.Code == Internal || reason.Code == Limited || p.ofRun() {
			return nil
		}
		return reason
	})
}

// publish asks leave whether an item that was refused is left out, and why; nil:
// then nothing is accepted.
func (e *Engine) publish(ctx context.Context, who *Caller, items []Publish, leave func(*Publish, error) *Error) ([]Published, error) {
	for i := range items {
		e.litter.expect(2 * int64(len(items[i].Body))) // it was copied as it came, too
		err := items[i].checkSchedule()
		if err == nil {
			err = e.checkLimits(who, items[i].unscheduled())
		}
		if err == nil {
			err = who.checkReach(items[i].Destination, &items[i].Config)
		}
		if err != nil {
			return nil, ofItem(err, i, len(items))
		}
		if w := &items[i].Config.Workflow; w.RunID != "" && w.CallType == wire.CallStep {
			_, _ = items[i].readStep() // here, where nobody waits for it
		}
	}
	var out []Published
	err := e.update(ctx, func(c *change) error {
		out = make([]Published, 0, len(items))
		for i := range items {
			p, err := c.accept(who, &items[i])
			if err != nil {
				if p.Err = leave(&items[i], err); p.Err == nil {
					return ofItem(err, i, len(items))
				}
			}
			out = append(out, p)
		}
		return nil
	})
	if slices.ContainsFunc(out, func(p Published) bool { return p.ScheduleID != "" }) {
		e.rescheduled()
	}
	return out, err
}

// ofItem names the item of several that a refusal is about. A limit is that of
// the request.
func ofItem(err error, i, of int) error {
	if reason, refused := errors.AsType[*Error](err); refused && of > 1 && reason.Code != Limited {
		return errorf(reason.Code, "[%d]: %s", i, reason.Message)
	}
	return err
}

// unscheduled is what a schedule publishes, if that is what it asks for.
func (p *Publish) unscheduled() *Publish {
	if p.Config.Cron == "" {
		return p
	}
	each := *p
	each.Config.Cron, each.Config.ScheduleID = "", ""
	return &each
}

// accept makes what an item asks for: a schedule, or messages now.
func (c *change) accept(who *Caller, p *Publish) (Published, error) {
	if p.Config.Cron != "" {
		return c.putSchedule(who, p)
	}
	return c.publish(who, p)
}

func (e *Engine) checkLimits(who *Caller, p *Publish) *Error {
	l, cfg := e.limitsOf(who.Tenant), &p.Config
	if int64(len(p.Body)) > l.MaxBody {
		return errorf(TooLarge, "body: %d bytes, at most %d are accepted", len(p.Body), l.MaxBody)
	}
	if err := l.checkSettings(cfg, wire.PrefixUpstash); err != nil {
		return err
	}
	if p.Destination == wire.LLMDestination {
		if err := e.checkLLM(cfg); err != nil {
			return err
		}
	}
	if w := &cfg.Workflow; cfg.Hop > wire.MaxHops && (w.Init || w.RunID == "") {
		return errorf(Invalid, "%s: %s", wire.HeaderHop, loop(cfg.Hop))
	}
	if err := p.checkPlace(); err != nil {
		return err
	}
	if err := l.checkCallback(cfg.Callback, wire.PrefixCallback); err != nil {
		return err
	}
	return l.checkCallback(cfg.FailureCallback, wire.PrefixFailureCallback)
}

// checkCallback is for the settings of a callback, so that the outcome of a message
// is never lost to one that could not be made. Their names begin with a prefix.
func (l *Limits) checkCallback(cb *wire.Callback, prefix string) *Error {
	if cb == nil {
		return nil
	}
	cfg, err := wire.ParseConfig(cb.Header) // as it was parsed before
	if err != nil {
		return errorf(Invalid, "%s: %v", strings.TrimSuffix(prefix, "-"), err)
	}
	if err := l.checkSettings(&cfg, prefix); err != nil {
		return err
	}
	return l.checkCallback(cfg.FailureCallback, prefix+strings.TrimPrefix(wire.PrefixFailureCallback, wire.PrefixUpstash))
}

// checkPlace refuses settings that mean nothing where they stand: ignored, they
// would do something else than what was asked.
func (p *Publish) checkPlace() *Error {
	cfg := &p.Config
	for name, value := range map[string]string{wire.HeaderCron: cfg.Cron, wire.HeaderScheduleID: cfg.ScheduleID} {
		if value != "" {
			return errorf(Invalid, "%s: expected at /v2/schedules only", name)
		}
	}
	if !p.ofRun() {
		return nil
	}
	if cfg.Queue != "" {
		return errorf(Invalid, "%s: messages of workflow runs go through no queue", wire.HeaderQueueName)
	}
	if !wire.IsURL(p.Destination) {
		code := Invalid
		if w := &cfg.Workflow; !w.Init || w.Invoke {
			code = Precondition // a step of a run asks for it
		}
		return errorf(code, "destination: expected the URL of a workflow, got %s", p.Destination)
	}
	return nil
}

// checkSettings refuses more retries than are allowed, and what would be delivered
// too far ahead. The names of the headers begin with a prefix.
func (l *Limits) checkSettings(cfg *wire.Config, prefix string) *Error {
	name := func(header string) string { return prefix + strings.TrimPrefix(header, wire.PrefixUpstash) }
	switch {
	case cfg.Retries != nil && *cfg.Retries > l.MaxRetries:
		return errorf(Precondition, "%s: %d, at most %d are allowed", name(wire.HeaderRetries), *cfg.Retries, l.MaxRetries)
	case cfg.Delay > l.MaxDelay:
		return errorf(Precondition, "%s: %v, at most %v is allowed", name(wire.HeaderDelay), cfg.Delay, l.MaxDelay)
	case cfg.NotBefore > unixMillis(time.Now().Add(l.MaxDelay)):
		return errorf(Precondition, "%s: more than %v ahead", name(wire.HeaderNotBefore), l.MaxDelay)
	}
	return nil
}

// publishTo is publish for whoever needs no more than the messages: one, or one
// for each endpoint of a URL group. p has passed checkLimits. Whoever calls it
// several times in a change makes as many requests.
func (c *change) publishTo(who *Caller, p *Publish) ([]Published, error) {
	c.copied = 0
	out, err := c.publish(who, p)
	if err != nil || out.Endpoints != nil {
		return out.Endpoints, err
	}
	return []Published{out}, nil
}

func (c *change) publish(who *Caller, p *Publish) (Published, error) {
	p.limited = who.limited()
	switch w := &p.Config.Workflow; {
	case w.Init || p.ViaTrigger:
		return c.startRun(who, p)
	case w.RunID != "":
		return c.appendToRun(who, p)
	case wire.IsURL(p.Destination) || p.Destination == wire.LLMDestination:
		return c.send(who, p, nil)
	}
	return c.fanOut(who, p)
}

// ofRun says whether it starts a workflow run, or belongs to one.
func (p *Publish) ofRun() bool {
	return p.ViaTrigger || p.Config.Workflow.Init || p.Config.Workflow.RunID != ""
}

// send makes a plain message to an endpoint of the group that p is for, or,
// without one, to p's destination itself; unless one like it was accepted
// before. Whatever refuses it, does so before anything is written.
func (c *change) send(who *Caller, p *Publish, ep *GroupEndpoint) (Published, error) {
	out := Published{URL: p.Destination}
	switch {
	case ep != nil:
		out.URL = ep.URL
	case p.Destination == wire.LLMDestination:
		out.URL = "" // of which nobody is told
	}
	hash := deduplicationHash(p, ep, who.Token.URLPrefix)
	if again, err := c.duplicate(who, hash, &out); again || err != nil {
		return out, err
	}
	if name := p.Config.Queue; name != "" {
		if _, err := c.queueNamed(who.ID, name); err != nil {
			return Published{}, err
		}
	}
	if err := c.spend(who.ID, 1); err != nil {
		return Published{}, err
	}
	m := c.newMessage(who.Tenant, p, KindPlain)
	if ep != nil {
		m.URL, m.Settings.URLGroup, m.Settings.Endpoint = ep.URL, p.Destination, ep.Name
	}
	c.insert(m)
	out.MessageID = m.String()
	return out, c.remember(who, hash, m)
}

// duplicate says whether a message with the deduplication hash was accepted
// before, and answers with that one if so. Without a hash none was.
func (c *change) duplicate(who *Caller, hash []byte, out *Published) (bool, error) {
	if hash == nil {
		return false, nil
	}
	first, err := c.tx.Deduplication(who.ID, hash, c.now)
	if err != nil || first == (Key{}) {
		return false, err
	}
	out.MessageID, out.Deduplicated = first.String(), true
	return true, nil
}

// remember holds the deduplication hash for m.
func (c *change) remember(who *Caller, hash []byte, m *Message) error {
	if hash == nil {
		return nil
	}
	expires := c.now + c.e.limits.DedupWindow.Milliseconds()
	return c.tx.PutDeduplication(who.ID, hash, m.Key, c.now, expires)
}

// newMessage makes the message a publish asks for.
func (c *change) newMessage(t *Tenant, p *Publish, kind Kind) *Message {
	cfg := &p.Config
	m := &Message{
		Key: c.key(), Tenant: t.ID, State: Pending, Kind: kind, LogIndex: -1,
		MaxRetries: c.e.DefaultRetries(t.ID), Method: cfg.Method, URL: p.Destination,
		CallerIP: p.CallerIP, Header: cfg.Header, Body: p.Body,
		Settings: Settings{
			RetryDelay: cfg.RetryDelay, Timeout: cfg.Timeout, Labels: cfg.Labels, SignWith: cfg.SignWith,
			Callback: cfg.Callback, FailureCallback: cfg.FailureCallback,
			Hop: cfg.Hop, Redact: cfg.Redact, FlowControl: cfg.FlowControl,
			ScheduleID: p.Schedule, Limited: p.limited,
		},
	}
	if kind == KindPlain {
		m.Settings.Queue = cfg.Queue
	}
	if cfg.Retries != nil {
		m.MaxRetries = *cfg.Retries
	}
	m.NotBefore = firstDue(Millis(m.Seq), cfg)
	m.Due = m.NotBefore
	return m
}

// firstDue: an absolute time wins over a delay; one that has passed means now.
func firstDue(now int64, cfg *wire.Config) int64 {
	if cfg.NotBefore != 0 {
		return max(now, cfg.NotBefore)
	}
	return now + cfg.Delay.Milliseconds()
}

// deduplicationHash identifies what a publish must not be accepted twice as;
// nil when it may. An explicit id wins over the content. For each endpoint of a
// group that is asked anew. What tokens with a prefix publish is compared with
// itself alone: they must neither learn of other messages nor take their place.
func deduplicationHash(p *Publish, ep *GroupEndpoint, prefix URLPrefix) []byte {
	cfg := &p.Config
	h := sha256.New()
	switch {
	case cfg.DeduplicationID != "":
		hashFields(h, "id", cfg.DeduplicationID)
	case cfg.ContentDedup:
		hashFields(h, "content", p.Destination, string(p.Body))
		for _, name := range slices.Sorted(maps.Keys(cfg.Header)) {
			hashFields(h, append([]string{name}, cfg.Header[name]...)...)
		}
	default:
		return nil
	}
	if ep != nil {
		hashFields(h, "endpoint", ep.URL)
	}
	if prefix != "" {
		hashFields(h, "prefix", string(prefix))
	}
	return h.Sum(nil)
}

// hashFields writes each field with its length, so that no two lists of
// fields hash alike.
func hashFields(h hash.Hash, fields ...string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(fields)))
	h.Write(n[:])
	for _, f := range fields {
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write([]byte(f))
	}
}
