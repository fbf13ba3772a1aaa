package engine_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// What opens something has at least 126 random bits: keys, and the secret part of
// tokens. What must not be guessed only has 63: of a message's id the rest is its
// place in time.
func TestT30SecretsCannotBeGuessed(t *testing.T) {
	letters := regexp.MustCompile(`^[0-9A-Za-z]+$`)
	seen := map[string]bool{}
	for range 1000 {
		cr := engine.NewCredentials()
		text, err := base64.StdEncoding.DecodeString(cr.Token)
		if err != nil {
			t.Fatal(err)
		}
		var token struct{ UserID, Password string }
		if err := json.Unmarshal(text, &token); err != nil || token.UserID != cr.UserID {
			t.Fatalf("token %s: %v", text, err)
		}
		for _, secret := range []string{token.Password, cr.CurrentKey[len("sig_"):], cr.NextKey[len("sig_"):]} {
			if bits := float64(len(secret)) * math.Log2(62); bits < 126 || !letters.MatchString(secret) {
				t.Fatalf("%d letters make %.0f bits: %q", len(secret), bits, secret)
			}
			if seen[secret] {
				t.Fatal("one secret twice")
			}
			seen[secret] = true
		}
	}
	// Every letter is as likely as any other, to within six standard deviations.
	count := map[rune]int{}
	total := 0
	for secret := range seen {
		for _, r := range secret {
			count[r]++
			total++
		}
	}
	mean := float64(total) / 62
	for r, n := range count {
		if math.Abs(float64(n)-mean) > 6*math.Sqrt(mean) {
			t.Errorf("%q comes %d times of %d, want about %.0f", r, n, total, mean)
		}
	}
}
