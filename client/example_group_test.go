package client_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/signposthq/signpost/client"
)

// What is published to a URL group goes to each of its endpoints.
func ExampleClient_AddEndpoints() {
	c, stop := signpostServer()
	defer stop()
	ctx := context.Background()

	err := c.AddEndpoints(ctx, "signups",
		client.Endpoint{Name: "mail", URL: "https://mail.example/hook"},
		client.Endpoint{Name: "crm", URL: "https://crm.example/hook"},
	)
	if err == nil {
		err = c.SetURLGroupHeader(ctx, "signups", http.Header{"Upstash-Retries": {"5"}})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := c.PublishJSON(ctx, client.PublishRequest{URLGroup: "signups"}, map[string]string{"user": "ada"})
	for _, m := range answer.Endpoints {
		message, err := c.Message(ctx, m.MessageID)
		fmt.Println(message.EndpointName, message.URL, message.MaxRetries, err)
	}
	fmt.Println(err)

	if err := c.RemoveEndpoints(ctx, "signups", client.Endpoint{Name: "crm"}); err != nil {
		fmt.Println(err)
	}
	group, err := c.URLGroup(ctx, "signups")
	fmt.Println(group.Endpoints, err)
	// Output:
	// mail https://mail.example/hook 5 <nil>
	// crm https://crm.example/hook 5 <nil>
	// <nil>
	// [{mail https://mail.example/hook}] <nil>
}
