package signposttest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/signposttest"
)

// A test publishes a message and waits until it was delivered.
func ExampleNewServer() {
	test := func(t *testing.T) {
		srv := signposttest.NewServer(t)
		endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer endpoint.Close()
		p, err := srv.Client().Publish(context.Background(), client.PublishRequest{URL: endpoint.URL})
		if err != nil {
			t.Fatal(err)
		}
		events := srv.WaitMessage(t, p.MessageID, client.EventDelivered, client.EventFailed)
		fmt.Println(events[0].State)
	}
	fmt.Println(testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "TestDelivery", F: test}}))
	// Output:
	// DELIVERED
	// true
}
