package workflow

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"testing"

	"github.com/signposthq/signpost/internal/wire"
)

func TestInitialHeader(t *testing.T) {
	kept := []string{"Authorization", "Content-Type", "User-Agent", "X-Tenant", "Upstash-Label", "Upstash-Feature", "Cookie", "Cf-Visitor"}
	added := []string{
		"Upstash-Signature", "Upstash-Signature-Ed25519", "Upstash-Message-Id", "Upstash-Retried", "Upstash-Caller-Ip", "Upstash-Region", "Upstash-Workflow-Runid",
		"Upstash-Workflow-Anything", "X-Vercel-Id", "X-Forwarded-For", "X-Forwarded-Host", "Cf-Connecting-Ip", "Cf-Ew-Via", "Cf-Ray",
		"Cdn-Loop", "Render-Proxy-Ttl", "Connection", "Transfer-Encoding", "Content-Length", "Proxy-Authorization", "Te", "Upgrade",
	}
	h := http.Header{}
	for _, name := range append(slices.Clone(kept), added...) {
		h.Set(name, "v")
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s is not canonical", name)
		}
	}
	h.Add("X-Tenant", "w")
	got := initialHeader(h)
	if len(got) != len(kept) || !slices.Equal(got["X-Tenant"], []string{"v", "w"}) {
		t.Errorf("kept %v, want %v", got, kept)
	}
	for _, name := range kept {
		if got.Get(name) == "" {
			t.Errorf("%s was dropped", name)
		}
	}
	got["X-Tenant"][0] = "changed"
	if h.Get("X-Tenant") != "v" {
		t.Error("the delivery's header was changed")
	}
}

func TestNewRunID(t *testing.T) {
	form := regexp.MustCompile(`^wfr_[A-Za-z0-9_-]{21}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := newRunID()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("run id %q", id)
		}
		seen[id] = true
	}
}

func TestGoroutineID(t *testing.T) {
	here, there := goroutineID(), make(chan uint64)
	go func() { there <- goroutineID() }()
	if other := <-there; here != goroutineID() || other == here || other == 0 {
		t.Errorf("goroutines %d and %d", here, other)
	}
}

func FuzzCallResult(f *testing.F) {
	f.Add(200, []byte("h\xc3\xa9\x00\xff\""))
	f.Add(0, []byte{})
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		out, err := encodeCall(CallResponse{Status: status, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeCall(wire.Step{Out: &out})
		if err != nil || back.Status != status || !bytes.Equal(back.Body, body) {
			t.Fatalf("%d %q came back as %+v, %v", status, body, back, err)
		}
	})
}

func FuzzForeignCallResult(f *testing.F) {
	f.Add(`{"status":200,"body":"€","header":{"K":["v"]}}`)
	f.Fuzz(func(t *testing.T, out string) {
		r, err := decodeCall(wire.Step{Out: &out})
		if err == nil && r.Body == nil {
			t.Errorf("%s has a nil body", out)
		}
	})
}

func BenchmarkGoroutineID(b *testing.B) {
	for b.Loop() {
		goroutineID()
	}
}
