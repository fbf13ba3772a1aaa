package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/signposthq/signpost/client"
)

func ExampleClient_CreateToken() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("%s %s %s\n", r.Method, r.RequestURI, body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"tok_0123456789abcdef01234567","name":"shop","scopes":["publish"],"createdAt":1700000000000,"token":"c2VjcmV0"}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "an admin token"})

	token, err := c.CreateToken(context.Background(), client.TokenRequest{
		Name:      "shop",
		Scopes:    []client.Scope{client.ScopePublish},
		URLPrefix: "https://shop.example/hooks",
		ExpiresIn: 90 * 24 * time.Hour,
	})
	fmt.Println(token.ID, "is to be used as", token.Secret, err)
	// Output:
	// POST /v2/tokens {"name":"shop","scopes":["publish"],"urlPrefix":"https://shop.example/hooks","expiresIn":"7776000s"}
	// tok_0123456789abcdef01234567 is to be used as c2VjcmV0 <nil>
}

func ExampleClient_Tokens() {
	srv := server(`{"tokens":[{"id":"tok_0123456789abcdef01234567","name":"shop","scopes":["publish","read"],"createdAt":1700000000000,"lastUsedAt":1700000060000}]}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "an admin token"})

	tokens, err := c.Tokens(context.Background())
	for _, t := range tokens {
		fmt.Println(t.ID, t.Name, t.Scopes, time.UnixMilli(t.LastUsedAt).UTC().Format(time.DateTime))
	}
	fmt.Println(err)
	// Output:
	// tok_0123456789abcdef01234567 shop [publish read] 2023-11-14 22:14:20
	// <nil>
}

func ExampleClient_CreateTenant() {
	srv := server(`{"userId":"shop","token":"c2VjcmV0","currentSigningKey":"sig_current","nextSigningKey":"sig_next"}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "the operator's token"})

	tenant, err := c.CreateTenant(context.Background(), "shop")
	fmt.Println(tenant.UserID, tenant.Token, tenant.CurrentSigningKey, tenant.NextSigningKey, err)
	// Output: shop c2VjcmV0 sig_current sig_next <nil>
}

func ExampleClient_ChangeTenantLimits() {
	srv := server(`{"limits":{"maxQueues":3,"messagesPerDay":0},"own":{"maxQueues":3},"usage":{"queues":1}}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "the operator's token"})

	// Three queues, and as many messages a day as the server has for all.
	got, err := c.ChangeTenantLimits(context.Background(), "shop", client.LimitsChange{
		MaxQueues: new(int64(3)), MessagesPerDay: new(int64(0)),
	})
	fmt.Println(got.Usage.Queues, "of", got.Limits.MaxQueues, err)
	// Output: 1 of 3 <nil>
}

func ExampleClient_AllAudit() {
	srv := server(`{"entries":[
		{"time":1700000060000,"action":"token.revoke","object":"tok_89abcdef0123456701234567","actor":"tok_0123456789abcdef01234567","actorName":"ops","before":{"name":"old","scopes":["read"]}},
		{"time":1700000000000,"action":"message.cancel","actor":"tok_0123456789abcdef01234567","actorName":"ops","before":{"filter":{"label":["x"]}},"after":{"count":2}}]}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "an admin token"})

	for entry, err := range c.AllAudit(context.Background(), client.AuditRequest{Actors: []string{"ops"}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(time.UnixMilli(entry.Time).UTC().Format(time.TimeOnly), entry.ActorName, entry.Action, string(entry.Before))
	}
	// Output:
	// 22:14:20 ops token.revoke {"name":"old","scopes":["read"]}
	// 22:13:20 ops message.cancel {"filter":{"label":["x"]}}
}
