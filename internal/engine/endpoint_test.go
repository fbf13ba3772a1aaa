package engine

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/signposthq/signpost/internal/wire"
)

// plainNames names keys by themselves.
type plainNames struct{}

func (plainNames) KeyID(key string) string     { return key }
func (plainNames) SeedID(seed []byte) string   { return string(seed) }
func (plainNames) JWKS(seeds ...[]byte) []byte { return nil }

func newBook() (*endpointBook, *Tenant) {
	b := &endpointBook{}
	b.init(plainNames{}, nil)
	return b, &Tenant{ID: 1, CurrentKey: "a", NextKey: "b"}
}

// hear is an answer of an endpoint, with an echo if there is one.
func (b *endpointBook) hear(t *Tenant, url, echo string, at time.Time) {
	o := Outcome{Status: 200, End: at, Header: http.Header{}}
	if echo != "" {
		o.Header[wire.HeaderSignatureKeys] = []string{echo}
	}
	b.answered(t, &Attempt{URL: url, SigningKey: t.CurrentKey, Kind: KindPlain}, &o)
}

func TestEndpointURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/hook":                     "https://example.com/hook",
		"https://example.com/hook?token=x":             "https://example.com/hook",
		"https://example.com/hook#part":                "https://example.com/hook",
		"https://example.com":                          "https://example.com",
		"https://example.com?x=https://a@b/":           "https://example.com",
		"http://user:pass@example.com:8080/a@b?c":      "http://example.com:8080/a@b",
		"http://a@b@example.com":                       "http://example.com",
		"http://[::1]:80/x":                            "http://[::1]:80/x",
		"https://example.com/a/user:pass@example.com/": "https://example.com/a/user:pass@example.com/",
	} {
		if got := endpointURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// What says nothing new is written once a minute, and costs no memory.
func TestSteadyEndpointsCostNothing(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	const url, echo = "https://example.com/hook?id=7", "verified=a; current=a; next=b"
	writes := 0
	for range 1000 {
		b.hear(tenant, url, echo, at)
		put, _ := b.take(10)
		writes += len(put)
		at = at.Add(time.Second)
	}
	if most := streakEnough + 1000/60 + 1; writes > most {
		t.Errorf("%d writes, want %d at most", writes, most)
	}
	attempt := &Attempt{URL: url, SigningKey: "a", Kind: KindPlain}
	o := &Outcome{Status: 200, End: at, Header: http.Header{wire.HeaderSignatureKeys: {echo}}}
	if n := testing.AllocsPerRun(100, func() { b.answered(tenant, attempt, o) }); n > 0 {
		t.Errorf("%v allocations for each answer", n)
	}
}

// However many URLs are delivered to, a bounded number is kept: first of all
// those that told of their keys, then those seen last. Only the former are
// written down.
func TestEndpointsAreBounded(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	for i := range 10 {
		b.hear(tenant, fmt.Sprintf("https://told.example/%d", i), "verified=a; current=a", at)
	}
	other := &Tenant{ID: 2, CurrentKey: "a", NextKey: "b"}
	b.hear(other, "https://other.example/", "", at)
	if put, _ := b.take(20); len(put) != 10 {
		t.Errorf("%d rows to write, want the 10 that told", len(put))
	}
	url := func(i int) string { return fmt.Sprintf("https://%d.example/", i) }
	for i := range 3 * endpointsMost {
		b.hear(tenant, url(i), "", at.Add(time.Duration(i+1)*time.Millisecond))
	}
	told, last := 0, false
	all := b.of(tenant.ID)
	for _, ep := range all {
		if ep.VerifiedKey != "" {
			told++
		}
		last = last || ep.URL == url(3*endpointsMost-1)
	}
	if len(all) > endpointsMost || len(all) < endpointsMost*7/8 || told != 10 || !last {
		t.Errorf("%d endpoints, %d of them told, the last among them: %v", len(all), told, last)
	}
	if len(b.of(other.ID)) != 1 || len(b.paths) != len(all)-10+2 {
		t.Errorf("one tenant's endpoints drove out another's, or %d sites are counted", len(b.paths))
	}
	if put, gone := b.take(1); len(put)+len(gone) > 0 {
		t.Error("endpoints that told nothing are written down")
	}
}

func TestEndpointsAreForgotten(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	for i := range 700 {
		b.hear(tenant, fmt.Sprintf("https://%d.example/", i), "verified=a; current=a", at.Add(time.Duration(i)))
	}
	b.take(700)
	for i, ep := range b.of(tenant.ID) {
		if i < 600 {
			b.tenants[1][ep.URL].SeenAt = 1
		}
	}
	b.forget(2)
	if _, gone := b.take(10); len(gone) != 600 || len(b.of(tenant.ID)) != 100 || len(b.paths) != 100 {
		t.Errorf("%d rows to delete, want 600; %d are left, %d sites", len(gone), len(b.of(tenant.ID)), len(b.paths))
	}
}

// Where paths hold ids, each is seen once: the old keys of the first must not
// hold up rotations when the last have the new ones.
func TestT03PathsWithIDsAreOneEndpoint(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	url := func(i int) string { return fmt.Sprintf("https://app.example/users/%d/hook?x", i) }
	b.hear(tenant, "https://app.example.org/", "verified=a; current=a", at)
	for i := range pathsMost {
		b.hear(tenant, url(i), "verified=a; current=a", at.Add(time.Duration(i)))
	}
	if n := len(b.of(tenant.ID)); n != pathsMost+1 {
		t.Fatalf("%d endpoints, want each path for itself", n)
	}
	put, _ := b.take(1000)
	at = at.Add(time.Second)
	for i := range streakEnough {
		b.hear(tenant, url(1000+i), "verified=a; current=a; next=b", at)
	}
	b.hear(tenant, url(1), "verified=a; current=a; next=b", at)
	all := b.of(tenant.ID)
	if len(all) != 2 || all[0].URL != "https://app.example.org/" && all[1].URL != "https://app.example.org/" {
		t.Fatalf("endpoints %+v", all)
	}
	ep := b.get(tenant.ID, url(5))
	if ep.URL != "https://app.example/*" || ep.State(keyIDs{secret: "b"}, at.UnixMilli()) != EndpointReady {
		t.Errorf("endpoint %+v", ep)
	}
	if again, gone := b.take(1000); len(again) != 1 || len(gone) != len(put)-1 {
		t.Errorf("%d rows to write, %d to delete", len(again), len(gone))
	}
}

// What could not be written is written later, as it is then.
func TestEndpointsGivenBack(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	b.hear(tenant, "https://example.com/1", "verified=a; current=a; next=b", at)
	b.hear(tenant, "https://example.com/2", "verified=a; current=a", at)
	put, gone := b.take(10)
	if len(put) != 2 {
		t.Fatalf("%d rows", len(put))
	}
	b.hear(tenant, "https://example.com/1", "verified=a; current=a", at.Add(time.Second))
	b.giveBack(put, append(gone, &Endpoint{Tenant: 1, URL: "https://example.com/0"}))
	put, gone = b.take(10)
	if len(put) != 2 || len(gone) != 1 || put[0].URL != "https://example.com/1" || put[0].Streak != 0 {
		t.Errorf("written again: %+v, deleted: %+v", put, gone)
	}
}

func TestSignsCall(t *testing.T) {
	const run = "https://app.example/api/workflow"
	for _, tt := range []struct {
		setting, call string
		want          bool
	}{
		{"", "https://stranger.example/", true},
		{SignAlways, "https://stranger.example/", true},
		{SignNever, run, false},
		{SignSameOrigin, "https://app.example/other?x", true},
		{SignSameOrigin, "HTTPS://APP.example:443/other", true},
		{SignSameOrigin, "http://app.example/other", false},
		{SignSameOrigin, "https://app.example:8443/", false},
		{SignSameOrigin, "https://app.example.evil.example/", false},
		{SignSameOrigin, "https://app.example@evil.example/", false},
		{SignSameOrigin, "https://evil.example/https://app.example/", false},
		{SignSameOrigin, "::", false},
	} {
		s := TenantSettings{SignCalls: tt.setting}
		if got := s.signsCall(tt.call, run); got != tt.want {
			t.Errorf("%q to %s: %v", tt.setting, tt.call, got)
		}
	}
}

// The id of a public key is in the request: a third party that says it can hold
// up no rotation.
func TestT03ThirdPartyEchoesPublicKey(t *testing.T) {
	b, tenant := newBook()
	tenant.Secrets.CurrentSeed, tenant.Secrets.NextSeed = []byte("pa"), []byte("pb")
	for _, tt := range []struct {
		kind   Kind
		echo   string
		counts bool
	}{
		{KindToCallback, "verified=pa; current=pa", false},
		{KindToCallback, "verified=a; current=a", true},
		{KindPlain, "verified=pa; current=pa", true},
	} {
		a := &Attempt{URL: "https://example.com/" + tt.echo, SigningKey: "a", Seed: []byte("pa"), SignWith: []string{wire.SignEd25519}, Kind: tt.kind}
		o := &Outcome{Status: 200, End: time.UnixMilli(1e12), Header: http.Header{wire.HeaderSignatureKeys: {tt.echo}}}
		if told := b.answered(tenant, a, o); told != tt.counts {
			t.Errorf("%v, %s: counts %v", tt.kind, tt.echo, told)
		}
	}
}
