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
// those that told of their keys, then those seen last.
func TestEndpointsAreBounded(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	for i := range 10 {
		b.hear(tenant, fmt.Sprintf("https://told.example/%d", i), "verified=a; current=a", at)
	}
	other := &Tenant{ID: 2, CurrentKey: "a", NextKey: "b"}
	b.hear(other, "https://other.example/", "", at)
	b.take(20)
	for i := range 3 * endpointsMost {
		b.hear(tenant, fmt.Sprintf("https://example.com/%d", i), "", at.Add(time.Duration(i+1)*time.Millisecond))
	}
	told, last := 0, false
	all := b.of(tenant.ID)
	for _, ep := range all {
		if ep.VerifiedKey != "" {
			told++
		}
		last = last || ep.URL == fmt.Sprintf("https://example.com/%d", 3*endpointsMost-1)
	}
	if len(all) > endpointsMost || len(all) < endpointsMost*7/8 || told != 10 || !last {
		t.Errorf("%d endpoints, %d of them told, the last among them: %v", len(all), told, last)
	}
	if len(b.of(other.ID)) != 1 {
		t.Error("one tenant's endpoints drove out another's")
	}
	rows := 0
	for put, _ := b.take(writeEndpointsMost); len(put) > 0; put, _ = b.take(writeEndpointsMost) {
		rows += len(put)
	}
	if want := len(all) - 10; rows != want {
		t.Errorf("%d rows to write, want %d: those dropped need none", rows, want)
	}
	for _, ep := range all[:600] {
		b.tenants[1][ep.URL].SeenAt = 1
	}
	b.forget(2)
	if _, gone := b.take(10); len(gone) != 600 {
		t.Errorf("%d rows to delete, want 600", len(gone))
	}
}

// What could not be written is written later, as it is then.
func TestEndpointsGivenBack(t *testing.T) {
	b, tenant := newBook()
	at := time.UnixMilli(1e12)
	b.hear(tenant, "https://example.com/1", "verified=a; current=a; next=b", at)
	b.hear(tenant, "https://example.com/2", "", at)
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
