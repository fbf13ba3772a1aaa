package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/signposthq/signpost/client"
)

// server stands for a QStash-compatible server that gives one answer.
func server(answer string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer)
	}))
}

func ExampleNew() {
	c := client.New(client.Options{URL: "http://127.0.0.1:8080", Token: "token"})
	fmt.Println(c.Err())

	c = client.New(client.Options{URL: "127.0.0.1:8080", Token: "token"})
	fmt.Println(c.Err() != nil)
	// Output:
	// <nil>
	// true
}

func ExampleClient_Publish() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.RequestURI)
		for _, name := range []string{"Upstash-Delay", "Upstash-Forward-Authorization", "Upstash-Failure-Callback"} {
			fmt.Printf("%s: %s\n", name, r.Header.Get(name))
		}
		_, _ = io.WriteString(w, `{"messageId":"msg_1"}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	m, err := c.Publish(context.Background(), client.PublishRequest{
		URL:             "https://example.com/orders?new=1",
		Body:            []byte("an order"),
		Header:          http.Header{"Authorization": {"Bearer theirs"}},
		Delay:           time.Minute,
		Retries:         new(5),
		FailureCallback: &client.Callback{URL: "https://example.com/failed"},
	})
	fmt.Println(m.MessageID, err)
	// Output:
	// POST /v2/publish/https://example.com/orders?new=1
	// Upstash-Delay: 60s
	// Upstash-Forward-Authorization: Bearer theirs
	// Upstash-Failure-Callback: https://example.com/failed
	// msg_1 <nil>
}

func ExampleClient_PublishJSON() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("%s %s\n", r.Header.Get("Content-Type"), body)
		_, _ = io.WriteString(w, `{"messageId":"msg_1","deduplicated":true}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	order := struct {
		ID int `json:"id"`
	}{7}
	m, err := c.PublishJSON(context.Background(), client.PublishRequest{
		URL:             "https://example.com/orders",
		DeduplicationID: "order-7",
	}, order)
	fmt.Println(m.MessageID, m.Deduplicated, err)
	// Output:
	// application/json {"id":7}
	// msg_1 true <nil>
}

func ExampleClient_Batch() {
	srv := server(`[{"messageId":"msg_1"},{"messageId":"msg_2"}]`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	ms, err := c.Batch(context.Background(), []client.PublishRequest{
		{URL: "https://example.com/orders", Body: []byte("one")},
		{URL: "https://example.com/orders", Body: []byte("two"), Delay: time.Hour},
	})
	if err != nil {
		fmt.Println(err)
	}
	for _, m := range ms {
		fmt.Println(m.MessageID)
	}
	// Output:
	// msg_1
	// msg_2
}

func ExampleClient_Message() {
	srv := server(`{"messageId":"msg_1","url":"https://example.com/orders","method":"POST","body":"an order","maxRetries":3,"notBefore":1700000060000,"createdAt":1700000000000}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	m, err := c.Message(context.Background(), "msg_1")
	if err != nil {
		fmt.Println(err)
	}
	body, err := m.Bytes()
	fmt.Printf("%s %s %q %v\n", m.Method, m.URL, body, err)
	fmt.Println("due", time.UnixMilli(m.NotBefore).UTC())
	// Output:
	// POST https://example.com/orders "an order" <nil>
	// due 2023-11-14 22:14:20 +0000 UTC
}

func ExampleClient_CancelMessage() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":"message not found"}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	err := c.CancelMessage(context.Background(), "msg_1")
	fmt.Println(errors.Is(err, client.ErrNotFound), err)
	// Output: true cancel message: server answered 404: message not found
}

func ExampleClient_CancelMessages() {
	srv := server(`{"cancelled":2}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	n, err := c.CancelMessages(context.Background(), client.CancelRequest{
		Filter: client.Filter{Labels: []string{"newsletter"}},
	})
	fmt.Println(n, err)
	// Output: 2 <nil>
}

func ExampleClient_AllEvents() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			_, _ = io.WriteString(w, `{"events":[{"time":1700000002000,"state":"DELIVERED","messageId":"msg_1"}],"cursor":"2"}`)
			return
		}
		_, _ = io.WriteString(w, `{"events":[{"time":1700000001000,"state":"CREATED","messageId":"msg_1"}]}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	for e, err := range c.AllEvents(context.Background(), client.EventsRequest{MessageIDs: []string{"msg_1"}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(time.UnixMilli(e.Time).UTC().Format(time.TimeOnly), e.State)
	}
	// Output:
	// 22:13:22 DELIVERED
	// 22:13:21 CREATED
}

func ExampleClient_AllDLQ() {
	srv := server(`{"messages":[{"messageId":"msg_1","url":"https://example.com/orders","dlqId":"1725323658779-0","responseStatus":500,"responseBody":"out of stock"}]}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	for m, err := range c.AllDLQ(context.Background(), client.DLQRequest{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.DLQID, m.URL, m.ResponseStatus, m.ResponseBody)
	}
	// Output: 1725323658779-0 https://example.com/orders 500 out of stock
}

func ExampleClient_RetryDLQ() {
	pages := []string{
		`{"responses":[{"messageId":"msg_2"},{"messageId":"msg_3"}],"cursor":"next"}`,
		`{"responses":[{"messageId":"msg_4"}]}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, pages[0])
		pages = pages[1:]
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	r := client.DLQRetry{DLQSelection: client.DLQSelection{All: true}, Override: client.PublishRequest{Retries: new(0)}}
	for {
		page, err := c.RetryDLQ(context.Background(), r)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(page.Responses), "retried")
		if r.Cursor = page.Cursor; r.Cursor == "" {
			break
		}
	}
	// Output:
	// 2 retried
	// 1 retried
}

func ExampleClient_Keys() {
	srv := server(`{"current":"sig_current","next":"sig_next"}`)
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	keys, err := c.Keys(context.Background())
	fmt.Println(keys.Current, keys.Next, err)
	// Output: sig_current sig_next <nil>
}

func ExampleError() {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Burst-RateLimit-Reset", "1700000001")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":"too many requests"}`)
	}))
	defer srv.Close()
	c := client.New(client.Options{URL: srv.URL, Token: "token"})

	_, err := c.Events(context.Background(), client.EventsRequest{})
	var answer *client.Error
	if errors.As(err, &answer) {
		fmt.Println(answer.Status, answer.Message)
	}
	if errors.Is(err, client.ErrRateLimited) {
		fmt.Println("again at", answer.Reset.UTC().Format(time.TimeOnly))
	}
	// Output:
	// 429 too many requests
	// again at 22:13:21
}
