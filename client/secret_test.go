package client_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

// A client and its options can be printed and logged: the token does not show,
// nor in an error.
func TestT17ClientsDoNotShowTheirToken(t *testing.T) {
	o := client.Options{URL: "http://127.0.0.1:1", Token: "canary", NetworkRetries: -1}
	c := client.New(o)
	var out bytes.Buffer
	for _, v := range []any{o, &o, c, *c} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	_, err := c.Keys(t.Context())
	fmt.Fprintf(&out, "%+v %#v", err, err)
	if err == nil || strings.Contains(out.String(), "canary") {
		t.Errorf("%v: the token shows in\n%s", err, &out)
	}
}
