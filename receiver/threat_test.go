package receiver

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Tests here and elsewhere are named after the threats of docs/security.md.

// TestT01CommonSecrets forges with what people take for a secret, and with nothing.
func TestT01CommonSecrets(t *testing.T) {
	data, err := os.ReadFile("testdata/common-secrets.txt")
	if err != nil {
		t.Fatal(err)
	}
	secrets := strings.Fields(string(data))
	if len(secrets) != 95 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, k := range developmentKeys {
		secrets = append(secrets, k.secret)
	}
	shared := newReceiver(t, Options{})
	for _, secret := range append(secrets, "", " ", "\x00", strings.Repeat("\x00", 32)) {
		forged := seal(secret, standardHeader, standardClaims(nil))
		if _, err := shared.Verify(Request{Signature: forged, URL: hookURL, Body: hookBody}); !errors.Is(err, ErrBadSignature) {
			t.Errorf("forged with %q: error %v", secret, err)
		}
		if len(secret) < minKeyBytes {
			if _, err := New(Options{CurrentSigningKey: secret}); err == nil {
				t.Errorf("%q is taken for a key", secret)
			}
			if _, err := NewSigner(secret); err == nil {
				t.Errorf("%q is taken for a signer's key", secret)
			}
		}
	}
}

// TestT06BodyDamage flips each bit of random bodies, and does to them what frameworks do.
func TestT06BodyDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	rc := newReceiver(t, Options{})
	for range 1000 {
		body := make([]byte, 1+random.IntN(40))
		for i := range body {
			body[i] = byte(random.Uint32())
		}
		claim := bodyHash(body)
		if err := matchBody(claim, body); err != nil {
			t.Fatal(err)
		}
		for bit := range len(body) * 8 {
			body[bit/8] ^= 1 << (bit % 8)
			if err := matchBody(claim, body); !errors.Is(err, ErrBodyMismatch) {
				t.Fatalf("%x: bit %d does not count", body, bit)
			}
			body[bit/8] ^= 1 << (bit % 8)
		}
	}
	original := []byte("{\"a\":\"é\"}\n")
	token := mustSign(t, currentKey, SignOptions{Body: original})
	for name, damaged := range map[string][]byte{
		"nothing":        nil,
		"BOM":            append([]byte("\xef\xbb\xbf"), original...),
		"CRLF":           bytes.ReplaceAll(original, []byte("\n"), []byte("\r\n")),
		"trimmed":        bytes.TrimSpace(original),
		"twice":          append(bytes.Clone(original), original...),
		"NUL at the end": append(bytes.Clone(original), 0),
		"Latin-1":        []byte("{\"a\":\"\xe9\"}\n"),
		"composed":       []byte("{\"a\":\"e\u0301\"}\n"),
		"reserialised":   []byte(`{"a": "é"}`),
		"gzip":           gzipOf(t, original),
	} {
		if _, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: damaged}); !errors.Is(err, ErrBodyMismatch) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestT08SecretsAreComparedInConstantTime reads the sources: what is named like a
// MAC, a hash or a signature is never compared with ==, bytes.Equal or their like.
// Diagnose is left out: it looks for mistakes in what a person has at hand.
func TestT08SecretsAreComparedInConstantTime(t *testing.T) {
	checked := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.HasPrefix(path, "diagnose") {
			return err
		}
		set := gotoken.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checked++
		for _, at := range plainComparisons(file) {
			t.Errorf("%s: a secret is compared in variable time", set.Position(at))
		}
		return nil
	})
	if err != nil || checked < 10 {
		t.Fatalf("%d files, error %v", checked, err)
	}
	bad, err := parser.ParseFile(gotoken.NewFileSet(), "", `package x
		func f() bool { return mac == want || want != h.BodyHash || sum[0] == s[0] || bytes.Equal(a, signature) || strings.EqualFold(token, x) }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(plainComparisons(bad)); n != 5 {
		t.Errorf("the check sees %d of 5 comparisons", n)
	}
}

func plainComparisons(file *ast.File) (found []gotoken.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == gotoken.EQL || n.Op == gotoken.NEQ) && !isConstant(n.X) && !isConstant(n.Y) && (isSecret(n.X) || isSecret(n.Y)) {
				found = append(found, n.Pos())
			}
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) != 2 {
				break
			}
			pkg, _ := called.X.(*ast.Ident)
			variable := pkg != nil && (pkg.Name == "bytes" || pkg.Name == "strings" || pkg.Name == "reflect" || pkg.Name == "slices")
			compares := strings.HasPrefix(called.Sel.Name, "Equal") || called.Sel.Name == "DeepEqual" || called.Sel.Name == "Compare"
			if variable && compares && (isSecret(n.Args[0]) || isSecret(n.Args[1])) {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

func isConstant(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return x.Name == "nil" || x.Name == "encodedHeader"
	}
	return false
}

func isSecret(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	case *ast.IndexExpr:
		return isSecret(x.X)
	case *ast.SliceExpr:
		return isSecret(x.X)
	}
	name = strings.ToLower(name)
	for _, part := range []string{"mac", "sum", "hash", "signature", "secret", "digest", "token"} {
		if strings.HasSuffix(name, part) {
			return true
		}
	}
	return false
}

// TestT08VerifyTiming compares how long MACs take that are wrong in their first and
// in their last byte, with Welch's t-test. It informs: a busy machine spoils it.
func TestT08VerifyTiming(t *testing.T) {
	if os.Getenv("SIGNPOST_TIMING") == "" {
		t.Skip("set SIGNPOST_TIMING=1 to measure")
	}
	good, err := hs256.parse(mustSign(t, currentKey, SignOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	early, late := good, good
	early.signature, late.signature = bytes.Clone(good.signature), bytes.Clone(good.signature)
	early.signature[0] ^= 1
	late.signature[len(late.signature)-1] ^= 1
	k := rawKey(currentKey)
	var classes [2]moments
	for i := range 1_000_000 {
		class := rand.IntN(2)
		tok := [2]token{early, late}[class]
		start := time.Now()
		if k.made(tok) {
			t.Fatal("a wrong MAC passes")
		}
		if took := time.Since(start); i > 1000 && took < 20*time.Microsecond {
			classes[class].add(float64(took))
		}
	}
	a, b := classes[0], classes[1]
	score := (a.mean - b.mean) / math.Sqrt(a.variance()/a.n+b.variance()/b.n)
	t.Logf("t = %.2f (|t| < 5 is no evidence), means %.1f ns and %.1f ns", score, a.mean, b.mean)
	if math.Abs(score) >= 5 {
		t.Errorf("t = %.2f", score)
	}
}

// moments are a running mean and variance (Welford).
type moments struct{ n, mean, m2 float64 }

func (m *moments) add(x float64) {
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.m2 += d * (x - m.mean)
}

func (m *moments) variance() float64 { return m.m2 / (m.n - 1) }

// TestT29ClockSkew lets the clocks of sender and receiver be apart, both ways.
func TestT29ClockSkew(t *testing.T) {
	const life = 5 * time.Minute
	tests := []struct {
		tolerance, ahead time.Duration // how far the receiver's clock is ahead of the sender's
		want             error
	}{
		{0, 0, nil},
		{0, 5 * time.Second, nil},
		{0, -5 * time.Second, nil},
		{0, -6 * time.Second, ErrNotYetValid},
		{0, life + 4*time.Second, nil},
		{0, life + 5*time.Second, ErrExpired},
		{time.Minute, -time.Minute, nil},
		{time.Minute, -61 * time.Second, ErrNotYetValid},
		{time.Minute, life + 59*time.Second, nil},
		{time.Minute, life + time.Minute, ErrExpired},
		{-1, -time.Second, ErrNotYetValid},
		{-1, life, ErrExpired},
		{0, time.Hour, ErrExpired},
		{0, -time.Hour, ErrNotYetValid},
	}
	for _, tt := range tests {
		rc := newReceiver(t, Options{ClockTolerance: tt.tolerance})
		rc.now = func() time.Time { return instant.Add(tt.ahead) }
		_, err := rc.Verify(Request{Signature: mustSign(t, currentKey, SignOptions{}), URL: hookURL, Body: hookBody})
		if !errors.Is(err, tt.want) {
			t.Errorf("tolerance %v, %v ahead: error %v, want %v", tt.tolerance, tt.ahead, err, tt.want)
		}
	}
}

// TestT29ClockSteps sets the receiver's clock back after it has forgotten ids: the
// requests they came with are valid once more, and still refused.
func TestT29ClockSteps(t *testing.T) {
	now := instant
	cache := NewMemoryReplayCache(0)
	cache.now = func() time.Time { return now }
	rc := newReceiver(t, Options{Replay: cache})
	rc.now = cache.now
	verify := func(token string) error {
		_, err := rc.Verify(Request{Signature: token, URL: hookURL, Body: hookBody})
		return err
	}
	captured := mustSign(t, currentKey, SignOptions{})
	if err := verify(captured); err != nil {
		t.Fatal(err)
	}
	now = instant.Add(time.Hour)
	if err := verify(captured); !errors.Is(err, ErrExpired) {
		t.Errorf("an hour later: error %v", err)
	}
	if err := verify(mustSign(t, currentKey, SignOptions{Time: now})); err != nil {
		t.Errorf("a new one then: error %v", err)
	}
	if cache.count != 1 {
		t.Errorf("%d ids are kept, not 1", cache.count)
	}
	now = instant
	if err := verify(captured); !errors.Is(err, ErrReplayed) {
		t.Errorf("the clock set back: error %v", err)
	}
}
