package engine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/signposthq/signpost/internal/wire"
)

// find is where the endpoint of a name stands, and that of a URL; -1: nowhere.
func (g *URLGroup) find(ep GroupEndpoint) (named, at int) {
	named = slices.IndexFunc(g.Endpoints, func(has GroupEndpoint) bool { return ep.Name != "" && has.Name == ep.Name })
	return named, slices.IndexFunc(g.Endpoints, func(has GroupEndpoint) bool { return has.URL == ep.URL })
}

// put adds an endpoint, or changes the one it is: that of its name, else that
// of its URL. Who had the URL of a name that moves there makes room for it, so
// that nothing is sent to a URL twice.
func (g *URLGroup) put(ep GroupEndpoint) {
	named, at := g.find(ep)
	switch {
	case named < 0 && at < 0:
		g.Endpoints = append(g.Endpoints, ep)
	case named < 0:
		if ep.Name != "" {
			g.Endpoints[at].Name = ep.Name
		}
	case named != at:
		if g.Endpoints[named].URL = ep.URL; at >= 0 {
			g.Endpoints = slices.Delete(g.Endpoints, at, at+1)
		}
	}
}

// remove takes out the endpoint of a name, or, if nothing is called that, of a
// URL.
func (g *URLGroup) remove(ep GroupEndpoint) {
	named, at := g.find(ep)
	if named >= 0 {
		at = named
	}
	if at >= 0 {
		g.Endpoints = slices.Delete(g.Endpoints, at, at+1)
	}
}

// reachesGroup says whether the caller's token is for every endpoint of a group.
// To others a group is nothing to see, to use or to change.
func (who *Caller) reachesGroup(g *URLGroup) bool {
	return !slices.ContainsFunc(g.Endpoints, func(ep GroupEndpoint) bool { return !who.reaches(ep.URL) })
}

func (who *Caller) mustReachGroup(g *URLGroup) error {
	if !who.reachesGroup(g) {
		return errorf(Forbidden, "forbidden: topic %s: not all of its endpoints have URLs that begin with %s, which the token is for",
			g.Name, who.Token.URLPrefix)
	}
	return nil
}

// narrow keeps the group within what the caller's token is for, as the caller
// has a say in it: whoever adds an endpoint later may not know that.
func (g *URLGroup) narrow(who *Caller) {
	if p := who.Token.URLPrefix; g.Prefix.Covers(string(p)) {
		g.Prefix = p
	}
}

func groupNotFound(name string) error { return errorf(NotFound, "topic %.100s not found", name) }

// lockGroup is a group that the caller may change; nil if there is none.
func (c *change) lockGroup(who *Caller, name string) (*URLGroup, error) {
	g, err := c.tx.LockURLGroup(who.ID, name)
	if err != nil {
		return nil, fmt.Errorf("lock URL group: %w", err)
	}
	if g == nil {
		return nil, nil
	}
	return g, who.mustReachGroup(g)
}

// newGroup makes a group, unless another request just did.
func (c *change) newGroup(who *Caller, name string) (*URLGroup, error) {
	// Locked, so that two that are made together don't both find room.
	t, err := c.lockTenant(who.ID)
	if err != nil {
		return nil, err
	}
	if g, err := c.lockGroup(who, name); err != nil || g != nil {
		return g, err
	}
	n, err := c.tx.CountURLGroups(who.ID)
	if err != nil {
		return nil, fmt.Errorf("count URL groups: %w", err)
	}
	if most := c.e.limitsOf(t).MaxURLGroups; n >= most {
		return nil, errorf(Precondition, "topic %s: there are %d URL groups, the most that are allowed", name, n)
	}
	g := &URLGroup{Seq: c.seq(), Tenant: who.ID, Name: name, UpdatedAt: c.now}
	if err := c.tx.InsertURLGroup(g); err != nil {
		return nil, fmt.Errorf("insert URL group: %w", err)
	}
	return g, nil
}

// groupState is what the audit log says of a group.
type groupState struct {
	Endpoints []GroupEndpoint `json:"endpoints"`
	Headers   []string        `json:"headers,omitempty"` // names
	URLPrefix URLPrefix       `json:"urlPrefix,omitempty"`
}

func auditedGroup(g *URLGroup) *groupState {
	if len(g.Endpoints) == 0 {
		return nil // it is new, or gone
	}
	return &groupState{slices.Clone(g.Endpoints), slices.Sorted(maps.Keys(g.Header)), g.Prefix}
}

// AddToGroup adds endpoints to a group, or changes those that are there. The
// group is made if there is none.
func (e *Engine) AddToGroup(ctx context.Context, who *Caller, name string, endpoints []GroupEndpoint) error {
	if err := wire.CheckName(name); err != nil {
		return wire.Within("name", err)
	}
	for i, ep := range endpoints {
		at := fmt.Sprintf("endpoints[%d]", i)
		if err := wire.CheckURL(ep.URL); err != nil {
			return wire.Within(at+".url", err)
		}
		if !who.reaches(ep.URL) {
			return errorf(Forbidden, "forbidden: %s.url: the token is for URLs that begin with %s", at, who.Token.URLPrefix)
		}
		if ep.Name != "" {
			if err := wire.CheckEndpointName(ep.Name); err != nil {
				return wire.Within(at+".name", err)
			}
		}
	}
	if len(endpoints) == 0 {
		return errorf(Invalid, "endpoints: expected at least one")
	}
	return e.update(ctx, func(c *change) error {
		g, err := c.lockGroup(who, name)
		if err == nil && g == nil {
			g, err = c.newGroup(who, name)
		}
		if err != nil {
			return err
		}
		before := auditedGroup(g)
		for i, ep := range endpoints {
			if !g.Prefix.Covers(ep.URL) {
				return errorf(Conflict, "endpoints[%d].url: topic %s was made or changed with a token for URLs that begin with %s; to have others, its headers must first be set with a token that is for those, too",
					i, name, g.Prefix)
			}
			g.put(ep)
		}
		g.narrow(who)
		if n, most := len(g.Endpoints), e.limitsOf(who.Tenant).MaxEndpoints; n > most {
			return errorf(Precondition, "endpoints: topic %s would have %d, at most %d are allowed", name, n, most)
		}
		return c.writeGroup(who, g, before)
	})
}

// RemoveFromGroup takes endpoints out of a group, each by its name or its URL;
// those that are not in it are none to take out. With the last one the group
// goes.
func (e *Engine) RemoveFromGroup(ctx context.Context, who *Caller, name string, endpoints []GroupEndpoint) error {
	for i, ep := range endpoints {
		if ep == (GroupEndpoint{}) {
			return errorf(Invalid, "endpoints[%d]: expected a name or a url", i)
		}
	}
	if len(endpoints) == 0 {
		return errorf(Invalid, "endpoints: expected at least one")
	}
	return e.update(ctx, func(c *change) error {
		g, err := c.lockGroup(who, name)
		if err == nil && g == nil {
			err = groupNotFound(name)
		}
		if err != nil {
			return err
		}
		before := auditedGroup(g)
		for _, ep := range endpoints {
			g.remove(ep)
		}
		if len(g.Endpoints) == 0 {
			return c.deleteGroup(who, g, before)
		}
		return c.writeGroup(who, g, before)
	})
}

// writeGroup writes what has become of a group, if that is something else.
func (c *change) writeGroup(who *Caller, g *URLGroup, before *groupState) error {
	after := auditedGroup(g)
	if before != nil && slices.Equal(before.Endpoints, after.Endpoints) {
		return nil
	}
	return c.updateGroup(who, g, before)
}

func (c *change) updateGroup(who *Caller, g *URLGroup, before *groupState) error {
	g.UpdatedAt = c.now
	if err := c.tx.UpdateURLGroup(g); err != nil {
		return fmt.Errorf("update URL group: %w", err)
	}
	return c.auditGroup(who, "group.change", g.Name, before, auditedGroup(g))
}

func (c *change) deleteGroup(who *Caller, g *URLGroup, before *groupState) error {
	if err := c.tx.DeleteURLGroup(g.Seq); err != nil {
		return fmt.Errorf("delete URL group: %w", err)
	}
	return c.auditGroup(who, "group.delete", g.Name, before, nil)
}

func (c *change) auditGroup(who *Caller, action, name string, before, after *groupState) error {
	state := func(s *groupState) any {
		if s == nil {
			return nil
		}
		return s
	}
	return c.audit(who, action, name, state(before), state(after))
}

// SetGroupHeader has settings hold for what is published to a group, in the
// place of those that did. cfg is what they say. Who sets them answers for the
// group as it is: it may go wherever the caller's token reaches.
func (e *Engine) SetGroupHeader(ctx context.Context, who *Caller, name string, h http.Header, cfg wire.Config) error {
	if err := e.checkLimits(who, &Publish{Config: cfg}); err != nil {
		return errorf(err.Code, "headers.%s", err.Message)
	}
	if err := who.checkReach("", &cfg); err != nil {
		return err
	}
	return e.update(ctx, func(c *change) error {
		g, err := c.lockGroup(who, name)
		if err == nil && g == nil {
			err = groupNotFound(name)
		}
		if err != nil || sameHeader(g.Header, h) && g.Prefix.Covers(string(who.Token.URLPrefix)) {
			return err
		}
		before := auditedGroup(g)
		g.Header, g.Prefix = h, who.Token.URLPrefix
		return c.updateGroup(who, g, before)
	})
}

func sameHeader(a, b http.Header) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }

// DeleteURLGroup deletes a group, if there is one. What was published to it is
// delivered all the same.
func (e *Engine) DeleteURLGroup(ctx context.Context, who *Caller, name string) error {
	return e.update(ctx, func(c *change) error {
		g, err := c.lockGroup(who, name)
		if err != nil || g == nil {
			return err
		}
		return c.deleteGroup(who, g, auditedGroup(g))
	})
}

// URLGroups are those of a tenant that the caller sees, by name.
func (e *Engine) URLGroups(ctx context.Context, who *Caller) (all []*URLGroup, err error) {
	err = e.store.View(ctx, func(tx Tx) error {
		rows, err := tx.URLGroups(who.ID)
		all = slices.DeleteFunc(rows, func(g *URLGroup) bool { return !who.reachesGroup(g) })
		return err
	})
	return all, err
}

// URLGroup is the one of a name.
func (e *Engine) URLGroup(ctx context.Context, who *Caller, name string) (g *URLGroup, err error) {
	err = e.store.View(ctx, func(tx Tx) (err error) {
		if g, err = tx.URLGroup(who.ID, name); err == nil && (g == nil || !who.reachesGroup(g)) {
			err = groupNotFound(name)
		}
		return err
	})
	return g, err
}

// fanOut makes a message for each endpoint of the group that p is for.
func (c *change) fanOut(who *Caller, p *Publish) (Published, error) {
	g, err := c.tx.URLGroup(who.ID, p.Destination)
	if err != nil {
		return Published{}, fmt.Errorf("read URL group: %w", err)
	}
	if g == nil {
		return Published{}, groupNotFound(p.Destination)
	}
	if err := who.mustReachGroup(g); err != nil {
		return Published{}, err
	}
	if p, err = c.underGroup(who, p, g); err != nil {
		return Published{}, err
	}
	if err := c.copies(who, p, len(g.Endpoints)); err != nil {
		return Published{}, err
	}
	out := Published{Endpoints: make([]Published, len(g.Endpoints))}
	for i := range g.Endpoints {
		if out.Endpoints[i], err = c.send(who, p, &g.Endpoints[i]); err != nil {
			return Published{}, err
		}
	}
	return out, nil
}

// underGroup is p with the group's settings for what it does not set itself.
// What came another way than in a header holds as it is.
func (c *change) underGroup(who *Caller, p *Publish, g *URLGroup) (*Publish, error) {
	if len(g.Header) == 0 {
		return p, nil
	}
	merged := *p
	merged.Header = wire.MergeSettings(p.Header, g.Header)
	cfg, err := wire.ParseConfig(merged.Header)
	if err != nil {
		return nil, errorf(Invalid, "with the settings of topic %s: %v", g.Name, err)
	}
	own := &p.Config
	cfg.Cron, cfg.ScheduleID, cfg.Workflow, cfg.Hop = "", "", own.Workflow, own.Hop
	override(&cfg.Queue, own.Queue)
	merged.Config = cfg
	if err := c.e.checkLimits(who, &merged); err != nil {
		return nil, err
	}
	if err := who.checkReach("", &cfg); err != nil {
		return nil, err
	}
	merged.Config.Cron, merged.Config.ScheduleID = own.Cron, own.ScheduleID
	return &merged, nil
}

// copyCost is what a message takes beside what it carries, about.
const copyCost = 1 << 10

// One request may have so many of the largest bodies stored in copies for
// endpoints, and so many bytes where bodies have to be small.
const (
	copiedBodies = 10
	copiedLeast  = 10 << 20
)

// copies counts what is stored for the endpoints of groups: a small request
// must not fill the disk by way of large groups.
func (c *change) copies(who *Caller, p *Publish, n int) error {
	most := max(copiedLeast, copiedBodies*c.e.limitsOf(who.Tenant).MaxBody)
	all := c.copied + int64(n)*int64(len(p.Body)+wire.HeaderSize(p.Header)+copyCost)
	if n > 1 && all > most {
		return errorf(TooLarge, "body: with a copy for each of %d endpoints the request takes more than %d bytes", n, most)
	}
	c.copied = all
	return nil
}
