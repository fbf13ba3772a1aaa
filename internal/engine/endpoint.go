package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/signposthq/signpost/internal/wire"
)

// Endpoint is a URL that deliveries went to, with what its receiver has told of
// the signing keys it holds. Keys are named by their ids.
type Endpoint struct {
	Tenant      int64
	URL         string // without user, query and fragment; an origin of very many paths is one, with the path "/*"
	SeenAt      int64  // when it last answered a signed request, Unix ms
	Echo        string // what it last told of its keys (wire.KeyEcho); "": it never did
	VerifiedKey string // the key it last verified a request with; "": it never said
	VerifiedAt  int64
	Awaited     string // the key that Streak and LackedAt are about: the one to come, then
	Streak      int    // answers in a row that held it, counted as far as it matters
	LackedAt    int64  // when an answer last lacked it; 0: none has
	Unverified  bool   // a probe found that it takes requests that anybody signed
}

// EndpointState is what is to be expected of an endpoint after a rotation.
type EndpointState string

// keyIDs are the ids of a pair of keys that sign at the same time.
type keyIDs struct{ secret, public string }

func (k keyIDs) has(id string) bool { return id != "" && (id == k.secret || id == k.public) }

const (
	EndpointReady      EndpointState = "ready"      // it accepts the next key
	EndpointLagging    EndpointState = "lagging"    // it would refuse the next key
	EndpointUnknown    EndpointState = "unknown"    // it never told which keys it holds
	EndpointUnverified EndpointState = "unverified" // it does not verify signatures
)

const (
	streakEnough   = 8               // answers in a row that held the next key make an endpoint ready
	lackedLongAgo  = 60 * 1000       // so does any, when none has lacked it for so long; ms
	rewriteAfter   = 60 * 1000       // an endpoint of which nothing but the time is new is written again after so long; ms
	endpointActive = 7 * 24 * 3600e3 // only endpoints seen within this time can hold up a rotation; ms
	endpointKept   = 30 * 24 * 3600e3
	endpointsMost  = 4096 // kept for each tenant
	pathsMost      = 64   // of one origin; when there are more, they hold ids, and the origin is one endpoint
)

// State is what to expect once the next keys sign. Behind one URL there
// may be many instances, of which some have the key and some do not: a single
// answer that held it proves little while others lack it.
func (ep *Endpoint) State(next keyIDs, now int64) EndpointState {
	switch {
	case ep.Unverified:
		return EndpointUnverified
	case ep.VerifiedKey == "":
		return EndpointUnknown
	case !next.has(ep.Awaited) || ep.Streak == 0:
		return EndpointLagging
	case ep.Streak >= streakEnough || now-ep.LackedAt >= lackedLongAgo:
		return EndpointReady
	}
	return EndpointLagging
}

// heard takes note of an answer that told which keys are held.
func (ep *Endpoint) heard(echo wire.KeyEcho, next string, now int64) {
	if ep.Awaited != next {
		// The answer before this one was given without the key, which was not
		// there yet, or not the next one.
		ep.Awaited, ep.Streak, ep.LackedAt = next, 0, ep.VerifiedAt
	}
	if echo.Holds(next) {
		ep.Streak = min(ep.Streak+1, streakEnough)
	} else {
		ep.Streak, ep.LackedAt = 0, now
	}
	keep(&ep.Echo, echo.String())
	keep(&ep.VerifiedKey, echo.Verified)
	ep.VerifiedAt, ep.Unverified = now, false
}

// keep copies a part of a longer text, if it is not there already.
func keep(into *string, text string) {
	if *into != text {
		*into = strings.Clone(text)
	}
}

// timeless is an endpoint without what changes with every answer.
func (ep Endpoint) timeless() Endpoint {
	ep.SeenAt, ep.VerifiedAt, ep.LackedAt = 0, 0, 0
	return ep
}

// endpointURL is a URL as endpoints are told apart. Nothing secret stays that
// belongs to no path.
func endpointURL(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		return scheme + "://" + rest[i+1:]
	}
	return url
}

// endpointBook is what is known of endpoints, in memory. Deliveries write into
// it; the store gets what is new from time to time: what is lost in a crash
// will be heard again.
type endpointBook struct {
	names KeyNamer // nil: nothing is kept

	mu      sync.Mutex
	ids     map[string]string // of keys and seeds
	tenants map[int64]map[string]*noted
	paths   map[site]int // how many endpoints an origin has
	changed []*noted     // to be written
	gone    []*Endpoint  // to be deleted
	news    chan struct{}
}

type site struct {
	tenant int64
	url    string
}

// noted is an endpoint in the book.
type noted struct {
	Endpoint
	wroteAt int64 // SeenAt as it was last written; 0: never
	changed bool  // in endpointBook.changed
	dropped bool
}

func (b *endpointBook) init(names KeyNamer, known []*Endpoint) {
	b.names = names
	b.ids = map[string]string{}
	b.tenants = map[int64]map[string]*noted{}
	b.paths = map[site]int{}
	b.news = make(chan struct{}, 1)
	for _, ep := range known {
		b.endpoint(ep.Tenant, ep.URL).Endpoint = *ep
		b.endpoint(ep.Tenant, ep.URL).wroteAt = ep.SeenAt
	}
}

const idsMost = 1024

// id is what name gives for a key or seed, which costs a hash the first time.
func (b *endpointBook) id(key string, name func(string) string) string {
	id, ok := b.ids[key]
	if !ok {
		if len(b.ids) >= idsMost {
			clear(b.ids)
		}
		id = name(key)
		b.ids[key] = id
	}
	return id
}

// keyID names a signing key, seedID the public key of a seed.
func (b *endpointBook) keyID(key string) string { return b.id(key, b.names.KeyID) }

func (b *endpointBook) seedID(seed []byte) string {
	return b.id(string(seed), func(string) string { return b.names.SeedID(seed) })
}

// answered takes note of what came back from a delivery. An endpoint's word on
// its keys counts if it names the one that the request was signed with: nobody
// can say that who does not hold it, or was never told. It says whether it did.
func (b *endpointBook) answered(t *Tenant, a *Attempt, o *Outcome) (told bool) {
	if b.names == nil || t == nil || a.Unsigned || a.Operators || o.Status == 0 {
		return false
	}
	echo, told := wire.ParseKeyEcho(o.Header[wire.HeaderSignatureKeys])
	b.mu.Lock()
	defer b.mu.Unlock()
	next := ""
	if told {
		next = b.awaited(t, a, echo.Verified)
	}
	if told = next != ""; !told && a.Kind == KindToCallback {
		return false // a third party
	}
	n := b.endpoint(t.ID, endpointURL(a.URL))
	before := n.Endpoint
	n.SeenAt = unixMillis(o.End)
	if told {
		n.heard(echo, next, n.SeenAt)
	}
	b.note(n, before)
	return told
}

// awaited is the key that whoever has verified an attempt with a key will need
// next; "" if the attempt was not signed with that key. The id of a public key is
// in the request, for whoever gets it to say: third parties are not believed.
func (b *endpointBook) awaited(t *Tenant, a *Attempt, verified string) string {
	switch {
	case verified == b.keyID(a.SigningKey):
		return b.keyID(t.NextKey)
	case a.Kind != KindToCallback && slices.Contains(a.SignWith, wire.SignEd25519) && verified == b.seedID(a.Seed):
		return b.seedID(t.Secrets.NextSeed)
	}
	return ""
}

// change notes what is learned of an endpoint otherwise.
func (b *endpointBook) change(t *Tenant, url string, now int64, learn func(*Endpoint)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.endpoint(t.ID, endpointURL(url))
	before := n.Endpoint
	n.SeenAt = now
	learn(&n.Endpoint)
	b.note(n, before)
}

// get is what is known of a URL.
func (b *endpointBook) get(tenant int64, url string) Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	url = endpointURL(url)
	if n := b.find(tenant, url); n != nil {
		return n.Endpoint
	}
	return Endpoint{Tenant: tenant, URL: url}
}

// note has an endpoint written if there is something new. One of which nothing
// is known but that it answers costs no row.
func (b *endpointBook) note(n *noted, before Endpoint) {
	if n.changed || n.VerifiedKey == "" && !n.Unverified || n.timeless() == before.timeless() && n.wroteAt != 0 && n.SeenAt-n.wroteAt < rewriteAfter {
		return
	}
	n.changed = true
	b.changed = append(b.changed, n)
	b.signal()
}

func (b *endpointBook) signal() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// endpoint is the one of this URL, a new one if need be.
func (b *endpointBook) endpoint(tenant int64, url string) *noted {
	if n := b.find(tenant, url); n != nil {
		return n
	}
	known := b.tenants[tenant]
	if known == nil {
		known = map[string]*noted{}
		b.tenants[tenant] = known
	}
	if len(known) >= endpointsMost {
		b.makeRoom(known)
	}
	n := &noted{Endpoint: Endpoint{Tenant: tenant, URL: strings.Clone(url)}}
	if b.paths[site{tenant, siteOf(n.URL)}] >= pathsMost {
		n.Endpoint = b.merge(known, siteOf(n.URL))
	}
	known[n.URL] = n
	b.paths[site{tenant, siteOf(n.URL)}]++
	return n
}

// find is the endpoint that a URL belongs to, nil if there is none.
func (b *endpointBook) find(tenant int64, url string) *noted {
	known := b.tenants[tenant]
	if n := known[url]; n != nil {
		return n
	}
	return known[siteOf(url)+anyPath]
}

const anyPath = "/*"

// siteOf is an endpoint's URL up to its path.
func siteOf(url string) string {
	start := strings.Index(url, "://") + len("://")
	if i := strings.IndexByte(url[start:], '/'); i >= 0 {
		return url[:start+i]
	}
	return url
}

// merge makes one endpoint of an origin's paths: it knows what the last of them
// to tell told. Else every id in a path would be an endpoint, seen once and
// never again, whose old keys hold up rotations.
func (b *endpointBook) merge(known map[string]*noted, of string) Endpoint {
	var paths []*noted
	for url, n := range known {
		if siteOf(url) == of {
			paths = append(paths, n)
		}
	}
	last := slices.MaxFunc(paths, func(x, y *noted) int {
		return cmp.Or(cmp.Compare(x.VerifiedAt, y.VerifiedAt), cmp.Compare(x.SeenAt, y.SeenAt))
	})
	for _, n := range paths {
		b.drop(known, n)
	}
	all := last.Endpoint
	all.URL = of + anyPath
	return all
}

// makeRoom drops an eighth of a tenant's endpoints: those that never told their
// keys, then others, least recently seen first.
func (b *endpointBook) makeRoom(known map[string]*noted) {
	all := slices.SortedFunc(maps.Values(known), func(x, y *noted) int {
		if xTold, yTold := x.VerifiedKey != "", y.VerifiedKey != ""; xTold != yTold {
			if yTold {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.SeenAt, y.SeenAt)
	})
	for _, n := range all[:endpointsMost/8] {
		b.drop(known, n)
	}
}

func (b *endpointBook) drop(known map[string]*noted, n *noted) {
	delete(known, n.URL)
	at := site{n.Tenant, siteOf(n.URL)}
	if b.paths[at]--; b.paths[at] <= 0 {
		delete(b.paths, at)
	}
	n.dropped = true
	if n.wroteAt != 0 {
		b.gone = append(b.gone, &Endpoint{Tenant: n.Tenant, URL: n.URL})
		b.signal()
	}
}

// forget drops what has not been seen since a time.
func (b *endpointBook) forget(before int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, known := range b.tenants {
		for _, n := range known {
			if n.SeenAt < before {
				b.drop(known, n)
			}
		}
	}
}

// of are a tenant's endpoints, by URL.
func (b *endpointBook) of(tenant int64) []Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.tenants[tenant]
	out := make([]Endpoint, 0, len(known))
	for _, url := range slices.Sorted(maps.Keys(known)) {
		out = append(out, known[url].Endpoint)
	}
	return out
}
