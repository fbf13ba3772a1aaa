package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
)

// token creates a token and returns the server seen with it.
func (w *world) withToken(fields string, scopes ...client.Scope) *world {
	w.t.Helper()
	text, err := json.Marshal(scopes)
	if err != nil {
		w.t.Fatal(err)
	}
	if fields != "" {
		fields += ", "
	}
	var made client.NewToken
	w.do("POST", "/v2/tokens", fmt.Sprintf(`{"name": "test", %s"scopes": %s}`, fields, text)).into(201, &made)
	return w.as(signpost.Credentials{Token: made.Secret})
}

// revoked is the server seen with a token that was just revoked.
func (w *world) revoked() *world {
	w.t.Helper()
	var made client.NewToken
	w.do("POST", "/v2/tokens", `{"name": "revoked", "scopes": ["admin"]}`).into(201, &made)
	seen := w.as(signpost.Credentials{Token: made.Secret})
	seen.do("GET", "/v2/messages/msg_1", "").refused(404)
	w.do("DELETE", "/v2/tokens/"+made.ID, "").into(200, new(struct{}))
	return seen
}

// policy is which scopes are good for a route, admin apart, which is good for
// all. A new route needs a line here: nothing is open to a scope by oversight.
var policy = map[string][]client.Scope{
	"POST /v2/publish/{destination...}": {client.ScopePublish},
	"POST /v2/batch":                    {client.ScopePublish},
	"POST /v2/batch/trigger":            {client.ScopePublish},
	"POST /v2/trigger/{destination...}": {client.ScopePublish},

	"POST /v2/enqueue/{queue}/{destination...}": {client.ScopePublish},

	"GET /v2/queues":                {client.ScopeRead, client.ScopeReadMetadata},
	"POST /v2/queues":               {client.ScopePublish},
	"GET /v2/queues/{name}":         {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/queues/{name}":      {client.ScopePublish},
	"POST /v2/queues/{name}/pause":  {client.ScopePublish},
	"POST /v2/queues/{name}/resume": {client.ScopePublish},

	"GET /v2/flowControl":           {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/flowControl/{key...}":  {client.ScopeRead, client.ScopeReadMetadata},
	"POST /v2/flowControl/{key...}": {client.ScopePublish},
	"GET /v2/globalParallelism":     {client.ScopeRead, client.ScopeReadMetadata},

	"GET /v2/messages/{id}":    {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/messages/{id}": {client.ScopePublish},
	"DELETE /v2/messages":      {client.ScopePublish},
	"GET /v2/events":           {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/logs":             {client.ScopeRead, client.ScopeReadMetadata},

	"POST /v2/schedules/{destination...}": {client.ScopePublish},
	"GET /v2/schedules":                   {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/schedules/{id}":              {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/schedules/{id}":           {client.ScopePublish},
	"PATCH /v2/schedules/{id}/pause":      {client.ScopePublish},
	"PATCH /v2/schedules/{id}/resume":     {client.ScopePublish},

	"GET /v2/topics":                     {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/topics/{name}":              {client.ScopeRead, client.ScopeReadMetadata},
	"PATCH /v2/topics/{name}":            {client.ScopePublish},
	"DELETE /v2/topics/{name}":           {client.ScopePublish},
	"POST /v2/topics/{name}/endpoints":   {client.ScopePublish},
	"DELETE /v2/topics/{name}/endpoints": {client.ScopePublish},

	"GET /v2/dlq":             {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/dlq":          {client.ScopePublish},
	"POST /v2/dlq/retry":      {client.ScopePublish},
	"POST /v2/dlq/retry/{id}": {client.ScopePublish},
	"GET /v2/dlq/{id}":        {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/dlq/{id}":     {client.ScopePublish},

	"GET /v2/workflows/dlq":                  {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/workflows/dlq":               {client.ScopePublish},
	"GET /v2/workflows/dlq/{id}":             {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/workflows/dlq/{id}":          {client.ScopePublish},
	"POST /v2/workflows/dlq/resume":          {client.ScopePublish},
	"POST /v2/workflows/dlq/resume/{id}":     {client.ScopePublish},
	"POST /v2/workflows/dlq/restart":         {client.ScopePublish},
	"POST /v2/workflows/dlq/restart/{id}":    {client.ScopePublish},
	"POST /v2/workflows/dlq/callback":        {client.ScopePublish},
	"POST /v2/workflows/dlq/callback/{id}":   {client.ScopePublish},
	"DELETE /v2/workflows/dlq/callback/{id}": {client.ScopePublish},

	"GET /v2/keys":         {client.ScopeKeys},
	"POST /v2/keys/rotate": {client.ScopeKeys},
	"POST /v2/rotate":      {client.ScopeKeys},
	"GET /v2/keys/status":  {client.ScopeKeys},
	"POST /v2/keys/probe":  {client.ScopeKeys},

	"GET /v2/limits":     {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/settings":   {},
	"PATCH /v2/settings": {},

	"GET /v2/workflows/logs":         {client.ScopeRead, client.ScopeReadMetadata},
	"GET /v2/workflows/events":       {client.ScopeRead, client.ScopeReadMetadata},
	"DELETE /v2/workflows/runs":      {client.ScopePublish},
	"GET /v2/workflows/runs/{id}":    {client.ScopePublish}, // an endpoint's way to its own log
	"DELETE /v2/workflows/runs/{id}": {client.ScopePublish},

	"POST /v2/wait/{event...}":         {client.ScopePublish},
	"POST /v2/notify/{event}":          {client.ScopePublish},
	"POST /v2/notify/{run}/{event...}": {client.ScopePublish},
	"GET /v2/waiters/{event...}":       {client.ScopeRead, client.ScopeReadMetadata},

	"ANY /v2/workflows/hooks/{user}/{run}/{event}": nil, // who knows the URL may call it

	"GET /v2/tokens":         {},
	"POST /v2/tokens":        {},
	"DELETE /v2/tokens/{id}": {},
	"GET /v2/tenants":        {},
	"POST /v2/tenants":       {},
	"GET /v2/audit":          {},

	"GET /v2/tenants/{user}/limits":   {},
	"PATCH /v2/tenants/{user}/limits": {},

	"GET /v2/admin/rewrap":  {},
	"POST /v2/admin/rewrap": {},

	"GET /.well-known/jwks.json": nil, // no token needed
	"GET /openapi.json":          nil,
	"GET /v2/liveness":           nil,
	"GET /v2/readiness":          nil,
}

var everyScope = []client.Scope{client.ScopePublish, client.ScopeRead, client.ScopeReadMetadata, client.ScopeKeys, client.ScopeAdmin}

// Every route, asked with every scope by itself, with all of them together but
// each, and with tokens that are none: the policy above to the letter, and
// nothing changes where it says no.
func TestT21EveryRouteTakesTheScopesOfThePolicy(t *testing.T) {
	w := newWorldOf(t, &signpost.Server{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	callers := map[string][]client.Scope{"admin": {client.ScopeAdmin}}
	for i, s := range everyScope[:4] {
		callers[string(s)] = []client.Scope{s}
		callers["all but "+string(s)+" and admin"] = slices.Delete(slices.Clone(everyScope[:4]), i, i+1)
	}
	seen := map[string]*world{}
	for name, scopes := range callers {
		seen[name] = w.withToken("", scopes...)
	}
	expired := w.withToken(`"expiresIn": "0.001s"`, client.ScopeAdmin)
	w.until("a token has expired", func() bool { return expired.do("GET", "/v2/audit", "").status == 401 })
	none := map[string]*world{
		"no token": w.as(signpost.Credentials{}), "unknown token": w.as(signpost.Credentials{Token: w.token + "x"}),
		"expired token": expired, "revoked token": w.revoked(),
	}
	for i, r := range api.Routes() {
		from := fmt.Sprint("X-Forwarded-For: 192.0.2.", i) // each may try a few tokens
		route := r.Method + " " + r.Pattern
		allowed, known := policy[route]
		if !known || r.Open != (allowed == nil) {
			t.Errorf("%s: the policy has no line for it, or another one", route)
			continue
		}
		for name, w := range none {
			if a := w.do(r.Method, sample(r), "", from); !r.Open && a.status != 401 {
				t.Errorf("%s with %s: %d %s", route, name, a.status, a.body)
			}
		}
		for name, scopes := range callers {
			ok := r.Open || slices.ContainsFunc(scopes, func(s client.Scope) bool {
				return s == client.ScopeAdmin || slices.Contains(allowed, s)
			})
			var a answer
			ask := func() { a = seen[name].do(r.Method, sample(r), "", "Upstash-Delay: 1h") }
			if ok {
				ask()
			} else {
				w.unchanged(route+" with "+name, ask)
			}
			if ok == (a.status == 403) || a.status == 401 || a.status >= 500 {
				t.Errorf("%s with %s: %d %s", route, name, a.status, a.body)
			}
			if !ok {
				a.refused(403, "forbidden: the token has the scopes ", "this needs "+string(r.Scope))
			}
		}
	}
	if n := len(api.Routes()); n != len(policy) {
		t.Errorf("the policy has %d lines for %d routes", len(policy), n)
	}
}

// A reader may not sign: with the signing keys it could call every endpoint as
// the server does.
func TestT21ReaderGetsNoKeys(t *testing.T) {
	w := newWorld(t)
	keys := get[client.SigningKeys](w, "/v2/keys")
	for _, s := range []client.Scope{client.ScopeRead, client.ScopeReadMetadata, client.ScopePublish} {
		reader := w.withToken("", s)
		for _, r := range api.Routes() {
			if a := reader.do(r.Method, sample(r), ""); strings.Contains(string(a.body), keys.Current) || strings.Contains(string(a.body), keys.Next) {
				t.Errorf("%s %s shows a key to %s", r.Method, r.Pattern, s)
			}
		}
	}
}

// Whoever manages tokens is in the audit log, which no secret gets into.
func TestT21AuditLogHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	var secrets []string
	keep := func(text string) { secrets = append(secrets, text) }
	keys := get[client.SigningKeys](w, "/v2/keys")
	keep(keys.Current)
	w.do("POST", "/v2/keys/rotate", "").into(200, &keys)
	keep(keys.Current)
	keep(keys.Next)
	for range 3 {
		var made client.NewToken
		w.do("POST", "/v2/tokens", `{"name":"a","scopes":["keys","publish"]}`).into(201, &made)
		keep(made.Secret)
		w.as(signpost.Credentials{Token: made.Secret}).do("POST", "/v2/rotate", "").into(200, &keys)
		keep(keys.Next)
		w.do("DELETE", "/v2/tokens/"+made.ID, "").into(200, new(struct{}))
	}
	var tenant client.NewTenant
	w.do("POST", "/v2/tenants", "{}").into(201, &tenant)
	keep(tenant.Token)
	keep(tenant.CurrentSigningKey)
	keep(tenant.NextSigningKey)
	keep(w.token)
	id := w.publish("https://example.com/", "secret body", "Upstash-Delay: 1h", "Upstash-Forward-Authorization: secret header")
	w.do("DELETE", "/v2/messages/"+id, "").into(200, &client.CancelResponse{})
	keep("secret body")
	keep("secret header")

	a := w.do("GET", "/v2/audit", "")
	if n := len(get[client.AuditPage](w, "/v2/audit").Entries); n != 12 {
		t.Errorf("%d entries: %s", n, a.body)
	}
	for _, secret := range secrets {
		if strings.Contains(string(a.body), secret) {
			t.Errorf("%q is in the audit log: %s", secret, a.body)
		}
	}
}

// The old token ends with the answer to its revocation, on connections that
// are open too.
func TestT21RevokedAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 10 {
		var made client.NewToken
		w.do("POST", "/v2/tokens", `{"name":"a","scopes":["publish"]}`).into(201, &made)
		holder := w.as(signpost.Credentials{Token: made.Secret})
		holder.publish("https://example.com/", "", "Upstash-Delay: 1h")
		w.do("DELETE", "/v2/tokens/"+made.ID, "").into(200, new(struct{}))
		holder.do("POST", "/v2/publish/https://example.com/", "").refused(http.StatusUnauthorized, "invalid token")
	}
}
