package receiver_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signposthq/signpost/receiver"
)

func ExampleSignStandardWebhook() {
	h := http.Header{}
	err := receiver.SignStandardWebhook(h, receiver.StandardWebhookOptions{
		ID:   "msg_1",
		Body: []byte("hello"),
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Keys: []string{current, next},
	})
	fmt.Println(h.Get("webhook-id"), h.Get("webhook-timestamp"), err)
	for signature := range strings.SplitSeq(h.Get("webhook-signature"), " ") {
		fmt.Println(signature)
	}
	// Output:
	// msg_1 1767225600 <nil>
	// v1,NYKN25/rYXoN6H8HPv7QJdo/rni1yl5F0dtYhTBmblY=
	// v1,6l5bQVR/jG74dHpDci7yxMkA3ejgsPHVDGGsUnDXqjY=
}
