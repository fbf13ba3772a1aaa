package receiver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// FuzzVerify feeds tokens: as they are, and as header and claims that are signed with
// the right key, so that the code behind the MAC is reached.
func FuzzVerify(f *testing.F) {
	good := mustSign(f, currentKey, SignOptions{})
	f.Add(good, hookURL, hookBody)
	f.Add(strings.Repeat(".", 10), "", []byte{})
	f.Add(standardHeader+"\x00"+string(standardClaims(nil)), hookURL, hookBody)
	f.Add(`{"alg":"none"}`+"\x00"+`{"exp":1e9,"nbf":[{}],"exp":2}`, "http://[::1]:80", []byte("x"))
	rc := newReceiver(f, Options{})
	f.Fuzz(func(t *testing.T, signature, url string, body []byte) {
		if header, claims, cut := strings.Cut(signature, "\x00"); cut {
			signature = seal(currentKey, header, []byte(claims))
		}
		c, err := rc.Verify(Request{Signature: signature, URL: url, Body: body})
		if err == nil {
			checkAccepted(t, c, signature, url, body)
			return
		}
		var detail *VerifyError
		if !errors.As(err, &detail) || c != (Claims{}) {
			t.Fatalf("claims %+v, error %#v", c, err)
		}
		if strings.Contains(err.Error(), currentKey) || strings.Contains(err.Error(), nextKey) {
			t.Fatalf("error %v holds a key", err)
		}
	})
}

// checkAccepted restates the rules in the simplest terms.
func checkAccepted(t *testing.T, c Claims, signature, url string, body []byte) {
	parts := strings.Split(signature, ".")
	if len(parts) != 3 || macOf(map[string]string{"current": currentKey, "next": nextKey}[c.Key], parts[0]+"."+parts[1]) != parts[2] {
		t.Fatalf("accepted %q without a MAC", signature)
	}
	sum, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(c.BodyHash, "="))
	if err != nil || !bytes.Equal(sum, sha256Of(body)) {
		t.Fatalf("accepted the body claim %q", c.BodyHash)
	}
	signed, err1 := parseURL(c.Subject)
	came, err2 := parseURL(url)
	if err1 != nil || err2 != nil || signed != came {
		t.Fatalf("accepted %q for %q", c.Subject, url)
	}
	if left := c.ExpiresAt.Sub(instant); left <= -defaultTolerance || left > maxLifetime+defaultTolerance {
		t.Fatalf("accepted with %v left", left)
	}
}

// FuzzVerifyEd25519 feeds tokens to a receiver with public keys, as FuzzVerify does.
func FuzzVerifyEd25519(f *testing.F) {
	s := newEd25519Signer(f, 1)
	f.Add(mustSignEd25519(f, s, SignOptions{}), hookBody)
	f.Add(ed25519Header(s.KeyID())+"\x00"+string(standardClaims(nil)), hookBody)
	f.Add(`{"alg":"EdDSA","kid":"`+s.KeyID()+`","crit":[]}`+"\x00"+`{"jti":1}`, []byte{})
	f.Add(mustSign(f, currentKey, SignOptions{}), hookBody)
	rc := publicReceiver(f, s)
	f.Fuzz(func(t *testing.T, signature string, body []byte) {
		if header, claims, cut := strings.Cut(signature, "\x00"); cut {
			signature = sealEd25519(s, header, []byte(claims))
		}
		c, err := rc.Verify(Request{Signature: signature, URL: hookURL, Body: body})
		if err != nil {
			var detail *VerifyError
			if !errors.As(err, &detail) || c != (Claims{}) {
				t.Fatalf("claims %+v, error %#v", c, err)
			}
			return
		}
		cut := strings.LastIndexByte(signature, '.')
		sig, err := base64.RawURLEncoding.DecodeString(signature[cut+1:])
		if err != nil || c.Key != s.KeyID() || !ed25519.Verify(s.PublicKey(), []byte(signature[:cut]), sig) {
			t.Fatalf("accepted %q without a signature: %v", signature, err)
		}
	})
}

// FuzzJWKS checks that a set that is accepted has usable keys, and comes through
// being written and read again.
func FuzzJWKS(f *testing.F) {
	s := newEd25519Signer(f, 1)
	f.Add(JWKS(s.PublicKey()))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"RSA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","kid":"b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseJWKS(data)
		if err != nil {
			if keys != nil {
				t.Fatalf("keys %v came with %v", keys, err)
			}
			return
		}
		if len(keys) == 0 || len(keys) > maxSetKeys {
			t.Fatalf("%d keys", len(keys))
		}
		for kid, k := range keys {
			if checkPublicKey(k) != nil || !isKid(kid) {
				t.Fatalf("accepted the key %q: %x", kid, k)
			}
			again, err := parseJWKS(JWKS(k))
			if err != nil || !again[thumbprint(k)].Equal(k) {
				t.Fatalf("written and read: %v, %v", again, err)
			}
		}
	})
}

// FuzzDiagnose checks that a diagnosis agrees with the receiver and keeps keys to itself.
func FuzzDiagnose(f *testing.F) {
	good := mustSign(f, currentKey, SignOptions{})
	f.Add(good, hookURL, hookBody, 0)
	f.Add(good+" ", "http://x", []byte(`{"a":"\u003c\ud83d"}`), 1)
	f.Add("Bearer "+good[:40], "", []byte("\xef\xbb\xbf{\"a\":[1,2"), 2)
	f.Add(standardHeader+"\x00"+string(standardClaims(claimMap{"sub": "x"})), hookURL, []byte("\x1f\x8b\x08"), 3)
	rc := newReceiver(f, Options{})
	f.Fuzz(func(t *testing.T, signature, url string, body []byte, mode int) {
		if header, claims, cut := strings.Cut(signature, "\x00"); cut {
			signature = seal(currentKey, header, []byte(claims))
		}
		in := DiagnoseInput{
			Options: Options{CurrentSigningKey: currentKey, NextSigningKey: nextKey, URLMode: URLMode(mode & 3)},
			Request: Request{Signature: signature, URL: url, Body: body},
			Time:    instant,
		}
		rc.opts.URLMode = in.URLMode
		_, err := rc.Verify(in.Request)
		checkDiagnosis(t, Diagnose(in), err)
	})
}

func checkDiagnosis(t *testing.T, d Diagnosis, err error) {
	t.Helper()
	if (d.Err == nil) != (err == nil) || err != nil && d.Err.Error() != err.Error() {
		t.Fatalf("diagnosis is of %v, the receiver says %v", d.Err, err)
	}
	if (len(d.Findings) == 0) != (err == nil) {
		t.Fatalf("error %v, findings %+v", err, d.Findings)
	}
	for _, finding := range d.Findings {
		if _, known := explanations[finding.Cause]; !known || finding.What == "" || finding.Fix == "" {
			t.Fatalf("finding %+v is not explained", finding)
		}
	}
	if text := d.String(); strings.Contains(text, currentKey) || strings.Contains(text, nextKey) || strings.ContainsAny(text, "\x00\x1b\r") {
		t.Fatalf("diagnosis shows a key or a control character: %q", text)
	}
}
