package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// Format keeps the keys out of what prints a tenant.
func (t Tenant) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{ID:%d UserID:%s ***}", t.ID, t.UserID) }

// LogValue keeps them out of logs.
func (t Tenant) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t)) }

// Redacted is what stands for a value that is not to be shown. It is a keyed hash,
// so that it can't be found by trying values; equal values of a tenant have equal
// hashes.
func (s *TenantSecrets) Redacted(value []byte) string {
	mac := hmac.New(sha256.New, s.RedactKey)
	mac.Write(value)
	return "REDACTED:" + hex.EncodeToString(mac.Sum(nil))
}

// Format keeps all of it out of what prints secrets.
func (TenantSecrets) Format(f fmt.State, _ rune) { fmt.Fprint(f, "***") }

// LogValue keeps them out of logs.
func (TenantSecrets) LogValue() slog.Value { return slog.StringValue("***") }

// Format keeps token and keys out of what prints credentials.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "{UserID:%s ***}", c.UserID) }

// LogValue keeps them out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }
