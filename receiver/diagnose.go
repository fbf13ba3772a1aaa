package receiver

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DiagnoseInput is a request that was refused, or might be, and the receiver it met.
type DiagnoseInput struct {
	Options           // as the receiver has them; BaseURL, TrustedProxies and Development are not used, Replay is
	Request           // as it came
	Time    time.Time // when it came. Default: now, by which a captured token has mostly expired
	OldKeys []string  // signing keys of former times, to recognise their signatures
}

// A Diagnosis explains what a [Receiver] says to a request.
// It holds URLs, hashes and times, and never a key.
type Diagnosis struct {
	Err      error     // what Receiver.Verify, or New, returns; nil if the request is accepted
	Key      string    // who signed: "current", "next", "old", "development", the id of a public key, or "" for none that is known
	Findings []Finding // all that is wrong, the most telling first; empty if and only if Err is nil
}

// A Finding is one thing that is wrong.
type Finding struct {
	Cause    string // a stable word, such as "body-reserialised" or "url-scheme"
	Field    string // the header field or claim at fault; "" for the token or the options
	Expected string // what would have been accepted; may be ""
	Got      string // what came; may be ""
	What     string // the likely cause in one sentence
	Fix      string // what to do about it, in one sentence
}

// Diagnose verifies a request and, when it is refused, looks for the mistake: it
// repeats the check with the changes that proxies, frameworks and copying hands
// make, and names the change that explains the refusal. Unlike [Receiver.Verify]
// it goes on after the first fault. It takes time for a large body and is
// meant for people, not for the path of requests.
//
// With Options.Replay the request is recorded, as by Verify.
//
// The first word of a cause says what is at fault: options, token, key, claims,
// time, url, header, body or replay. Causes are added over time, and keep their
// meaning.
func Diagnose(in DiagnoseInput) Diagnosis {
	if in.Time.IsZero() {
		in.Time = time.Now()
	}
	in.Development = true // whether a signature is good does not depend on who asks
	var d Diagnosis
	rc, err := New(in.Options)
	if err != nil {
		d.Err = err
		d.add(Finding{Cause: optionsCause(in.Options), Got: err.Error()})
	} else {
		rc.now = func() time.Time { return in.Time }
		var c Claims
		c, d.Err = rc.Verify(in.Request)
		if d.Err == nil {
			d.Key = c.Key
			return d
		}
	}
	d.examine(in)
	return d
}

// examine goes through the checks of Verify in their order, as far as the token
// can be read.
func (d *Diagnosis) examine(in DiagnoseInput) {
	sc := hs256
	if len(in.PublicKeys) > 0 || in.KeySet != nil {
		sc = edDSA
	}
	if in.Signature == "" {
		var err error
		if in.Signature, err = sc.from(in.Header); err != nil {
			d.addError("token-repeated", err)
			return
		}
	}
	t, readable := d.examineToken(sc, in.Signature)
	if !readable {
		return
	}
	if sc == edDSA {
		d.examinePublicKey(in, t)
	} else {
		d.examineKey(in, t)
	}
	c, err := parseClaims(t.payload)
	if err != nil {
		d.addError(claimsCause(err), err)
		return
	}
	d.examineTimes(c, in)
	d.examineURL(in.URLMode, c.Subject, in.URL)
	d.examineHeader(in, c)
	d.examineBody(c.BodyHash, in.Body)
	if len(d.Findings) == 0 {
		d.addError(replayCause(d.Err), d.Err)
	}
}

func (d *Diagnosis) examineToken(sc scheme, s string) (token, bool) {
	t, err := sc.parse(s)
	if err == nil {
		return t, true
	}
	cause, mended := tokenCause(sc, s, err)
	d.addError(cause, err)
	if mended == "" {
		return token{}, false
	}
	t, err = sc.parse(mended)
	return t, err == nil
}

// tokenCause names what is wrong with a token that does not parse, and returns
// the token that was meant, if that can be told.
func tokenCause(sc scheme, s string, err error) (cause, mended string) {
	if errors.Is(err, ErrNoSignature) {
		return "token-missing" + ofScheme[sc], ""
	}
	if refusal := (*VerifyError)(nil); errors.As(err, &refusal) && refusal.Field != "" {
		if other := misplaced(sc, s); other != "" {
			return other, ""
		}
		return "token-" + refusal.Field, ""
	}
	for _, m := range tokenMends {
		mended := m.mend(s)
		if mended == s {
			continue
		}
		if _, err := sc.parse(mended); err == nil {
			return m.cause, mended
		}
	}
	dots := strings.Count(s, ".")
	switch {
	case len(s) > maxTokenBytes:
		return "token-too-long", ""
	case !strings.HasPrefix(s, "eyJ") || dots > 2:
		return "token-not-jwt", ""
	case dots < 2 || len(s)-strings.LastIndexByte(s, '.') <= base64.RawURLEncoding.EncodedLen(sc.bytes):
		return "token-truncated", ""
	}
	return "token-altered", ""
}

// ofScheme is what sets the causes of a scheme apart from those of HS256.
var ofScheme = map[scheme]string{hs256: "", edDSA: "-ed25519"}

var tokenMends = []struct {
	cause string
	mend  func(string) string
}{
	{"token-space", wordsOf},
	{"token-repeated", func(s string) string { first, _, _ := strings.Cut(s, ","); return strings.TrimSpace(first) }},
	{"token-padded", func(s string) string { return strings.ReplaceAll(s, "=", "") }},
	{"token-base64", strings.NewReplacer("+", "-", "/", "_", "=", "").Replace},
	{"token-pasted", func(s string) string { return strings.TrimFunc(s[strings.LastIndexAny(s, ": ")+1:], notTokenRune) }},
	{"token-pasted", func(s string) string { return strings.TrimFunc(s, notTokenRune) }},
}

func wordsOf(s string) string { return strings.Join(strings.Fields(s), "") }

func (d *Diagnosis) examineKey(in DiagnoseInput, t token) {
	expected, got := "a signature by the current or the next signing key", ""
	cause := "key-unknown"
	if d.Key = slotOf(in, t); d.Key != "" {
		return
	}
	for _, k := range in.OldKeys {
		if k != "" && rawKey(k).made(t) {
			cause, d.Key, got = "key-old", "old", "a signature by an old key"
		}
	}
	if owner := developmentKeys.signer(t); owner != "" {
		cause, d.Key, got = "key-development", "development", "a signature by the "+owner
	}
	if cause == "key-unknown" {
		cause, got = configuredCause(in, t)
	}
	d.add(Finding{Cause: cause, Expected: expected, Got: got})
}

func slotOf(in DiagnoseInput, t token) string {
	switch {
	case in.CurrentSigningKey != "" && rawKey(in.CurrentSigningKey).made(t):
		return "current"
	case in.NextSigningKey != "" && rawKey(in.NextSigningKey).made(t):
		return "next"
	}
	return ""
}

// configuredCause looks for the fault in the receiver's keys.
func configuredCause(in DiagnoseInput, t token) (cause, got string) {
	for _, k := range []string{in.CurrentSigningKey, in.NextSigningKey} {
		bare := strings.Trim(k, "\"'` \t\r\n")
		if bare != k && bare != "" && rawKey(bare).made(t) {
			return "key-decorated", "a signature by the configured key without its quotes or white space"
		}
	}
	if owner := developmentKeys.owner(in.CurrentSigningKey); owner != "" {
		return "key-receiver-development", "a signature by another key, while the receiver has the " + owner
	}
	return "key-unknown", "a signature by none of them, or over another text"
}

func optionsCause(o Options) string {
	switch {
	case len(o.PublicKeys) > 0 || o.KeySet != nil:
		return "options-invalid"
	case o.CurrentSigningKey == "":
		return "key-missing"
	case strings.ContainsFunc(o.CurrentSigningKey+o.NextSigningKey, notKeyRune):
		return "key-space"
	case len(o.CurrentSigningKey) < minKeyBytes, o.NextSigningKey != "" && len(o.NextSigningKey) < minKeyBytes:
		return "key-short"
	}
	return "options-invalid"
}

func claimsCause(err error) string {
	refusal := (*VerifyError)(nil)
	switch {
	case !errors.As(err, &refusal) || refusal.Field == "":
		return "claims-unreadable"
	case refusal.Field == "iss":
		return "claims-issuer"
	case refusal.Field == "exp" && strings.HasPrefix(refusal.Expected, "at most"):
		return "claims-lifetime"
	case strings.HasSuffix(refusal.Reason, "missing"):
		return "claims-missing"
	}
	return "claims-type"
}

func (d *Diagnosis) examineTimes(c Claims, in DiagnoseInput) {
	err := checkTimes(c, in.Time, tolerance(in.ClockTolerance))
	switch {
	case errors.Is(err, ErrExpired):
		d.addError("time-expired", err)
	case errors.Is(err, ErrNotYetValid):
		d.addError("time-early", err)
	}
}

func (d *Diagnosis) addError(cause string, err error) {
	f := Finding{Cause: cause, Got: err.Error()}
	if refusal := (*VerifyError)(nil); errors.As(err, &refusal) {
		f.Field, f.Expected, f.Got = refusal.Field, refusal.Expected, refusal.Got
		if f.Expected == "" && f.Got == "" || strings.HasPrefix(cause, "time-") {
			f.Got = strings.TrimSpace(f.Got + " (" + refusal.Reason + ")")
		}
	}
	d.add(f)
}

func (d *Diagnosis) add(f Finding) {
	f.What, f.Fix = explanations[f.Cause].what, explanations[f.Cause].fix
	d.Findings = append(d.Findings, f)
}

// String returns the diagnosis as a few lines for a terminal.
func (d Diagnosis) String() string {
	var b strings.Builder
	if d.Err == nil {
		fmt.Fprintf(&b, "accepted: signed with the %s key\n", d.Key)
		return b.String()
	}
	fmt.Fprintf(&b, "refused: %v\n", d.Err)
	if d.Key != "" {
		fmt.Fprintf(&b, "signed with: the %s key\n", d.Key)
	}
	for _, f := range d.Findings {
		fmt.Fprintf(&b, "\n%s: %s\n", f.Cause, f.What)
		writeLine(&b, "claim", f.Field)
		writeLine(&b, "expected", f.Expected)
		writeLine(&b, "got", f.Got)
		writeLine(&b, "fix", f.Fix)
	}
	return b.String()
}

func writeLine(b *strings.Builder, label, text string) {
	if text != "" {
		// What came is chosen by others: no control character may reach a terminal.
		fmt.Fprintf(b, "  %-9s %s\n", label, strings.Map(printable, text))
	}
}

func printable(r rune) rune {
	if r < ' ' || 0x7f <= r && r < 0xa0 {
		return '·'
	}
	return r
}
