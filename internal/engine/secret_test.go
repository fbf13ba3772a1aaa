package engine_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A tenant can be printed and logged: its keys do not show.
func TestT17TenantsDoNotShowTheirKeys(t *testing.T) {
	cr := engine.Credentials{UserID: "user", Token: "canary", CurrentKey: "canary", NextKey: "canary"}
	tenant := &engine.Tenant{
		ID: 1, UserID: "user", CurrentKey: "canary", NextKey: "canary",
		Secrets: engine.TenantSecrets{RedactKey: []byte("canary"), CurrentSeed: []byte("canary"), NextSeed: []byte("canary")},
	}
	var out bytes.Buffer
	for _, v := range []any{cr, &cr, tenant, *tenant, tenant.Secrets, &engine.Caller{Tenant: tenant}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, shows := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprint([]byte("canary"))} {
		if strings.Contains(out.String(), shows) {
			t.Errorf("%s shows in\n%s", shows, &out)
		}
	}
	if !strings.Contains(out.String(), "user") {
		t.Error("who it is does not show")
	}
}
