package receiver

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// stepHeader is what a server sends with a step.
func stepHeader() http.Header {
	return http.Header{
		"Upstash-Message-Id": {"msg_1"}, "Upstash-Retried": {"0"}, "Upstash-Workflow-Runid": {"wfr_1"},
		"Upstash-Label": {"a", "b"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer user"},
	}
}

func stepClaims() SignOptions {
	return SignOptions{Header: stepHeader(), Kind: KindStep, RunID: "wfr_1", Attempt: 3}
}

func TestClaimsAboutTheRequest(t *testing.T) {
	c, err := newReceiver(t, Options{RequireBinding: true}).Verify(Request{
		Signature: mustSign(t, currentKey, stepClaims()), URL: hookURL, Body: hookBody, Header: stepHeader(),
	})
	if err != nil || c.Kind != KindStep || c.RunID != "wfr_1" || c.Attempt != 3 || c.HeaderHash == "" {
		t.Errorf("claims %+v, error %v", c, err)
	}
}

// Control headers cannot be added, removed or changed once a token covers them;
// what proxies may do to a header does not matter.
func TestT22ControlHeadersAreCovered(t *testing.T) {
	set := func(name string, values ...string) func(http.Header) {
		return func(h http.Header) { h[name] = values }
	}
	tests := []struct {
		name   string
		change func(http.Header)
		same   bool
	}{
		{"nothing", func(http.Header) {}, true},
		{"the signature itself", set(Header, "x"), true},
		{"another header added", set("X-Forwarded-For", "192.0.2.1"), true},
		{"another header changed", set("Authorization", "Bearer eve"), true},
		{"two values joined", set("Upstash-Label", "a, b"), true},
		{"white space around a value", set("Upstash-Retried", " 0\t"), true},
		{"no values", set("Upstash-Nothing"), true},
		{"a similar name", set("Upstashed", "x"), true},

		{"added", set("Upstash-Workflow-Is-Failure", "true"), false},
		{"added, empty", set("Upstash-Workflow-Is-Failure", ""), false},
		{"removed", func(h http.Header) { delete(h, "Upstash-Workflow-Runid") }, false},
		{"changed", set("Upstash-Workflow-Runid", "wfr_2"), false},
		{"changed in case", set("Upstash-Workflow-Runid", "WFR_1"), false},
		{"emptied", set("Upstash-Workflow-Runid", ""), false},
		{"doubled", set("Upstash-Workflow-Runid", "wfr_1", "wfr_1"), false},
		{"doubled, another first", set("Upstash-Workflow-Runid", "wfr_2", "wfr_1"), false},
		{"joined by a comma", set("Upstash-Workflow-Runid", "wfr_1,wfr_2"), false},
		{"two values in another order", set("Upstash-Label", "b", "a"), false},
		{"two values joined without a space", set("Upstash-Label", "a,b"), false},
		{"renamed", func(h http.Header) {
			h["Upstash-Workflow-Runid-"] = h["Upstash-Workflow-Runid"]
			delete(h, "Upstash-Workflow-Runid")
		}, false},
		{"all removed", func(h http.Header) { clear(h) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", hookURL, bytes.NewReader(hookBody))
			r.Header = stepHeader()
			tt.change(r.Header)
			r.Header.Set(Header, mustSign(t, currentKey, stepClaims()))
			_, err := newReceiver(t, Options{}).Verify(Request{
				Signature: r.Header.Get(Header), URL: hookURL, Body: hookBody, Header: r.Header,
			})
			if tt.same != (err == nil) || !tt.same && !errors.Is(err, ErrHeaderMismatch) {
				t.Errorf("Verify: error %v", err)
			}
			w, served := httptest.NewRecorder(), false
			newReceiver(t, Options{}).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).ServeHTTP(w, r)
			if served != tt.same || !tt.same && w.Code != 401 {
				t.Errorf("served: %v, answer %d %s", served, w.Code, w.Body)
			}
		})
	}
}

// A token that says nothing of headers comes from a server that cannot; whether
// that is enough, the receiver decides.
func TestRequireBinding(t *testing.T) {
	header := stepHeader()
	covered, bare := stepClaims(), SignOptions{Kind: KindStep}
	tests := []struct {
		name             string
		o                SignOptions
		header           http.Header
		lenient, require bool // accepted?
	}{
		{"covered", covered, header, true, true},
		{"covered, nothing to compare", covered, nil, true, false},
		{"covered, no headers came", covered, http.Header{}, false, false},
		{"not covered", bare, header, true, false},
		{"none covered, none came", SignOptions{Header: http.Header{}}, http.Header{}, true, true},
		{"none covered, some came", SignOptions{Header: http.Header{}}, header, false, false},
	}
	for _, tt := range tests {
		for _, require := range []bool{false, true} {
			_, err := newReceiver(t, Options{RequireBinding: require}).Verify(Request{
				Signature: mustSign(t, currentKey, tt.o), URL: hookURL, Body: hookBody, Header: tt.header,
			})
			accepted := tt.lenient
			if require {
				accepted = tt.require
			}
			if accepted != (err == nil) || !accepted && !errors.Is(err, ErrHeaderMismatch) {
				t.Errorf("%s, required %v: error %v", tt.name, require, err)
			}
		}
	}
}

// FuzzHeaderHash compares two header sets, each as names and values, by the
// simplest rule: equal hashes are equal sets.
func FuzzHeaderHash(f *testing.F) {
	f.Add("Runid", "a", "Retried", "b", "Runid", "a", "Retried", "b")
	f.Add("A", "a, b", "B", "", "A", "a", "A", "b")
	f.Add("A", "a\nupstash-b:c", "", "", "A", "a", "B", "c")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, m1, w1, m2, w2 string) {
		a, b := set(n1, v1, n2, v2), set(m1, w1, m2, w2)
		if a == nil || b == nil {
			return
		}
		same := maps.Equal(joined(a), joined(b))
		if (headerHash(a) == headerHash(b)) != same {
			t.Fatalf("%q and %q: the same is %v", a, b, same)
		}
	})
}

// set is the header of two fields as net/http would deliver it; nil if it would not.
func set(pairs ...string) http.Header {
	h := http.Header{}
	for pair := range slices.Chunk(pairs, 2) {
		for _, c := range pair[0] {
			if c <= ' ' || c > '~' || c == ':' {
				return nil
			}
		}
		for _, c := range pair[1] {
			if c < ' ' && c != '\t' || c == 0x7f {
				return nil
			}
		}
		h.Add(controlPrefix+pair[0], pair[1])
	}
	return h
}

func joined(h http.Header) map[string]string {
	m := map[string]string{}
	for name, values := range h {
		if name == Header {
			continue
		}
		for i, v := range values {
			for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
				v = v[1:]
			}
			for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
				v = v[:len(v)-1]
			}
			if i > 0 {
				v = ", " + v
			}
			m[lowerASCII(name)] += v
		}
	}
	return m
}
