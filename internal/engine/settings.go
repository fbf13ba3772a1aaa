package engine

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/signposthq/signpost/internal/wire"
)

// Which calls of runs to third parties are signed (TenantSettings.SignCalls).
const (
	SignAlways     = "always"
	SignSameOrigin = "same-origin"
	SignNever      = "never"
)

var signCalls = []string{SignAlways, SignSameOrigin, SignNever}

// SettingsChange is what is to be different; nil leaves a setting as it is.
type SettingsChange struct {
	SignCalls *string
	SignWith  *[]string
}

// ChangeSettings changes a tenant's settings, from the next attempt on.
func (e *Engine) ChangeSettings(ctx context.Context, c *Caller, to SettingsChange) (*Tenant, error) {
	if s := to.SignCalls; s != nil && !slices.Contains(signCalls, *s) {
		return nil, errorf(Invalid, "signCalls: expected %s, got %.80q", strings.Join(signCalls, ", "), *s)
	}
	var signWith []string
	if to.SignWith != nil {
		var err error
		if signWith, err = wire.CheckSignWith(*to.SignWith); err != nil {
			return nil, wire.Within("signWith", err)
		}
	}
	return e.changeTenant(ctx, c, func(_ *change, t *Tenant) error {
		if to.SignCalls != nil {
			t.Settings.SignCalls = *to.SignCalls
		}
		if to.SignWith != nil {
			t.Settings.SignWith = signWith
		}
		return nil
	})
}

// signsCall says whether a run's call to a third party is signed.
func (s *TenantSettings) signsCall(call, run string) bool {
	switch s.SignCalls {
	case SignNever:
		return false
	case SignSameOrigin:
		return sameOrigin(call, run)
	}
	return true
}

// sameOrigin compares scheme, host and port, as browsers do.
func sameOrigin(a, b string) bool {
	x, y := origin(a), origin(b)
	return x != "" && x == y
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

func origin(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
