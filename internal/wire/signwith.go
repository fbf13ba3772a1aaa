package wire

import (
	"slices"
	"strings"
)

// Signatures that a delivery may carry beside the standard one.
const (
	SignEd25519          = "ed25519"           // Upstash-Signature-Ed25519, for receivers that hold no secret
	SignStandardWebhooks = "standard-webhooks" // webhook-id, webhook-timestamp and webhook-signature
)

// SignatureNames are all of them, as Upstash-Sign-With and settings name them.
var SignatureNames = []string{SignEd25519, SignStandardWebhooks}

func parseSignWith(values []string) ([]string, error) {
	names, err := splitList(values)
	if err != nil {
		return nil, err
	}
	return CheckSignWith(names)
}

// CheckSignWith is names without repetitions, in the order of SignatureNames.
// The error is an *Error without a Field that tells the names there are.
func CheckSignWith(names []string) ([]string, error) {
	for _, name := range names {
		if !slices.Contains(SignatureNames, name) {
			return nil, errorf("", "expected %s, got %s", strings.Join(SignatureNames, " or "), quote(name))
		}
	}
	return MergeSignWith(names, nil), nil
}

// MergeSignWith is what a or b names, in the order of SignatureNames.
func MergeSignWith(a, b []string) []string {
	if len(a)+len(b) == 0 {
		return nil
	}
	var all []string
	for _, name := range SignatureNames {
		if slices.Contains(a, name) || slices.Contains(b, name) {
			all = append(all, name)
		}
	}
	return all
}
