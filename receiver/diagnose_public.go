package receiver

import (
	"context"
	"errors"
)

// examinePublicKey checks the signature, unless the options have no valid keys to
// do so with.
func (d *Diagnosis) examinePublicKey(in DiagnoseInput, t token) {
	keys, err := in.public()
	if err != nil {
		return
	}
	err = verifyPublic(context.Background(), keys, t)
	refusal := (*VerifyError)(nil)
	switch {
	case err == nil:
		d.Key = t.kid
	case errors.Is(err, ErrUnavailable):
		d.addError("key-set-unavailable", err)
	case errors.As(err, &refusal) && refusal.Field == "kid":
		d.addError("key-public-unknown", err)
	default:
		d.addError("key-public-mismatch", err)
	}
}

// misplaced names the other header if s is a token of it.
func misplaced(sc scheme, s string) (cause string) {
	if sc == edDSA {
		if _, err := hs256.parse(s); err == nil {
			return "token-hs256"
		}
		return ""
	}
	if _, err := edDSA.parse(s); err == nil {
		return "token-eddsa"
	}
	return ""
}
