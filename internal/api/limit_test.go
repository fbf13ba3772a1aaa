package api_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

// exhaust makes a request until it is refused for being too frequent.
func (w *world) exhaust(ask func(i int) answer) answer {
	w.t.Helper()
	for i := range 200 {
		if a := ask(i); a.status == 429 {
			return a
		}
	}
	w.t.Fatal("there is no limit")
	return answer{}
}

// Managing has a limit for each token, and says how far it is used up;
// publishing has none.
func TestT25LimitPerToken(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: 2})
	first := w.do("GET", "/v2/keys", "")
	first.into(200, &client.SigningKeys{})
	for name, want := range map[string]string{"Burst-RateLimit-Limit": "2", "Burst-RateLimit-Remaining": "1"} {
		if got := first.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	a := w.exhaust(func(int) answer { return w.do("GET", "/v2/logs", "") })
	a.refused(429, "too many requests with this token", "try again in 1 s")
	reset, err := strconv.ParseInt(a.header.Get("Burst-RateLimit-Reset"), 10, 64)
	if ahead := time.Until(time.Unix(reset, 0)); err != nil || ahead > 2*time.Second || ahead < -time.Minute {
		t.Errorf("reset in %v, %v", ahead, err)
	}
	if got := a.header.Get("Retry-After") + a.header.Get("Burst-RateLimit-Remaining") + a.header.Get("RateLimit-Limit"); got != "10" {
		t.Errorf("headers %v", a.header)
	}
	for i := range 20 {
		id := fmt.Sprint("wfr_", i)
		for _, a := range []answer{
			w.do("POST", "/v2/publish/https://example.com/", "", "Upstash-Delay: 1h"),
			w.do("POST", "/v2/batch", `[{"destination":"https://example.com/","headers":{"upstash-delay":"1h"}}]`),
			w.do("POST", "/v2/trigger/https://example.com/", "", "Upstash-Delay: 1h", "Upstash-Workflow-Runid: "+id),
			w.do("GET", "/v2/workflows/runs/"+id, ""),
			w.do("DELETE", "/v2/workflows/runs/"+id, ""),
		} {
			if a.status != 200 || a.header.Get("Burst-RateLimit-Limit") != "" {
				t.Fatalf("%s: %d %s %v", a.what, a.status, a.body, a.header)
			}
		}
	}
	w.as(signpost.DevUsers[1]).do("GET", "/v2/keys", "").into(200, &client.SigningKeys{})
	w.until("the limit is over", func() bool { return w.do("GET", "/v2/keys", "").status == 200 })

	unlimited := newWorldOf(t, &signpost.Server{RateLimit: -1})
	if a := unlimited.do("GET", "/v2/keys", ""); a.header.Get("Burst-RateLimit-Limit") != "" {
		t.Errorf("headers of no limit: %v", a.header)
	}
}

// Who tries tokens is stopped, but not who has one and shares the address.
func TestT25GuessingTokens(t *testing.T) {
	w := newWorld(t)
	neighbour := w.as(signpost.DevUsers[1])
	neighbour.do("GET", "/v2/keys", "").into(200, &client.SigningKeys{})
	anybody := *w
	anybody.token = ""
	w.unchanged("guessing", func() {
		a := w.exhaust(func(i int) answer {
			a := anybody.do("POST", "/v2/publish/https://example.com/", "", fmt.Sprint("Authorization: Bearer guess", i))
			if a.status != 429 {
				a.refused(401, "invalid token")
			} else if i < 20 {
				t.Errorf("stopped after %d", i)
			}
			return a
		})
		a.refused(429, "unknown tokens from 127.0.0.1")
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 || s > 10 {
			t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
		}
		w.exhaust(func(i int) answer {
			return anybody.do("GET", "/v2/keys?qstash_token="+url.QueryEscape(fmt.Sprint("more", i)), "")
		})
		anybody.do("GET", "/.well-known/jwks.json", "", "Authorization: Bearer guess").refused(429, "unknown tokens")
		neighbour.do("GET", "/v2/keys", "").into(200, &client.SigningKeys{})
		anybody.do("GET", "/v2/keys", "").refused(401, "send the token")
	})
}

// The limit per address holds for whoever asks, by the address that proxies
// who are trusted give.
func TestT25LimitPerIP(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimitIP: 1, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	const hog = "X-Forwarded-For: 10.1.1.1, 192.0.2.1"
	for _, path := range []string{"/v2/keys", "/v2/liveness", "/nothing"} {
		a := w.exhaust(func(int) answer { return w.do("GET", path, "", hog) })
		a.refused(429, "too many requests from 192.0.2.1")
		if a.header.Get("Retry-After") != "1" || a.header.Get("Burst-RateLimit-Limit") != "1" {
			t.Errorf("headers %v", a.header)
		}
	}
	var p client.PublishResponse
	w.do("POST", "/v2/publish/https://example.com/", "", "Upstash-Delay: 1h", "X-Forwarded-For: 192.0.2.1, 192.0.2.2").into(200, &p)
	var m client.Message
	w.do("GET", "/v2/messages/"+p.MessageID, "", "X-Forwarded-For: 192.0.2.3").into(200, &m)
	if m.CallerIP != "192.0.2.2" {
		t.Errorf("caller %s", m.CallerIP)
	}
}

// Without trust, the word of the caller counts for nothing.
func TestCallerIPCantBeInvented(t *testing.T) {
	w := newWorld(t)
	id := w.publish("https://example.com/", "", "Upstash-Delay: 1h", "X-Forwarded-For: 192.0.2.1", "X-Real-Ip: 192.0.2.1", "Forwarded: for=192.0.2.1")
	if m := get[client.Message](w, "/v2/messages/"+id); m.CallerIP != "127.0.0.1" {
		t.Errorf("caller %s", m.CallerIP)
	}
}

// A tenant's own limit is for all of its tokens together, whether or not others
// have one.
func TestLimitPerTenant(t *testing.T) {
	for name, server := range map[string]*signpost.Server{"beside that of tokens": {RateLimit: 1000}, "alone": {RateLimit: -1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, server)
			tenant := w.as(signpost.DevUsers[1])
			second := tenant.withToken("", client.ScopeKeys)
			var limits client.TenantLimits
			w.do("PATCH", "/v2/tenants/testUser1/limits", `{"requestsPerSecond": 2}`).into(200, &limits)
			if limits.Limits.RequestsPerSecond != 2 || *limits.Own.RequestsPerSecond != 2 {
				t.Errorf("limits %+v", limits)
			}
			a := w.exhaust(func(i int) answer { return []*world{tenant, second}[i%2].do("GET", "/v2/keys", "") })
			a.refused(429, "too many requests with tokens of this tenant", "try again in 1 s")
			if got := a.header.Get("Burst-RateLimit-Limit") + a.header.Get("RateLimit-Limit"); got != "2" {
				t.Errorf("headers %v", a.header)
			}
			for range 5 {
				tenant.do("POST", "/v2/publish/https://example.com/", "", "Upstash-Delay: 1h").into(200, &client.PublishResponse{})
				w.do("GET", "/v2/keys", "").into(200, &client.SigningKeys{})
			}
			w.do("PATCH", "/v2/tenants/testUser1/limits", `{"requestsPerSecond": null}`).into(200, &limits)
			for range 5 {
				tenant.do("GET", "/v2/keys", "").into(200, &client.SigningKeys{})
			}
		})
	}
}

// What a server has for all holds for each tenant that has nothing of its own.
func TestLimitsOfTheServer(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{RateLimit: 50, MaxMessageBytes: 10, Limits: signpost.Limits{
		MaxRetries: 1, MaxDelay: time.Hour, MaxTimeout: time.Minute, GlobalParallelism: 2, MaxQueues: 3, MaxParallelism: 4,
		MaxURLGroups: 5, MaxEndpoints: 6, MaxSchedules: 7, MessagesPerDay: 1,
	}})
	var got client.TenantLimits
	w.do("GET", "/v2/limits", "").into(200, &got)
	want := client.Limits{
		MaxMessageBytes: 10, MaxRetries: 1, MaxDelay: 3600, MaxTimeout: 60, GlobalParallelism: 2, MaxQueues: 3, MaxParallelism: 4,
		MaxURLGroups: 5, MaxEndpoints: 6, MaxSchedules: 7, MessagesPerDay: 1, RequestsPerSecond: 50,
	}
	if got.Limits != want {
		t.Errorf("limits %+v, want %+v", got.Limits, want)
	}
	for _, user := range signpost.DevUsers {
		w := w.as(user)
		id := w.publish("https://example.com/", "", "Upstash-Delay: 1h")
		if m := get[client.Message](w, "/v2/messages/"+id); m.MaxRetries != 1 {
			t.Errorf("%d retries where none are asked for, at most 1 is allowed", m.MaxRetries)
		}
		w.do("POST", "/v2/publish/https://example.com/", "").refused(429, "messages per day: at most 1 are accepted")
	}
}
